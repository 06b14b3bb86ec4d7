"""A run in the middle of a copy when another one of the same partition begins later and ends first."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from adfml_assets.archive.copying import Archived
from adfml_assets.errors import WatermarkWentBack
from resources.claims import Claim, Claims
from resources.control import ControlDatabase
from resources.lake import Lake
from resources.manifest import read_manifest
from resources.servers.postgresql_snapshot import PostgresqlSnapshot
from resources.servers.sqlite import SqliteSnapshot
from tests.archive.conftest import Source
from tests.archive_kills.archiver import Order, archive_tables
from tests.archive_kills.bank import TABLES, Bank, format_tick
from tests.archive_kills.processes import Archivers
from tests.archive_kills.reading import list_local, list_unnamed, read_partition


@pytest.mark.parametrize("small_files", [True, False])
def test_the_run_that_was_overtaken_leaves_the_later_ones_copy(
    big_tables: tuple[str, ...], source: Source, monkeypatch: pytest.MonkeyPatch, small_files: bool
) -> None:
    """The later run's commit removes what the first has written so far, even the file that it is in the middle of."""
    order = Order("full", big_tables[:1], run_id="first", small_files=small_files)
    server = PostgresqlSnapshot if source.kind == "postgresql" else SqliteSnapshot
    original, overtaken, turn = server.read, list[Archived | Exception](), iter([True])
    folder = f"archive/shop/{source.schema}/Big/snapshot_date=2026-03-10"
    awaited = ".parquet" if small_files else "#"

    def read(self: Any, query: Any) -> Iterator[Any]:
        for number, batch in enumerate(original(self, query)):
            yield batch
            # By now there are batches enough for the encoder's first file.
            if number == (0 if small_files else 2) and next(turn, False):
                while not any(awaited in name for name in list_local(folder)):
                    time.sleep(0.01)
                overtaken[:] = archive_tables(replace(order, run_id="later")).values()

    monkeypatch.setattr(server, "read", read)
    (first,) = archive_tables(order).values()
    (later,) = overtaken
    assert isinstance(later, Archived), later
    assert not later.existing
    assert isinstance(first, Archived), first
    assert first.existing
    assert first.manifest == later.manifest == read_manifest(Lake(), later.folder)
    assert later.manifest.run_id == "later"
    for file in later.manifest.files:
        Lake().verify_file(f"{folder}/{file.name}", file)
    assert list_unnamed(Lake(), folder) == []


@pytest.mark.parametrize("later_day", [0, 1])
def test_a_run_whose_snapshot_is_older_than_a_recorded_interval_reads_a_newer_one(
    bank: Bank, source: Source, monkeypatch: pytest.MonkeyPatch, later_day: int
) -> None:
    """Its largest watermark is before the end of what is recorded: the table did not go back."""
    tables = tuple(f"{source.schema}.{name}" for name in TABLES)
    order = Order("incremental", tables[1:], run_id="first")
    server = PostgresqlSnapshot if source.kind == "postgresql" else SqliteSnapshot
    original, later = server.find_largest, list[Archived | Exception]()

    def find_largest(self: Any, *arguments: Any) -> str | None:
        found = original(self, *arguments)
        if not later:
            later.append(AssertionError("the later run has not ended"))
            with bank.booking(seed=1):
                bank.wait_for_commits()
            later[:] = archive_tables(replace(order, day=later_day, run_id="later")).values()
        return found

    monkeypatch.setattr(server, "find_largest", find_largest)
    (first,) = archive_tables(order).values()
    assert isinstance(later[0], Archived), later
    assert isinstance(first, Archived), first
    assert ControlDatabase().intervals.find_gaps(bank.table("Bookings").full_name) == []
    rows = read_partition(Lake(), later[0].folder).rows
    if later_day == 0:
        assert first.manifest.facts["upper"] == later[0].manifest.facts["upper"]
        rows = read_partition(Lake(), first.folder).rows
    else:
        assert read_partition(Lake(), first.folder).rows == []
    assert {row["BookingId"]: row for row in rows} == bank.read("Bookings")


def test_a_table_that_did_go_back_is_still_refused(bank: Bank, source: Source) -> None:
    order = Order("incremental", (f"{source.schema}.Bookings",))
    (first,) = archive_tables(order).values()
    assert isinstance(first, Archived), first
    source.execute(f'UPDATE "Bookings" SET "ModifiedDate" = \'{format_tick(0)}\'')
    (second,) = archive_tables(replace(order, day=1)).values()
    assert isinstance(second, WatermarkWentBack), second


def test_an_interval_never_ends_before_it_begins(source: Source, control_url: Any) -> None:
    """Two runs over midnight: the one of the later day recorded first, and further."""
    intervals = ControlDatabase().intervals
    intervals.record("t", "2026-03-11", "10", "later", "integer")
    between = intervals.record("t", "2026-03-10", "9", "first", "integer")
    assert (between.lower, between.upper) == ("10", "10")
    assert intervals.record("t", "2026-03-12", "11", "next", "integer").lower == "10"
    assert intervals.find_gaps("t") == []


def test_a_later_run_that_dies_while_it_tidies_takes_no_file_of_the_first(
    bank: Bank, source: Source, archivers: Archivers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run has written its files and is about to commit; the later one dies after its first removal."""
    order = Order("full", (f"{source.schema}.Bookings",), run_id="first")
    original, turn = Claims.commit, iter([True])

    def commit(self: Claims, claim: Claim, publish: Callable[[], None]) -> bool:
        if next(turn, False):
            dying = replace(order, run_id="later", die_at="resources.lake:Lake.delete", die_after=True)
            assert archivers.run(dying) is None, "it was to die"
        return original(self, claim, publish)

    monkeypatch.setattr(Claims, "commit", commit)
    (first,) = archive_tables(order).values()
    assert isinstance(first, Archived), first
    assert read_partition(Lake(), first.folder).manifest == first.manifest
    (last,) = archive_tables(replace(order, run_id="last")).values()
    assert isinstance(last, Archived), last
    assert read_partition(Lake(), last.folder).manifest.run_id == "last"
    assert list_unnamed(Lake(), last.folder) == []
