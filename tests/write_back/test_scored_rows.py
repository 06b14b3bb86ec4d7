"""The date of a source's rows is set in the transaction in which their scores are written."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pyarrow as pa
import pytest

from adfml_assets.write_back import scored_rows
from adfml_assets.write_back.run import write_partition
from adfml_assets.write_back.scored_rows import Marking, ScoredRows, mark_rows
from adfml_assets.write_back.target import Target
from resources.errors import NotFound
from tests.write_back.conftest import SCORED_AT, TARGET, Place, make_rows, scores_of, square, to_rows, write

SOURCE = ScoredRows(None, "Features", "Id", "ScoredDate", "RecordId", "scored_at")
NOON = SCORED_AT.replace(tzinfo=None)
KINDS = {
    "sqlite": [("DATETIME", NOON), ("DATE", NOON.date())],
    "duckdb": [("TIMESTAMP", NOON), ("TIMESTAMPTZ", SCORED_AT), ("DATE", NOON.date())],
    "postgresql": [("TIMESTAMP", NOON), ("TIMESTAMPTZ", SCORED_AT), ("DATE", NOON.date())],
}


def make_source(place: Place, kind: str = "TIMESTAMP", key: str = "BIGINT") -> None:
    place.execute(
        f'CREATE TABLE "Features" ("Id" {key} PRIMARY KEY, "ScoredDate" {kind}, "Other" INTEGER)',
        *(f'INSERT INTO "Features" ("Id") VALUES ({record})' for record in range(8)),
    )


def read_dates(place: Place) -> dict[Any, Any]:
    return {key[0]: row["ScoredDate"] for key, row in place.read("Features").items()}


@pytest.mark.parametrize("batch_rows", [None, 2])
def test_dates_are_set_with_the_scores(place: Place, batch_rows: int | None) -> None:
    target = replace(TARGET, batch_rows=batch_rows)
    for number, (kind, moment) in enumerate(KINDS[place.dialect]):
        if number:
            place.execute('DROP TABLE "Features"')
        make_source(place, kind)
        assert write(place, square(range(2, 7)), target=target, mark=SOURCE).marked == 5
        assert read_dates(place) == {record: moment if 2 <= record < 7 else None for record in range(8)}
        assert write(place, square(range(2, 7)), target=target, mark=SOURCE).marked == 0


@pytest.mark.parametrize("batch_rows", [None, 3])
def test_neither_scores_nor_dates_without_the_other(
    place: Place, monkeypatch: pytest.MonkeyPatch, batch_rows: int | None
) -> None:
    make_source(place)
    target, mark, calls = replace(TARGET, batch_rows=batch_rows), Marking.run, []

    def fail_late(*arguments: Any) -> int:
        calls.append(mark(*arguments))
        if len(calls) == (1 if batch_rows is None else 2):
            raise ZeroDivisionError
        return calls[-1]

    with monkeypatch.context() as patch:
        patch.setattr(scored_rows.Marking, "run", fail_late)
        with pytest.raises(ZeroDivisionError):
            write(place, square(range(8)), target=target, mark=SOURCE)
    scored = {record for record, moment in read_dates(place).items() if moment is not None}
    assert scored == set(scores_of(place)) == set(range(0 if batch_rows is None else 3))
    write(place, square(range(8)), target=target, mark=SOURCE)
    assert set(scores_of(place)) == {record for record, moment in read_dates(place).items() if moment is not None}
    assert len(scores_of(place)) == 8


def test_a_later_date_stays(place: Place) -> None:
    make_source(place)
    place.execute("""UPDATE "Features" SET "ScoredDate" = '2999-01-01 00:00:00.000000' WHERE "Id" = 2""")
    place.execute("""UPDATE "Features" SET "ScoredDate" = '1999-01-01 00:00:00.000000' WHERE "Id" = 3""")
    assert write(place, square(range(2, 4)), mark=SOURCE).marked == 1
    assert read_dates(place)[2] == datetime(2999, 1, 1)
    assert read_dates(place)[3] == NOON


def test_a_key_of_another_type_than_the_targets(place: Place) -> None:
    kind = "VARCHAR(36)" if place.dialect == "sqlite" else "UUID"
    ids = ["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"]
    place.execute(
        f'CREATE TABLE "Features" ("Id" {kind} PRIMARY KEY, "ScoredDate" DATE)',
        *(f"""INSERT INTO "Features" ("Id") VALUES ('{one}')""" for one in ids),
    )
    table = pa.table({"RecordId": ids[:1], "scored_at": pa.array([SCORED_AT], pa.timestamp("us", "UTC"))})
    rows = to_rows(table, {"RecordId": "RecordId"})
    written = write_partition(place.databases, Target("shop", None, "P", ("RecordId",)), rows, mark=SOURCE)
    assert (written.inserted, written.marked) == (1, 1)
    assert sorted(read_dates(place).values(), key=str) == [date(2026, 3, 10), None]


def test_a_source_that_lacks_the_column(place: Place) -> None:
    place.execute('CREATE TABLE "Features" ("Id" BIGINT PRIMARY KEY, "Scored" DATE)')
    with pytest.raises(NotFound, match=r"no column 'ScoredDate' in table Features.*Did you mean 'Scored'"):
        write(place, {1: 1.0}, mark=SOURCE)
    assert scores_of(place) == {}


def test_dates_of_another_database_in_a_transaction_of_their_own(place: Place) -> None:
    make_source(place)
    for expected in (3, 0):
        rows = make_rows(square(range(3)))
        assert mark_rows(place.databases, "shop", SOURCE, rows.schema, rows.batches) == expected
    assert [moment is not None for moment in read_dates(place).values()] == [True] * 3 + [False] * 5
    assert place.list_tables() == {"Features"}
