"""Rows in the order of their keys: in memory where they are few, outside where they are many; the same either way."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adfml_assets.write_back import rows
from adfml_assets.write_back.errors import DuplicateKeys
from adfml_assets.write_back.rows import sort_rows

KEYS = {"Text": "t", "Number": "n"}
PAIRS = st.lists(st.tuples(st.sampled_from(["a", "B", "ä", "", "aa"]), st.integers(-3, 3)), max_size=12)


@pytest.fixture(params=["in memory", "outside"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "outside":
        monkeypatch.setattr(rows, "IN_MEMORY_BYTES", -1)
    return str(request.param)


def to_table(pairs: list[tuple[str, int]]) -> pa.Table:
    texts = pa.array([text for text, _ in pairs], pa.string()).dictionary_encode()
    numbers = pa.array([number for _, number in pairs], pa.int16())
    # Names that differ in case only are two columns.
    return pa.table([texts, numbers, pa.array(range(len(pairs)), pa.int64())], names=["t", "n", "N"])


def list_rows(batches: Iterator[pa.RecordBatch]) -> list[tuple[str, int, int]]:
    return [row for batch in batches for row in zip(*batch.to_pydict().values(), strict=True)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=PAIRS, start=st.integers(0, 12), size=st.integers(0, 12))
def test_rows_come_in_order_and_by_number(way: str, pairs: list[tuple[str, int]], start: int, size: int) -> None:
    table = to_table(pairs)
    with sort_rows(table.schema, iter(table.to_batches(max_chunksize=4)), ["t", "n"]) as ordered:
        assert ordered.count == len(pairs)
        assert ordered.schema.types == [pa.string(), pa.int16(), pa.int64()]
        found = list_rows(ordered.read())
        # What is no text first, texts by their bytes.
        assert [(number, text.encode()) for text, number, _ in found] == sorted((n, t.encode()) for t, n in pairs)
        assert sorted(found, key=lambda row: row[2]) == [(t, n, i) for i, (t, n) in enumerate(pairs)]
        assert list_rows(ordered.read(start, start + size)) == found[start : start + size]
        if len(set(pairs)) == len(pairs):
            numbers = [number for _, number in pairs]
            assert ordered.check_keys("T", KEYS, {}) == (len(set(numbers)) == len(numbers))
        else:
            with pytest.raises(DuplicateKeys) as caught:
                ordered.check_keys("T", KEYS, {})
            assert set(caught.value.examples) <= {pair for pair in pairs if pairs.count(pair) > 1}


def test_duplicates_are_found_across_batches(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "READ_ROWS", 1_000)
    table = pa.table({"Id": [*range(3_000), 999, 2_000]})
    with sort_rows(table.schema, iter(table.to_batches(max_chunksize=700)), ["Id"]) as ordered:
        with pytest.raises(DuplicateKeys) as caught:
            ordered.check_keys("T", {"Id": "Id"}, {})
        assert caught.value.examples == ((999,), (2_000,))


def test_what_the_rows_source_raises_is_raised(way: str) -> None:
    table = to_table([("a", 1)])

    def read() -> Iterator[pa.RecordBatch]:
        yield from table.to_batches()
        raise ZeroDivisionError("the lake")

    with pytest.raises(ZeroDivisionError, match="the lake"), sort_rows(table.schema, read(), ["n"]):
        pytest.fail("nothing is sorted")


def test_two_may_read_at_once(way: str) -> None:
    table = pa.table({"Id": list(range(10))})
    with sort_rows(table.schema, iter(table.to_batches(max_chunksize=3)), ["Id"]) as ordered:
        first, second = ordered.read(0, 5), ordered.read(5)
        assert next(second)["Id"][0].as_py() == 5
        assert next(first)["Id"][0].as_py() == 0
