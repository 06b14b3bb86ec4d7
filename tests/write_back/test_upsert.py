"""What is new is inserted, what differs is updated, the rest is left alone; and it says which was what."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from adfml_assets.write_back.errors import TargetInvalid
from adfml_assets.write_back.run import write_partition
from adfml_assets.write_back.target import Target
from tests.write_back.conftest import DAY, EARLIER, LATER, TARGET, Place, count, scores_of, square, to_rows, write


def test_new_rows_changed_rows_and_the_others(place: Place) -> None:
    assert count(write(place, square(range(10)))) == (10, 0, 0, 0)
    changed = {**square(range(5, 15)), 5: -1.0, 6: -2.0}
    assert count(write(place, changed)) == (5, 2, 3, 0)
    assert scores_of(place) == {**square(range(15)), 5: -1.0, 6: -2.0}


def test_writing_twice_changes_nothing(place: Place) -> None:
    write(place, square(range(10)))
    before = place.read()
    again = write(place, square(range(10)))
    assert (count(again), again.changed) == ((0, 0, 10, 0), 0)
    assert place.read() == before


def test_a_newer_partition_wins_whatever_the_order(place: Place) -> None:
    write(place, square(range(5), 2.0), day=LATER)
    assert count(write(place, square(range(8), 1.0), day=DAY)) == (3, 0, 0, 5)
    assert count(write(place, square(range(8), 1.0), day=DAY)) == (0, 0, 3, 5)
    assert scores_of(place) == {**square(range(8)), **square(range(8), 1.0), **square(range(5), 2.0)}


def test_a_newer_partition_is_overwritten_when_told(place: Place) -> None:
    write(place, square(range(5), 2.0), day=LATER)
    told = replace(TARGET, overwrite_newer=True)
    assert count(write(place, square(range(5), 1.0), day=EARLIER, target=told)) == (0, 5, 0, 0)
    assert {row["SnapshotDate"] for row in place.read().values()} == {EARLIER}


def test_the_column_that_decides_may_be_any(place: Place) -> None:
    target = Target("shop", None, "Stock", ("Item",), newer="Version")
    rows = pa.table({"Item": ["a", "b"], "Version": [2, 2], "Count": [20, 20]})
    older = pa.table({"Item": ["a", "b", "c"], "Version": [1, 3, 1], "Count": [1, 3, 1]})
    write_partition(place.databases, target, to_rows(rows))
    assert count(write_partition(place.databases, target, to_rows(older))) == (1, 1, 0, 1)
    assert {key[0]: row["Count"] for key, row in place.read("Stock").items()} == {"a": 20, "b": 3, "c": 1}


def test_a_row_that_says_no_date_is_overwritten(place: Place) -> None:
    write(place, {1: 1.0})
    place.execute('UPDATE "Predictions" SET "SnapshotDate" = NULL')
    assert count(write(place, {1: 2.0}, day=EARLIER)) == (0, 1, 0, 0)


def test_a_row_that_is_to_be_written_without_a_date_is_older_than_all(place: Place) -> None:
    target = Target("shop", None, "Stock", ("Item",), newer="Version")
    write_partition(place.databases, target, to_rows(pa.table({"Item": ["a"], "Version": [1], "Count": [1]})))
    undated = pa.table({"Item": ["a", "b"], "Version": pa.array([None, None], pa.int64()), "Count": [5, 5]})
    assert count(write_partition(place.databases, target, to_rows(undated))) == (1, 0, 0, 1)
    assert count(write_partition(place.databases, target, to_rows(undated))) == (0, 0, 1, 1)


def test_models_share_a_table(place: Place) -> None:
    write(place, {1: 1.0, 2: 2.0})
    write(place, {1: 10.0}, model="other")
    assert {key: row["Score"] for key, row in place.read().items()} == {
        (1, "m"): 1.0,
        (2, "m"): 2.0,
        (1, "other"): 10.0,
    }


def test_columns_that_are_not_written_keep_what_they_have(place: Place) -> None:
    write(place, {1: 1.0})
    required = "" if place.dialect == "duckdb" else " NOT NULL"
    place.execute(
        f'ALTER TABLE "Predictions" ADD COLUMN "Seen" INTEGER DEFAULT 7{required}',
        'UPDATE "Predictions" SET "Seen" = 8',
    )
    write(place, {1: 3.0, 2: 2.0})
    assert {key[0]: row["Seen"] for key, row in place.read().items()} == {1: 8, 2: 7}
    assert scores_of(place) == {1: 3.0, 2: 2.0}


def test_null_is_a_value_like_another(place: Place) -> None:
    target = Target("shop", None, "T", ("Id",))
    rows = pa.table({"Id": [1, 2, 3], "Text": pa.array(["a", None, None]), "Number": pa.array([1, None, 3])})
    assert count(write_partition(place.databases, target, to_rows(rows))) == (3, 0, 0, 0)
    assert count(write_partition(place.databases, target, to_rows(rows))) == (0, 0, 3, 0)
    other = pa.table({"Id": [1, 2, 3], "Text": pa.array([None, "b", None]), "Number": pa.array([1, None, 3])})
    assert count(write_partition(place.databases, target, to_rows(other))) == (0, 2, 1, 0)
    assert [row["Text"] for row in place.read("T").values()] == [None, "b", None]


def test_a_table_of_nothing_but_keys(place: Place) -> None:
    target = Target("shop", None, "Seen", ("Id", "Kind"))
    for expected in ((3, 0, 0, 0), (0, 0, 3, 0)):
        rows = to_rows(pa.table({"Id": [1, 2, 3]}), constants={"Kind": "k"})
        assert count(write_partition(place.databases, target, rows)) == expected


@pytest.mark.parametrize("values", [{}, {1: 1.0}])
def test_an_empty_partition_makes_the_table_and_changes_nothing(place: Place, values: dict[int, float]) -> None:
    write(place, values)
    assert count(write(place, {})) == (0, 0, 0, 0)
    assert scores_of(place) == values


def test_names_are_quoted_whatever_they_are(place: Place) -> None:
    target = Target("shop", None, 'select "from" a:b 100%', ("the key", "order"))
    table = pa.table({"the key": [1, 2], 'a "quoted" %s :x': [1.5, 2.5]})
    for value in (1.0, 2.0):
        rows = to_rows(table, constants={"order": "x:y %s", "group": value})
        write_partition(place.databases, target, rows)
    (first, _) = place.read(target.table).values()
    assert first == {"the key": 1, "order": "x:y %s", 'a "quoted" %s :x': 1.5, "group": 2.0}


def test_columns_that_differ_in_case_only_are_two(place: Place) -> None:
    target = Target("shop", None, "T", ("id",))
    given = to_rows(pa.table({"id": [1, 2], "ID": [10, 20]}))
    if place.dialect != "postgresql":
        with pytest.raises(TargetInvalid, match="columns id and ID would be one"):
            write_partition(place.databases, target, given)
        return
    write_partition(place.databases, target, given)
    assert [row["ID"] for row in place.read("T").values()] == [10, 20]


KEYS = ("a unique index", "a partial unique index", "another key", "a deferrable PRIMARY KEY", "a deferrable UNIQUE")


@pytest.mark.parametrize("made", ["no key", *KEYS])
def test_any_table_will_do(place: Place, made: str) -> None:
    if place.dialect != "postgresql" and "deferrable" in made:
        return
    if place.dialect == "duckdb" and made == "a partial unique index":
        return  # it has none
    if place.dialect == "duckdb":
        place.execute("CREATE SEQUENCE numbers")
    numbers = {"sqlite": "INTEGER", "duckdb": "INTEGER DEFAULT nextval('numbers')", "postgresql": "SERIAL"}
    key = ', PRIMARY KEY ("Number")' if made == "another key" else ""
    number = numbers[place.dialect] if key else "INTEGER"
    place.execute(
        f'CREATE TABLE "Predictions" ("Number" {number}, "RecordId" BIGINT NOT NULL, "ModelName" VARCHAR(20) NOT NULL, '
        f'"Score" DOUBLE PRECISION, "ScoredAt" TIMESTAMP, "SnapshotDate" DATE{key})'
    )
    if made.endswith("index"):
        partial = ' WHERE "Score" > 3' if "partial" in made else ""
        place.execute(f'CREATE UNIQUE INDEX i ON "Predictions" ("ModelName", "RecordId"){partial}')
    if "deferrable" in made:
        kind = made.removeprefix("a deferrable ")
        place.execute(f'ALTER TABLE "Predictions" ADD CONSTRAINT k {kind} ("RecordId", "ModelName") DEFERRABLE')
    assert count(write(place, square(range(6)))) == (6, 0, 0, 0)
    assert count(write(place, square(range(6)))) == (0, 0, 6, 0)
    assert count(write(place, {**square(range(3, 9)), 4: -1.0})) == (3, 1, 2, 0)
    assert count(write(place, square(range(9), 9.0), day=EARLIER)) == (0, 0, 0, 9)
    found = place.fetch('SELECT "RecordId", "Score" FROM "Predictions" ORDER BY 1')
    assert found == sorted({**square(range(9)), 4: -1.0}.items())


def test_nothing_is_left_behind(place: Place) -> None:
    for _ in range(2):
        write(place, square(range(5)))
        assert place.list_tables() == {"Predictions"}
