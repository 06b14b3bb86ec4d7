"""A table that is made has the right types; one that is there is held against the rows, column by column."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from adfml_assets.write_back import rows
from adfml_assets.write_back.errors import TargetInvalid, ValueInvalid
from adfml_assets.write_back.progress import Partition
from adfml_assets.write_back.run import write_partition
from adfml_assets.write_back.target import Target
from resources.errors import NotFound
from tests.write_back.conftest import TARGET, Place, count, make_rows, to_rows, write

KEY = pa.array([1, 2, 3], pa.int64())
NOON = datetime(2026, 3, 10, 12, 30, 0, 250_000, tzinfo=UTC)
VALUES: dict[str, pa.Array] = {
    "Flag": pa.array([True, False, None]),
    "Small": pa.array([1, -1, None], pa.int8()),
    "Whole": pa.array([2**31 - 1, -(2**31), None], pa.int32()),
    "Large": pa.array([2**63 - 1, -(2**63), None], pa.int64()),
    "Single": pa.array([0.5, -1.25, None], pa.float32()),
    "Double": pa.array([0.1, -1e300, None], pa.float64()),
    "Exact": pa.array([Decimal("1234.567"), Decimal("-0.001"), None], pa.decimal128(12, 3)),
    "Text": pa.array(["ü 😀 'quoted' \t\n\\", "", None]),
    "Word": pa.array(["a", "b", None]).dictionary_encode(),
    "Long": pa.array(["x" * 5000, "y", None], pa.large_string()),
    "Bytes": pa.array([b"\x00\xff", b"", None]),
    "Day": pa.array([date(2026, 2, 28), date(1999, 12, 31), None]),
    "Moment": pa.array([NOON, datetime(1969, 12, 31, 23, 59, 59, 1, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
    "Berlin": pa.array([NOON, NOON, None], pa.timestamp("ns", "Europe/Berlin")),
    "Local": pa.array([NOON.replace(tzinfo=None)] * 2 + [None], pa.timestamp("ms")),
    "Clock": pa.array([time(23, 59, 59, 999_999), time(0), None], pa.time64("us")),
}
WIDE = Target("shop", None, "Wide", ("Id",))


def as_read(value: Any) -> Any:
    """What a column without a zone, and SQLite's floats, give back."""
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value


@pytest.mark.parametrize("way", ["in memory", "sorted outside", "another driver"])
def test_every_kind_of_value_comes_back_as_it_was(place: Place, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    if way == "sorted outside":
        monkeypatch.setattr(rows, "IN_MEMORY_BYTES", 0)
    if way == "another driver":
        # Any that SQLAlchemy has is written to through SQLAlchemy alone.
        monkeypatch.setattr(place.databases.engine("shop").dialect, "driver", "another")
    table = pa.table({"Id": KEY, **VALUES})
    assert count(write_partition(place.databases, WIDE, to_rows(table, batch=2))) == (3, 0, 0, 0)
    expected = [{name: as_read(value) for name, value in row.items()} for row in table.to_pylist()]
    assert list(place.read("Wide").values()) == expected
    # What was read back is what is there: nothing is changed by writing it again.
    assert count(write_partition(place.databases, WIDE, to_rows(table, batch=2))) == (0, 0, 3, 0)


def test_a_table_is_made_with_the_types_of_its_rows(place: Place) -> None:
    types = {"Text": sa.String(30)}
    target = replace(WIDE, keys=("Name", "Id"), types=types)
    table = pa.table({"Id": KEY, **VALUES, "Name": ["a", "b", "c"]}).drop_columns(["Berlin", "Local", "Text"])
    table = table.append_column("Text", pa.array(["a", "b", None]))
    write_partition(place.databases, target, to_rows(table))
    found = place.describe("Wide")
    assert list(found)[:2] == ["Name", "Id"]
    doubled = {"sqlite": "FLOAT", "duckdb": "DOUBLE", "postgresql": "DOUBLE PRECISION"}[place.dialect]
    expected = {"Id": "BIGINT", "Name": "VARCHAR(200)", "Text": "VARCHAR(30)", "Long": "TEXT", "Double": doubled}
    if place.dialect == "duckdb":  # which has no lengths
        expected |= dict.fromkeys(("Name", "Text", "Long"), "VARCHAR")
    expected |= {"Whole": "INTEGER", "Exact": "NUMERIC(12, 3)", "Day": "DATE", "Flag": "BOOLEAN"}
    assert {name: found[name] for name in expected} == expected


def test_a_table_that_is_not_there_is_not_made_unless_asked(place: Place) -> None:
    place.execute('CREATE TABLE "Prediction" ("Id" INTEGER)')
    with pytest.raises(NotFound, match=r"no table 'Predictions' in database 'shop'.*Did you mean 'Prediction'"):
        write_partition(place.databases, replace(TARGET, create=False), make_rows({1: 1.0}))
    assert place.list_tables() == {"Prediction"}


def test_all_that_is_wrong_with_a_table_is_said_at_once(place: Place) -> None:
    if place.dialect == "duckdb":
        return  # it stores no computed columns, and no lengths: see below
    place.execute(
        'CREATE TABLE "Predictions" ("RecordId" VARCHAR(10) PRIMARY KEY, "score" DATE, "ScoredAt" INTEGER, '
        '"ModelName" VARCHAR(20), "Batch" INTEGER NOT NULL, "Seen" INTEGER DEFAULT 0 NOT NULL, '
        '"Sum" DOUBLE PRECISION GENERATED ALWAYS AS (1 + 1) STORED)'
    )
    given = make_rows({1: 1.0})
    given = replace(given, constants={**given.constants, "Sum": 1.0})
    with pytest.raises(TargetInvalid) as caught:
        write_partition(place.databases, TARGET, given)
    problems = caught.value.problems
    assert [problem.replace("()", "") for problem in problems] == [
        "column RecordId is VARCHAR(length=10), which does not hold int64",
        "there is no column Score for double (it has score)",
        "column ScoredAt is INTEGER, which does not hold timestamp[us, tz=UTC]",
        "there is no column SnapshotDate for date32[day]",
        "column Sum is computed by the database, and is to be written",
        "column Batch is NOT NULL without a default, and is not written",
    ]
    assert "shop.Predictions cannot take the rows; nothing was written" in str(caught.value)
    assert str(caught.value).count("\n- ") == 6
    assert place.fetch('SELECT * FROM "Predictions"') == []


def test_a_kind_of_value_that_no_column_holds(place: Place) -> None:
    place.execute('CREATE TABLE "Wide" ("Id" INTEGER PRIMARY KEY, "List" TEXT)')
    with pytest.raises(TargetInvalid, match=r"column List is (TEXT|String)\(\), which does not hold list"):
        write_partition(place.databases, WIDE, to_rows(pa.table({"Id": [1], "List": [[1, 2]]})))


def test_columns_that_may_be_missing_are_left_out_where_they_are(place: Place) -> None:
    target = replace(TARGET, optional=frozenset({"ScoredAt", "RecordId"}))
    assert write_partition(place.databases, target, make_rows({1: 1.0})).left_out == ()
    place.execute('ALTER TABLE "Predictions" DROP COLUMN "ScoredAt"')
    written = write_partition(place.databases, target, make_rows({1: 2.0}))
    assert (written.left_out, count(written)) == (("ScoredAt",), (0, 1, 0, 0))


NARROW = '"Code" VARCHAR(3) NOT NULL, "Small" SMALLINT, "Exact" NUMERIC(6, 2), "Day" DATE'


def make_narrow(place: Place) -> None:
    kind = "INTEGER" if place.dialect == "sqlite" else "BIGINT"
    place.execute(f'CREATE TABLE "Wide" ("Id" {kind} PRIMARY KEY, {NARROW})')


@pytest.mark.parametrize("batch_rows", [None, 1])
def test_values_that_do_not_fit_are_named_with_their_row(place: Place, batch_rows: int | None) -> None:
    if place.dialect == "duckdb":
        return
    make_narrow(place)
    target = replace(WIDE, batch_rows=batch_rows)

    def put(code: list[str | None], small: int = 1) -> None:
        table = pa.table({"Id": [1, 2], "Code": pa.array(code, pa.string()), "Small": [1, small]})
        write_partition(place.databases, target, to_rows(table), of=Partition("a", "p", "d"))

    with pytest.raises(ValueInvalid, match=r"shop.Wide.Code: expected 3 characters at most, found 'abcd' \(Id 2\)"):
        put(["abc", "abcd"])
    with pytest.raises(ValueInvalid, match=r"Code: expected a value \(the column is NOT NULL\), found NULL \(Id 1\)"):
        put([None, "a"])
    assert place.read("Wide") == {}
    put(["üöä", "a"])
    if place.dialect == "postgresql":
        with pytest.raises(ValueInvalid, match=r"Small: expected a value of SMALLINT\(\) \(as int16\), found 70000"):
            put(["a", "b"], 70_000)
    assert [row["Code"] for row in place.read("Wide").values()] == ["üöä", "a"]


def test_a_text_that_postgresql_does_not_store_is_named_with_its_row(place: Place) -> None:
    given = to_rows(pa.table({"Id": [1, 2, 3], "Text": ["a", "b\0c", None]}))
    if place.dialect != "postgresql":
        write_partition(place.databases, WIDE, given)
        assert [row["Text"] for row in place.read("Wide").values()] == ["a", "b\0c", None]
        return
    message = r"Text: expected a text without U\+0000, .* found 'b\\x00c' \(Id 2\). Nothing was written"
    with pytest.raises(ValueInvalid, match=message):
        write_partition(place.databases, WIDE, given)


def test_columns_of_nothing_but_nulls(place: Place) -> None:
    binary, own = ("BYTEA", "UUID") if place.dialect == "postgresql" else ("BLOB", "VARCHAR(9)")
    kinds = {"Bytes": binary, "Own": own, "Text": "VARCHAR(9)", "Whole": "INTEGER", "Day": "DATE", "Flag": "BOOLEAN"}
    columns = ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())
    place.execute(f'CREATE TABLE "Wide" ("Id" INTEGER PRIMARY KEY, {columns})')
    table = pa.table({"Id": [1, 2], **dict.fromkeys(kinds, pa.nulls(2))})
    for expected in ((2, 0, 0, 0), (0, 0, 2, 0)):
        assert count(write_partition(place.databases, WIDE, to_rows(table))) == expected
    assert {*place.fetch('SELECT DISTINCT "Bytes", "Own", "Text", "Whole", "Day", "Flag" FROM "Wide"')} == {(None,) * 6}


def test_a_value_of_all_rows_that_does_not_fit(place: Place) -> None:
    if place.dialect == "duckdb":
        return
    make_narrow(place)
    for value, message in (("long", "expected 3 characters at most, found 'long'"), (None, "NOT NULL.*found NULL")):
        given = to_rows(pa.table({"Id": [1]}), constants={"Code": value})
        with pytest.raises(ValueInvalid, match=rf"Code: .*{message} \(all rows\)"):
            write_partition(place.databases, WIDE, given)


def test_numbers_of_another_kind_than_the_columns(place: Place) -> None:
    make_narrow(place)
    whole = pa.table({"Id": pa.array([1], pa.uint8()), "Code": ["a"], "Exact": [7], "Day": pa.array([NOON.date()])})
    write_partition(place.databases, WIDE, to_rows(whole))
    for expected in ((0, 1, 0, 0), (0, 0, 1, 0)):
        broken = pa.table({"Id": [1], "Code": ["a"], "Exact": [7.25]})
        assert count(write_partition(place.databases, WIDE, to_rows(broken))) == expected
    row = place.read("Wide")[(1,)]
    assert (row["Exact"], row["Day"]) == (Decimal("7.25"), NOON.date())


def test_postgresqls_own_types(place: Place) -> None:
    if place.dialect != "postgresql":
        return
    place.execute(
        "CREATE TYPE mood AS ENUM ('good', 'bad')",
        "CREATE DOMAIN score AS real CHECK (VALUE >= 0)",
        'CREATE TABLE "Wide" ("Id" UUID PRIMARY KEY, "Mood" mood, "Facts" JSON, "More" JSONB, "Score" score, '
        '"At" TIMESTAMPTZ, "Price" NUMERIC, "Code" CHAR(4))',
    )
    ids = ["0b6f6f0e-6f0e-4f0e-8f0e-0f0e0f0e0f0e", "1b6f6f0e-6f0e-4f0e-8f0e-0f0e0f0e0f0e"]
    table = pa.table(
        {
            "Id": ids,
            "Mood": ["good", None],
            "Facts": ['{"a": 1}', None],
            "More": ['{"b":  2}', "[]"],
            "Score": [0.25, None],
            "At": pa.array([NOON, None], pa.timestamp("us", "UTC")),
            "Price": pa.array([Decimal("12345678901234567890.123"), None], pa.decimal128(30, 3)),
            "Code": ["a", None],
        }
    )
    for expected in ((2, 0, 0, 0), (0, 0, 2, 0)):
        assert count(write_partition(place.databases, WIDE, to_rows(table))) == expected
    columns = """"Mood", "Facts"->>'a', "More"->>'b', "Score", "At", "Price" """
    found = place.fetch(f'SELECT {columns} FROM "Wide" ORDER BY "Id"')
    assert found[0] == ("good", "1", "2", 0.25, NOON, Decimal("12345678901234567890.123"))


def test_a_partitioned_table(place: Place) -> None:
    if place.dialect != "postgresql":
        return
    write(place, {0: 0.0})
    place.execute(
        'ALTER TABLE "Predictions" RENAME TO whole',
        'CREATE TABLE "Predictions" (LIKE whole INCLUDING ALL) PARTITION BY HASH ("RecordId")',
        'CREATE TABLE p0 PARTITION OF "Predictions" FOR VALUES WITH (MODULUS 2, REMAINDER 0)',
        'CREATE TABLE p1 PARTITION OF "Predictions" FOR VALUES WITH (MODULUS 2, REMAINDER 1)',
    )
    assert count(write(place, {1: 1.0, 2: 2.0, 3: 3.0})) == (3, 0, 0, 0)
    assert count(write(place, {1: 1.0, 2: 9.0, 4: 4.0})) == (1, 1, 1, 0)


def test_another_schema(place: Place) -> None:
    schema = "main" if place.dialect == "sqlite" else "results"
    if place.dialect != "sqlite":
        place.execute("CREATE SCHEMA results", 'CREATE TABLE "Predictions" ("Other" INTEGER)')
    target = replace(TARGET, schema=schema, batch_rows=2)
    assert count(write(place, {1: 1.0, 2: 2.0, 3: 3.0}, target=target)) == (3, 0, 0, 0)
    assert place.fetch(f'SELECT count(*) FROM {schema}."Predictions"') == [(3,)]
