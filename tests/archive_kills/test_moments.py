"""Runs that kill themselves at a named line: what a reader sees then, and that the next run puts it right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resources.control import ControlDatabase
from resources.lake import Lake
from resources.manifest import read_manifest
from tests.archive.conftest import Source
from tests.archive_kills.archiver import Order, archive_tables
from tests.archive_kills.bank import Bank, format_tick
from tests.archive_kills.processes import Archivers
from tests.archive_kills.reading import list_folders, list_unnamed, read_partition

# (where, which call, whether after it, whether the partition is the new one then)
MOMENTS = [
    ("resources.claims:Claims.take", 1, True, False),
    ("resources.lake_files:NewFile.write", 2, True, False),
    ("resources.lake_files:settle", 2, True, False),
    ("resources.lake:Lake.write_bytes", 1, False, False),
    ("resources.lake:Lake.write_bytes", 1, True, True),
    ("resources.lake:Lake.delete", 1, True, True),
    ("resources.claims:Claims.commit", 1, True, True),
]
RECORDED = [("resources.intervals:Intervals.record", 1, False), ("resources.intervals:Intervals.record", 1, True)]


@pytest.mark.parametrize("source", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("place", "call", "after", "visible"), MOMENTS)
def test_a_run_that_dies_at_a_line_leaves_the_old_partition_or_the_new_one(
    bank: Bank, source: Source, archivers: Archivers, place: str, call: int, after: bool, visible: bool
) -> None:
    order = Order("full", ("main.Bookings",), run_id="first")
    (first,) = archive_tables(order).values()
    assert not isinstance(first, Exception), first
    with bank.booking(seed=1):
        bank.wait_for_commits()
    dying = replace(order, run_id="second", die_at=place, die_call=call, die_after=after)
    assert archivers.run(dying) is None, "it was to die"
    (folder,) = list_folders(Lake(), "archive")
    assert read_partition(Lake(), folder).manifest.run_id == ("second" if visible else "first")
    (third,) = archive_tables(replace(order, run_id="third")).values()
    assert not isinstance(third, Exception), third
    assert read_partition(Lake(), folder).manifest == third.manifest
    assert list_unnamed(Lake(), folder) == []


@pytest.mark.parametrize("source", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("place", "call", "after"), RECORDED)
def test_a_run_that_dies_beside_its_interval_keeps_the_intervals_contiguous(
    bank: Bank, source: Source, archivers: Archivers, place: str, call: int, after: bool
) -> None:
    order = Order("incremental", ("main.Bookings",), run_id="first")
    name = bank.table("Bookings").full_name
    assert archivers.run(replace(order, die_at=place, die_call=call, die_after=after)) is None, "it was to die"
    assert list_folders(Lake(), "incremental") == []
    with bank.booking(seed=1):
        bank.wait_for_commits(10)
    (second,) = archive_tables(replace(order, run_id="second")).values()
    (third,) = archive_tables(replace(order, day=1, run_id="third")).values()
    assert not isinstance(second, Exception), second
    assert not isinstance(third, Exception), third
    assert ControlDatabase().intervals.find_gaps(name) == []
    assert second.manifest.facts["lower"] is None
    # Where the interval was recorded, its end is of then; otherwise it is the second run's.
    assert (second.manifest.facts["upper"] == format_tick(1)) is after
    rows = [row for folder in list_folders(Lake(), "incremental") for row in read_partition(Lake(), folder).rows]
    assert {row["BookingId"] for row in rows} == set(bank.read("Bookings"))
    assert read_manifest(Lake(), third.folder) == third.manifest
