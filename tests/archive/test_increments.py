"""Increments: each row in exactly one, whatever is missed, repeated, late or equal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adfml_assets.archive.tables import TableRules
from adfml_assets.errors import MissedIncrement, WatermarkMissing, WatermarkWentBack, WrongWatermark
from resources.errors import NotFound
from resources.servers.base import Watermark
from tests.archive.conftest import Archive, Source
from tests.conftest import NOW, TODAY, stamp


def day(number: int) -> dict[str, Any]:
    """Partition and clock of the n-th day."""
    now = NOW + timedelta(days=number)
    return {"day": f"{now:%Y-%m-%d}", "now": now, "run_id": f"run of day {number}"}


def make_watermarks(source: Source) -> None:
    """The shipped table ArchiveWatermark, in the source."""
    ddl = Path(__file__).parents[2] / f"resources/sql/archive_watermark_{source.kind}.sql"
    raw = source.engine.raw_connection()
    try:
        driver = raw.driver_connection
        assert driver is not None
        driver.executescript(ddl.read_text()) if source.kind == "sqlite" else driver.execute(ddl.read_text())
        driver.commit()
    finally:
        raw.close()


def test_increments_are_contiguous_and_a_missed_day_is_in_the_next(archive: Archive, source: Source) -> None:
    source.add(1, stamp("2026-03-09"))
    source.add(2, None)
    first = archive.increment(source.transactions)
    assert first.folder == f"incremental/shop/{source.schema}/Transactions/2026/03/10"
    assert first.manifest.files[0].name == "Transactions_incremental_20260310093000.parquet"
    assert archive.ids(first) == [1]
    assert first.manifest.facts["lower"] is None
    assert first.manifest.facts["rows_without_watermark"] == 1
    source.add(3, stamp("2026-03-10", "13:00:00.000001"))
    third = archive.increment(source.transactions, **day(3))
    assert archive.ids(third) == [3]
    assert third.manifest.facts["lower"] == first.manifest.facts["upper"]
    with pytest.raises(MissedIncrement, match=r"2026-03-11: no interval was recorded.*materialise 2026-03-13"):
        archive.increment(source.transactions, "2026-03-11", now=NOW + timedelta(days=3))
    assert archive.control.intervals.find_gaps(source.transactions.full_name) == []


def test_a_rerun_reads_its_recorded_interval(archive: Archive, source: Source) -> None:
    source.add(1, stamp("2026-03-09"))
    archive.increment(source.transactions)
    source.add(2, stamp("2026-03-11"))
    assert archive.ids(archive.increment(source.transactions, now=NOW + timedelta(days=5), run_id="again")) == [1]


def test_a_run_that_died_after_recording_its_interval_loses_nothing(archive: Archive, source: Source) -> None:
    name = source.transactions.full_name
    source.add(1, stamp("2026-03-09"))
    archive.control.intervals.record(name, TODAY, stamp("2026-03-09"), "the run that died")
    source.add(2, stamp("2026-03-11"))
    assert archive.ids(archive.increment(source.transactions)) == [1]
    assert archive.ids(archive.increment(source.transactions, **day(1))) == [2]


def test_an_interval_another_run_recorded_is_not_read_from_an_older_snapshot(archive: Archive, source: Source) -> None:
    """The run's snapshot was opened before the other run's rows were there."""
    from adfml_assets.archive.increment import take_increment
    from tests.archive.conftest import MODIFIED

    source.add(1, stamp("2026-03-09"))
    with archive.run(run_id="slow") as run:
        run.read(lambda snapshot: snapshot.describe(source.transactions.name))
        source.add(2, stamp("2026-03-10"))
        assert archive.ids(archive.increment(source.transactions, run_id="quick")) == [1, 2]
        slow = take_increment(run, source.transactions, MODIFIED, TODAY, asset=f"incremental/{run.run_id}")
    assert archive.ids(slow) == [1, 2]


def test_a_table_that_went_back_is_refused(archive: Archive, source: Source) -> None:
    source.add(1, stamp("2026-03-09"))
    archive.increment(source.transactions)
    source.execute(f'UPDATE "Transactions" SET "ModifiedDate" = \'{stamp("2026-03-08")}\'')
    with pytest.raises(WatermarkWentBack, match=r"largest ModifiedDate is 2026-03-08.*up to 2026-03-09"):
        archive.increment(source.transactions, **day(1))


def test_a_missing_or_unfit_watermark_is_named(archive: Archive, source: Source) -> None:
    def take(rules: TableRules) -> None:
        archive.increment(source.transactions, rules=rules)

    with pytest.raises(NotFound, match=r"no column 'Modified' in shop\..*Did you mean 'ModifiedDate'"):
        take(TableRules(Watermark("Modified")))
    with pytest.raises(WrongWatermark, match=r"InvoiceNo is .* cannot be a watermark of kind datetime"):
        take(TableRules(Watermark("InvoiceNo")))
    with pytest.raises(WrongWatermark, match=r"ModifiedDate .* kind integer: expected a column of whole numbers"):
        take(TableRules(Watermark("ModifiedDate", "integer")))
    with pytest.raises(WatermarkMissing, match="names no watermark column"):
        take(TableRules())
    assert archive.control.intervals.find_last(source.transactions.full_name) is None


def test_whole_numbers_are_compared_as_numbers(archive: Archive, source: Source) -> None:
    rules = TableRules(Watermark("TransactionId", "integer"))
    source.add(9, stamp("2026-03-09"))
    assert archive.ids(archive.increment(source.transactions, rules=rules)) == [9]
    source.add(10, stamp("2026-03-09"))
    source.add(100, stamp("2026-03-09"))
    second = archive.increment(source.transactions, rules=rules, **day(1))
    assert archive.ids(second) == [10, 100]
    assert (second.manifest.facts["lower"], second.manifest.facts["upper"]) == ("9", "100")


def test_rows_younger_than_the_lag_wait_for_the_next_interval(archive: Archive, source: Source) -> None:
    rules = TableRules(Watermark("ModifiedDate", "datetime", lag_seconds=3600))
    now = "strftime('%Y-%m-%d %H:%M:%f000', 'now')" if source.kind == "sqlite" else "now() AT TIME ZONE 'UTC'"
    source.add(1, stamp("2026-03-09"))
    source.add(2, stamp("2026-03-09"))
    source.execute(f'UPDATE "Transactions" SET "ModifiedDate" = {now} WHERE "TransactionId" = 2')
    assert archive.ids(archive.increment(source.transactions, rules=rules)) == [1]
    shorter = TableRules(Watermark("ModifiedDate", "datetime"))
    assert archive.ids(archive.increment(source.transactions, rules=shorter, **day(1))) == [2]
    # A longer lag again: nothing is old enough, which is no table that went back.
    assert archive.ids(archive.increment(source.transactions, rules=rules, **day(2))) == []
    assert archive.control.intervals.find_gaps(source.transactions.full_name) == []


def test_a_table_without_rows_starts_when_it_has_some(archive: Archive, source: Source) -> None:
    assert archive.ids(archive.increment(source.transactions)) == []
    source.add(1, stamp("2026-03-09"))
    assert archive.ids(archive.increment(source.transactions, **day(1))) == [1]
    assert archive.ids(archive.increment(source.transactions, **day(2))) == []


def test_intervals_can_be_kept_in_the_source_beside_adf(archive: Archive, source: Source) -> None:
    source.add(1, stamp("2026-03-09"))
    with pytest.raises(NotFound, match="no table 'ArchiveWatermark'"):
        archive.increment(source.transactions, watermarks_in="source")
    make_watermarks(source)
    assert archive.ids(archive.increment(source.transactions, watermarks_in="source")) == [1]
    source.add(2, stamp("2026-03-10"))
    assert archive.ids(archive.increment(source.transactions, watermarks_in="source", **day(1))) == [2]
    assert archive.control.intervals.list_all(source.transactions.full_name) == []
    with source.engine.connect() as connection:
        found = connection.exec_driver_sql(
            'SELECT "SequenceNumber", "ArchiveTimestamp" FROM "ArchiveWatermark" ORDER BY 1'
        ).fetchall()
    assert [(row[0], str(row[1])[:19]) for row in found] == [(0, "2026-03-09 12:00:00"), (1, "2026-03-10 12:00:00")]


def test_who_records_beside_others_in_the_source_goes_on_where_they_ended(archive: Archive, source: Source) -> None:
    make_watermarks(source)
    intervals = archive.control.find_intervals("shop", archive.databases.engine("shop"))

    def record(number: int) -> int:
        # Half of them want the partition of another one.
        name, partition = source.transactions.full_name, f"2026-03-{number // 2 + 1:02d}"
        return intervals.record(name, partition, stamp(partition), f"run {number}").sequence

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(record, range(24)))
    assert numbers[::2] == numbers[1::2]
    assert sorted(numbers[::2]) == list(range(12))
    assert intervals.find_gaps(source.transactions.full_name) == []


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(st.integers(0, 4), max_size=6), min_size=1, max_size=6))
def test_whatever_comes_when_every_row_is_in_one_increment(
    batches: list[list[int]], archive: Archive, source: Source
) -> None:
    """Rows arrive in batches; each batch's watermarks are at or after the last archived one, equal ones included."""
    name = f"T{abs(hash(str(batches)))}_{id(batches)}"
    source.execute(f'CREATE TABLE "{name}" ("TransactionId" INTEGER PRIMARY KEY, "ModifiedDate" TIMESTAMP)')
    found: list[int] = []
    clock, number = 0, 0
    for index, batch in enumerate(batches):
        for step in batch:
            number += 1
            moment = datetime(2026, 1, 1) + timedelta(microseconds=clock + step + 1)
            source.execute(f"INSERT INTO \"{name}\" VALUES ({number}, '{moment:%Y-%m-%d %H:%M:%S.%f}')")
        clock += max(batch, default=0) + 1
        found += archive.ids(archive.increment(source.table(name), **day(index)))
    source.execute(f'DROP TABLE "{name}"')
    assert sorted(found) == list(range(1, number + 1))
