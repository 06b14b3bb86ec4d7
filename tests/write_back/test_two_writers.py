"""Several writers at once: none waits for ever, none undoes another, and nothing is there twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from adfml_assets.write_back import progress
from adfml_assets.write_back.progress import Partition, Progress
from adfml_assets.write_back.written import Written
from tests.write_back.conftest import DAY, TARGET, Place, scores_of, square, write

ROWS = 400


def run_together(*writers: Callable[[], Written]) -> list[Written]:
    """Begin all at one moment, and wait for them."""
    barrier = threading.Barrier(len(writers))

    def begin(writer: Callable[[], Written]) -> Written:
        barrier.wait()
        return writer()

    with ThreadPoolExecutor(len(writers)) as pool:
        return list(pool.map(begin, writers))


@pytest.mark.parametrize("batch_rows", [None, 50])
def test_days_written_at_once_leave_the_newest(place: Place, batch_rows: int | None) -> None:
    target = replace(TARGET, batch_rows=batch_rows)

    def writer(day: int) -> Callable[[], Written]:
        # Each in another order: it is sorted, so that no two wait for each other.
        records = range(ROWS) if day % 2 else reversed(range(ROWS))
        return lambda: write(place, square(records, 1.0 + day), target=target, day=DAY + timedelta(days=day))

    run_together(*map(writer, (2, 0, 1)))
    assert scores_of(place) == square(range(ROWS), 3.0)
    assert {row["SnapshotDate"] for row in place.read().values()} == {DAY + timedelta(days=2)}


@pytest.mark.parametrize("batch_rows", [None, 50])
def test_one_partition_written_twice_at_once_is_written_once(place: Place, batch_rows: int | None) -> None:
    target = replace(TARGET, batch_rows=batch_rows)
    first, second = run_together(*[lambda: write(place, square(range(ROWS)), target=target)] * 2)
    assert scores_of(place) == square(range(ROWS))
    inserted = first.inserted + second.inserted
    assert inserted >= ROWS if batch_rows else inserted == ROWS
    assert place.list_tables() == {"Predictions"} | ({"adfml_write_back"} if batch_rows else set())


def test_a_run_that_begins_just_after_another_goes_on_where_it_is(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = Partition("asset", "2026-03-10", "digest")
    find = progress.find
    with place.databases.connect("shop") as connection:
        assert progress.begin(connection, None, of).rows_done == 0
        with connection.begin():
            assert progress.claim(connection, None, of, 0, 50)
            progress.note(connection, None, of, Written(50, inserted=50))
        answers = iter([None])
        # It looked before the other one had committed.
        monkeypatch.setattr(progress, "find", lambda *given: next(answers, find(*given)))
        assert progress.begin(connection, None, of) == Progress(50, Written(50, inserted=50))


def test_a_table_whose_keys_no_index_keeps_unique(place: Place) -> None:
    place.execute(
        'CREATE TABLE "Predictions" ("RecordId" BIGINT NOT NULL, "ModelName" VARCHAR(20) NOT NULL, '
        '"Score" DOUBLE PRECISION, "ScoredAt" TIMESTAMP, "SnapshotDate" DATE)'
    )
    written = run_together(*[lambda: write(place, square(range(ROWS)))] * 3)
    assert sorted(one.inserted for one in written) == [0, 0, ROWS]
    assert place.fetch('SELECT count(*) FROM "Predictions"') == [(ROWS,)]


def test_somebody_elses_rows_are_not_in_the_way(place: Place) -> None:
    write(place, square(range(ROWS)))
    stop = threading.Event()

    def touch() -> Written:
        place.execute('ALTER TABLE "Predictions" ADD COLUMN "Seen" INTEGER')
        while not stop.is_set():
            place.execute('UPDATE "Predictions" SET "Seen" = 1 WHERE "RecordId" = 7')
        return Written(0)

    def write_all() -> Written:
        try:
            return [write(place, square(range(ROWS), float(by))) for by in range(4)][-1]
        finally:
            stop.set()

    run_together(touch, write_all)
    assert scores_of(place) == square(range(ROWS), 3.0)
    assert place.read()[(7, "m")]["Seen"] == 1
