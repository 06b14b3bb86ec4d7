"""Rows are followed by what is stored, in an order that is time's; where there is none, nothing is taken."""

from datetime import UTC, datetime, timedelta
from sqlite3 import Connection
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.errors import NotFound, UnexpectedValue
from resources.servers.base import TableName, Watermark, WatermarkKind
from tests.servers.sqlite.conftest import Serve, read, whole


def largest(
    server: Any,
    source: Connection,
    values: list[Any],
    kind: WatermarkKind = "datetime",
    lag: int = 0,
    declared: str = "DATETIME",
) -> str | None:
    source.execute("DROP TABLE IF EXISTS t")
    source.execute(f"CREATE TABLE t (w {declared})")
    source.executemany("INSERT INTO t VALUES (?)", [(value,) for value in values])
    with server.open_snapshot() as snapshot:
        return snapshot.find_largest(snapshot.describe(TableName("main", "t")), Watermark("w", kind, lag))


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("datetime", [], None),
        ("datetime", [None, None], None),
        ("datetime", ["2026-03-01 12:00:00.000001", None, "2026-03-01 12:00:00"], "2026-03-01 12:00:00.000001"),
        ("datetime", ["2026-03-01", "2026-03-02"], "2026-03-02"),
        ("datetime", ["2026-03-01", "2026-03-01T00:00"], "2026-03-01T00:00"),
        ("datetime", ["2026-03-01T12:00:00Z", "2026-03-01T12:00:01Z"], "2026-03-01T12:00:01Z"),
        ("datetime", ["2026-03-01 12:00:00.1234567"], "refused"),
        ("datetime", ["2026-03-01 12:00:00", "2026-03-01T11:00:00"], "refused"),
        ("datetime", ["2026-03-01T12:00:00Z", "2026-03-01T12:00:00.5Z"], "refused"),
        ("datetime", ["2026-03-01T12:00:00+01:00", "2026-03-01T12:00:00+02:00"], "refused"),
        ("datetime", ["2026-03-01T12:00:00", "2026-03-01T12:00:00Z"], "refused"),
        ("datetime", ["2026-03-01 12:00:00", "yesterday"], "refused"),
        ("datetime", ["2026-03-01 12:00:00", b"2026-03-01 12:00:00"], "refused"),
        ("datetime", ["2026-02-30 12:00:00"], "refused"),
        ("datetime", ["2026-03-01 12:00:00", ""], "refused"),
        ("integer", [], None),
        ("integer", [9, 10, None, -1], "10"),
        ("integer", [2**63 - 1, -(2**63)], str(2**63 - 1)),
        ("integer", [1, "x"], "refused"),
        ("integer", [1, 1.5], "refused"),
    ],
)
def test_the_largest_is_what_is_stored(
    kind: WatermarkKind, values: list[Any], expected: str | None, source: Connection, serve: Serve
) -> None:
    if expected != "refused":
        assert largest(serve(), source, values, kind) == expected
        return
    with pytest.raises(UnexpectedValue, match=r"main\.t\.w"):
        largest(serve(), source, values, kind)


def test_what_cannot_be_followed_says_what_can(source: Connection, serve: Serve) -> None:
    with pytest.raises(
        UnexpectedValue, match="2 of 2 values are numbers; follow the rows with a watermark of kind integer"
    ):
        largest(serve(), source, [1_700_000_000, 1_700_000_001])
    with pytest.raises(NotFound, match=r"no kind of watermark 'rowversion' in SQLite. It has: datetime, integer"):
        largest(serve(), source, [], "rowversion")
    with serve().open_snapshot() as snapshot, pytest.raises(NotFound, match=r"no column 'ww' in main\.t"):
        snapshot.find_largest(snapshot.describe(TableName("main", "t")), Watermark("ww"))


@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "east"])
def test_a_lag_holds_young_rows_back(form: str, source: Connection, serve: Serve) -> None:
    def write(age: timedelta) -> str:
        moment = datetime.now(UTC) - age
        if form == "east":
            return f"{moment + timedelta(hours=5, minutes=30):%Y-%m-%dT%H:%M:%S}+05:30"
        return moment.strftime(form)

    old, young = write(timedelta(hours=2)), write(timedelta(minutes=30))
    assert largest(serve(), source, [old, young], lag=3600) == old
    assert largest(serve(), source, [old, young], lag=900) == young
    assert largest(serve(), source, [old, young], lag=86_400) is None


def test_a_collation_does_not_change_the_order(source: Connection, serve: Serve) -> None:
    source.create_collation("backwards", lambda one, other: (one < other) - (one > other))
    assert largest(serve(), source, ["2026-01-01", "2026-01-02"], declared="TEXT COLLATE backwards") == "2026-01-02"
    with serve().open_snapshot() as snapshot:
        found = read(snapshot, whole(snapshot, "t", watermark=Watermark("w"), lower="2026-01-01", upper="2026-01-02"))
    assert found["w"].to_pylist() == ["2026-01-02"]


def test_an_interval_without_an_end_has_no_row(source: Connection, serve: Serve) -> None:
    largest(serve(), source, ["2026-01-01"])
    with serve().open_snapshot() as snapshot:
        query = whole(snapshot, "t", watermark=Watermark("w"))
        assert (snapshot.count(query), read(snapshot, query).num_rows) == (0, 0)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moments=st.lists(st.datetimes(datetime(2020, 1, 1), datetime(2020, 1, 3)), min_size=1, max_size=20),
    cuts=st.lists(st.integers(0, 19), max_size=3),
)
def test_intervals_hold_each_row_once(
    moments: list[datetime], cuts: list[int], source: Connection, serve: Serve
) -> None:
    """Texts as Python's str() writes them, with a fraction or without, in intervals that end at any of them."""
    top = largest(serve(), source, [str(moment) for moment in moments])
    assert top == str(max(moments))
    ends = sorted({str(moments[cut % len(moments)]) for cut in cuts} | {top})
    with serve().open_snapshot() as snapshot:
        found = []
        for lower, upper in zip([None, *ends], ends, strict=False):
            query = whole(snapshot, "t", watermark=Watermark("w"), lower=lower, upper=upper)
            rows = read(snapshot, query)["w"].to_pylist()
            assert snapshot.count(query) == len(rows)
            found += rows
    assert sorted(found) == sorted(moments)
