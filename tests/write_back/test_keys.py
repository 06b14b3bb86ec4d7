"""Keys that are missing or not unique are refused with examples, before anything is written."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from adfml_assets.write_back.errors import DuplicateKeys, NullKeys
from adfml_assets.write_back.progress import Partition
from adfml_assets.write_back.run import write_partition
from adfml_assets.write_back.target import Target
from adfml_assets.write_back.written import Written
from resources.errors import NotFound
from tests.write_back.conftest import TARGET, Place, make_rows, scores_of, to_rows, write

TEXTS = Target("shop", None, "Texts", ("Name",))


def put(place: Place, table: pa.Table, target: Target = TEXTS) -> None:
    write_partition(place.databases, target, to_rows(table))


@pytest.mark.parametrize("batch_rows", [None, 2])
def test_duplicate_keys_write_nothing(place: Place, batch_rows: int | None) -> None:
    write(place, {1: 1.0})
    table = pa.table({"RecordId": [3, 1, 9, 3, 7, 7, 7, 2], "score": [0.0] * 8})
    rows = to_rows(table, {"RecordId": "RecordId", "Score": "score"}, {"ModelName": "m", "SnapshotDate": None})
    target = replace(TARGET, newer=None, batch_rows=batch_rows)
    before = place.read()
    message = r"several rows have one key \(RecordId, ModelName\): \(3, 'm'\), \(7, 'm'\)"
    with pytest.raises(DuplicateKeys, match=message) as caught:
        write_partition(place.databases, target, rows, of=Partition("a", "p", "d"))
    assert caught.value.examples == ((3, "m"), (7, "m"))
    assert place.read() == before


def test_duplicates_are_found_far_apart(place: Place) -> None:
    ids = [*range(100_000), 17]
    rows = to_rows(pa.table({"Id": ids}), batch=9_000)
    with pytest.raises(DuplicateKeys, match=r"\(Id\): \(17,\)"):
        write_partition(place.databases, Target("shop", None, "T", ("Id",)), rows)
    assert place.list_tables() == set()


def test_null_keys_write_nothing(place: Place) -> None:
    table = pa.table({"Name": ["a", None, "c", None], "Value": [1, 2, 3, 4]})
    with pytest.raises(
        NullKeys, match=r"shop.Texts: 2 rows have NULL in their key \(Name\), for example \(None,\)"
    ) as caught:
        put(place, table)
    assert caught.value.rows == 2
    assert place.list_tables() == set()
    two = Target("shop", None, "Two", ("Name", "Value"))
    with pytest.raises(NullKeys, match=r"1 rows .*example \('b', None\)"):
        put(place, pa.table({"Name": ["a", "b"], "Value": [1, None]}), two)


def test_one_key_for_all_rows_is_one_row_at_most(place: Place) -> None:
    target = Target("shop", None, "Newest", ("Kind",))
    one = to_rows(pa.table({"Value": [1]}), constants={"Kind": "k"})
    assert write_partition(place.databases, target, one).inserted == 1
    with pytest.raises(DuplicateKeys, match=r"\(Kind\): \('k',\)"):
        write_partition(place.databases, target, to_rows(pa.table({"Value": [1, 2]}), constants={"Kind": "k"}))


@pytest.mark.parametrize("batch_rows", [None, 1])
def test_texts_are_compared_as_the_table_compares_them(place: Place, batch_rows: int | None) -> None:
    if place.dialect == "duckdb":
        return  # its keys are compared byte by byte, whatever the collation
    kind, other = ("VARCHAR(20) COLLATE NOCASE", "C") if place.dialect == "sqlite" else ("CHAR(20)", "c ")
    place.execute(f'CREATE TABLE "Texts" ("Name" {kind} PRIMARY KEY, "Value" BIGINT)')
    target = replace(TEXTS, batch_rows=batch_rows)

    def write_texts(values: dict[str, int]) -> Written:
        rows = to_rows(pa.table({"Name": list(values), "Value": list(values.values())}))
        return write_partition(place.databases, target, rows, of=Partition("a", "p", str(values)))

    assert write_texts({"b": 2, "c": 1}).inserted == 2
    before = place.read("Texts")
    with pytest.raises(DuplicateKeys):
        write_texts({other: 3, "b": 3, "c": 3})
    assert place.read("Texts") == before
    assert write_texts({other: 10, "d": 3}).updated == 1
    assert [row["Value"] for row in place.read("Texts").values()] == [2, 10, 3]


@pytest.mark.parametrize("batch_rows", [None, 1])
def test_keys_that_become_one_in_the_table_are_refused(place: Place, batch_rows: int | None) -> None:
    # Two moments of one microsecond; two float64 of one float32.
    moments = pa.array([1_000_000_001_000, 1_000_000_001_999], pa.timestamp("ns"))
    place.execute('CREATE TABLE "Moments" ("At" TIMESTAMP PRIMARY KEY, "Value" BIGINT)')
    kinds = [("Moments", "At", moments)]
    if place.dialect != "sqlite":  # its numbers are float64, whatever they are called
        place.execute('CREATE TABLE "Numbers" ("Number" REAL PRIMARY KEY, "Value" BIGINT)')
        kinds.append(("Numbers", "Number", pa.array([0.1, 0.1 + 1e-12])))
    for table, key, values in kinds:
        target = Target("shop", None, table, (key,), batch_rows=batch_rows)
        rows = to_rows(pa.table({key: values, "Value": [1, 2]}))
        with pytest.raises(DuplicateKeys, match=rf"several rows have one key \({key}\): "):
            write_partition(place.databases, target, rows, of=Partition("a", "p", "d"))
        assert place.fetch(f'SELECT * FROM "{table}"') == []


def test_a_key_that_no_column_is(place: Place) -> None:
    rows = make_rows({1: 1.0})
    with pytest.raises(
        NotFound, match=r"There is no column 'CustomerId' in the rows to be written to shop.Predictions"
    ):
        write_partition(place.databases, replace(TARGET, keys=("CustomerId",)), rows)
    with pytest.raises(NotFound, match="no column 'Day' in the rows"):
        write_partition(place.databases, replace(TARGET, newer="Day"), make_rows({1: 1.0}))
    with pytest.raises(NotFound, match=r"no column 'scor' in the rows .* Did you mean 'score'"):
        write_partition(place.databases, TARGET, replace(make_rows({1: 1.0}), columns={"RecordId": "scor"}))


def test_what_failed_leaves_nothing_in_the_way(place: Place) -> None:
    write(place, {1: 1.0})
    with pytest.raises(DuplicateKeys):
        put(place, pa.table({"RecordId": [7, 7], "ModelName": ["m", "m"]}), replace(TARGET, newer=None))
    write(place, {1: 2.0, 7: 7.0})
    assert scores_of(place) == {1: 2.0, 7: 7.0}
