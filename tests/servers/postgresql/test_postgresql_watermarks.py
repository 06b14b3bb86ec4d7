"""Intervals by watermark: each row in exactly one of them, to the microsecond, with a lag by the server's clock."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.errors import NotFound, SettingInvalid, UnexpectedValue
from resources.servers import TableName, Watermark
from resources.servers.base import WatermarkKind, compare_watermarks
from resources.servers.postgresql import PostgresqlServer
from tests.postgresql_reading import query_of, read_table

Writer = psycopg.Connection[Any]

LARGEST = [
    ("timestamp", "datetime", "2026-03-10 09:30:00.5", "2026-03-10T09:30:00.500000"),
    ("timestamp(0)", "datetime", "2026-03-10 09:30:00", "2026-03-10T09:30:00.000000"),
    ("timestamptz", "datetime", "2026-03-10 09:30:00.000001+02", "2026-03-10T07:30:00.000001+00:00"),
    ("date", "datetime", "2026-03-10", "2026-03-10"),
    ("smallint", "integer", "-7", "-7"),
    ("bigint", "integer", "9223372036854775807", "9223372036854775807"),
    ("numeric(30,0)", "integer", "123456789012345678901234567890", "123456789012345678901234567890"),
]


@pytest.mark.parametrize(("source", "kind", "value", "text"), LARGEST)
def test_the_largest_is_exact_uniform_text_and_ends_an_interval(
    writer: Writer, server: PostgresqlServer, source: str, kind: WatermarkKind, value: str, text: str
) -> None:
    writer.execute(f"CREATE TABLE t (id int, at {source})".encode())
    watermark = Watermark("at", kind)
    with server.open_snapshot() as snapshot:
        table = snapshot.describe(TableName("public", "t"))
        assert snapshot.find_largest(table, watermark) is None
    writer.execute("INSERT INTO t VALUES (1, %s), (2, NULL)", (value,))
    with server.open_snapshot() as snapshot:
        assert snapshot.find_largest(table, watermark) == text
        assert snapshot.find_largest(table, watermark, "id = 2") is None
        assert snapshot.count_null(table, "at") == 1
        assert snapshot.count_null(table, "at", "id = 1") == 0
        first = query_of(snapshot, "t", watermark=watermark, upper=text)
        assert read_table(snapshot, first)["id"].to_pylist() == [1]
        assert snapshot.count(first) == 1
        after = query_of(snapshot, "t", watermark=watermark, lower=text, upper=text)
        assert read_table(snapshot, after).num_rows == snapshot.count(after) == 0
        none = query_of(snapshot, "t", watermark=watermark)
        assert read_table(snapshot, none).num_rows == snapshot.count(none) == 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(micros=st.lists(st.integers(-(10**15), 10**15), min_size=1, max_size=12), cuts=st.integers(1, 4))
def test_intervals_that_follow_each_other_hold_every_row_once(
    writer: Writer, server: PostgresqlServer, micros: list[int], cuts: int
) -> None:
    writer.execute("DROP TABLE IF EXISTS t")
    writer.execute("CREATE TABLE t (id int, at timestamptz)")
    watermark, lower, seen = Watermark("at"), None, []
    for row, micro in enumerate(sorted(micros)):
        writer.execute(
            "INSERT INTO t VALUES (%s, timestamptz 'epoch' + %s::bigint * interval '1 microsecond')", (row, micro)
        )
        if row % cuts and row != len(micros) - 1:
            continue
        with server.open_snapshot() as snapshot:
            upper = snapshot.find_largest(snapshot.describe(TableName("public", "t")), watermark)
            assert upper is not None
            assert lower is None or compare_watermarks("datetime", lower, upper) <= 0
            query = query_of(snapshot, "t", watermark=watermark, lower=lower, upper=upper)
            seen += read_table(snapshot, query)["id"].to_pylist()
        lower = upper
    # A row that has exactly the watermark that an earlier interval ended with came too late for it.
    late = {row for row in range(len(micros)) if row not in seen}
    ordered = sorted(micros)
    assert len(seen) == len(set(seen))
    assert all(
        (row % cuts == 1 % cuts and ordered[row] == ordered[row - 1]) or ordered[row] == ordered[row - 1]
        for row in late
    )


@pytest.mark.parametrize("source", ["timestamptz", "timestamp", "date"])
def test_the_lag_leaves_young_rows_to_the_next_interval(writer: Writer, server: PostgresqlServer, source: str) -> None:
    writer.execute("SET TimeZone = UTC")
    writer.execute(
        f"CREATE TABLE t AS SELECT id, at::{source} FROM (VALUES (1, now() - interval '3 days'), (2, now()),"
        " (3, now() + interval '9 days'), (4, 'infinity'), (5, NULL)) v(id, at)".encode()
    )
    with server.open_snapshot() as snapshot:
        table = snapshot.describe(TableName("public", "t"))

        def ids_up_to(lag: int) -> list[int]:
            upper = snapshot.find_largest(table, Watermark("at", lag_seconds=lag))
            query = query_of(snapshot, "t", columns=("id",), watermark=Watermark("at"), upper=upper)
            return sorted(read_table(snapshot, query)["id"].to_pylist())

        assert ids_up_to(0) == [1, 2, 3]
        assert ids_up_to(2 * 86400) == [1]
        assert ids_up_to(5 * 86400) == []


def test_the_lag_is_counted_from_the_snapshot_not_from_the_question(writer: Writer, server: PostgresqlServer) -> None:
    """A row committed between the two is not in the snapshot: an interval that ends above it would lose it."""
    writer.execute("CREATE TABLE t (at timestamptz)")
    with server.open_snapshot() as snapshot:
        taken_at = snapshot.facts["taken_at"]
        table = snapshot.describe(TableName("public", "t"))
    writer.execute("INSERT INTO t SELECT clock_timestamp() + i * interval '0.1 second' FROM generate_series(0, 99) i")
    with server.open_snapshot() as snapshot:
        writer.execute("SELECT pg_sleep(0.5)")
        largest = snapshot.find_largest(table, Watermark("at", lag_seconds=1))
        assert largest is None or taken_at < snapshot.facts["taken_at"]
        limit = writer.execute(
            "SELECT count(*) FROM t WHERE at <= %s::timestamptz - interval '1 second'", (snapshot.facts["taken_at"],)
        ).fetchone()
        counted = snapshot.count(query_of(snapshot, "t", watermark=Watermark("at"), upper=largest))
        assert limit == (counted,)


def test_what_cannot_be_followed_says_why(writer: Writer, server: PostgresqlServer) -> None:
    writer.execute("CREATE TABLE t AS SELECT 1.5::numeric(5,2) AS amount, 'a'::text AS word, 1.5::float8 AS rating")
    with server.open_snapshot() as snapshot:
        table = snapshot.describe(TableName("public", "t"))
        for column, kind, expected in (
            ("word", "datetime", "timestamp"),
            ("amount", "integer", "integer type"),
            ("rating", "integer", "integer type"),
            ("amount", "rowversion", "SQL Server's"),
        ):
            with pytest.raises(SettingInvalid, match=expected):
                snapshot.find_largest(table, Watermark(column, kind))  # type: ignore[arg-type]
            with pytest.raises(SettingInvalid, match=expected):
                read_table(snapshot, query_of(snapshot, "t", watermark=Watermark(column, kind), upper="1"))  # type: ignore[arg-type]
        with pytest.raises(NotFound, match="no column 'at'"):
            snapshot.find_largest(table, Watermark("at"))


@pytest.mark.parametrize("value", ["10000-01-01", "0044-03-15 BC"])
def test_years_whose_text_has_no_order_are_refused(writer: Writer, server: PostgresqlServer, value: str) -> None:
    writer.execute("CREATE TABLE t (at timestamp)")
    writer.execute("INSERT INTO t VALUES (%s)", (value,))
    with server.open_snapshot() as snapshot, pytest.raises(UnexpectedValue, match="years 1 to 9999"):
        snapshot.find_largest(snapshot.describe(TableName("public", "t")), Watermark("at"))


def test_a_watermark_is_a_value_never_sql(writer: Writer, server: PostgresqlServer) -> None:
    writer.execute("CREATE TABLE t AS SELECT timestamp '2026-01-01' AS at")
    from resources.errors import Refused

    with server.open_snapshot() as snapshot, pytest.raises(Refused, match="invalid input syntax"):
        read_table(snapshot, query_of(snapshot, "t", watermark=Watermark("at"), upper="x' OR true --"))
