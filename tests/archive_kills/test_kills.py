"""Runs that are killed at any moment, while the source is written to: nothing is lost, doubled or half visible."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy as sa

from adfml_assets.archive.copying import Archived
from adfml_assets.errors import MissedIncrement
from resources.control import ControlDatabase
from resources.lake import Lake
from tests.archive.conftest import Source
from tests.archive_kills.archiver import Order, archive_tables, name_asset
from tests.archive_kills.bank import KEYS, TABLES, Bank, require_balanced
from tests.archive_kills.conftest import KILLS, require_unlocked
from tests.archive_kills.processes import Archivers
from tests.archive_kills.reading import Partition, list_folders, list_unnamed, read_partition, reading


@dataclass
class Days:
    """Days on which runs are killed and tried again, as Dagster would.

    Attributes:
        mode: `full` or `incremental`.
        chance: every random choice.
        clean_seconds: how long a run takes that nobody kills.
        kills: how many runs were killed, and how many of these had begun a partition that they did not commit.
        day: the last one.
        dead: the days whose every run was killed.
    """

    mode: str
    bank: Bank
    archivers: Archivers
    control_url: sa.URL
    chance: random.Random
    clean_seconds: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    day: int = 0
    runs: int = 0
    dead: list[int] = field(default_factory=list)

    @property
    def tables(self) -> tuple[str, ...]:
        """The bank's tables, as the archive names them."""
        return tuple(f"{self.bank.source.schema}.{name}" for name in TABLES)

    def order(self, **values: Any) -> Order:
        """The day's next run; half of them begin in the second of the one before."""
        self.runs += 1
        later = self.chance.choice([0, self.runs])
        values = {"day": self.day, "later_seconds": later, "run_id": f"run {self.runs}", **values}
        return Order(self.mode, self.tables, **values)

    def measure(self) -> None:
        """A run by a process that nobody kills."""
        with self.archivers.begin(self.order()) as archiver:
            started = time.monotonic()
            outcomes = archiver.finish()
            self.clean_seconds = time.monotonic() - started
        assert outcomes == dict.fromkeys(self.tables, "archived")

    def kill_one(self) -> None:
        """A run, killed at a random moment; it may have ended before."""
        with self.archivers.begin(self.order()) as archiver:
            time.sleep(self.chance.uniform(0, 1.1 * self.clean_seconds))
            archiver.kill()
            ended = archiver.finish()
            require_unlocked(self.bank.source, self.control_url, archiver)
        if ended is not None:
            assert ended == dict.fromkeys(self.tables, "archived")
            return
        self.kills["killed"] += 1
        lake = Lake()
        for container in ("archive", "incremental"):
            for folder in list_folders(lake, container):
                read_partition(lake, folder)
        claims = ControlDatabase().claims
        if any(self._is_under_way(claims, name) for name in TABLES):
            self.kills["in mid-copy"] += 1

    def archive(self, **values: Any) -> dict[str, Partition]:
        """A run that nobody kills, in this process: it begins at once and cleans up. The partitions by table."""
        order = self.order(**values)
        found = {}
        for outcome in archive_tables(order).values():
            if isinstance(outcome, Exception):
                raise outcome
            assert not outcome.existing
            partition = self._require_clean(outcome, order)
            found[partition.table] = partition
        return found

    def _require_clean(self, outcome: Archived, order: Order) -> Partition:
        partition = read_partition(Lake(), outcome.folder)
        assert partition.manifest == outcome.manifest
        assert partition.manifest.run_id == order.run_id
        assert list_unnamed(Lake(), outcome.folder) == []
        return partition

    def _is_under_way(self, claims: Any, name: str) -> bool:
        from resources.control_tables import partition_claims as table

        asset = name_asset(self.mode, self.bank.table(name))
        query = sa.select(table.c.number > table.c.committed).where(table.c.asset == asset)
        query = query.where(table.c.partition == self.order().partition)
        with claims._engine.connect() as connection:
            return bool(connection.execute(query).scalar())


@pytest.fixture(params=["full", "incremental"])
def days(request: pytest.FixtureRequest, bank: Bank, archivers: Archivers, control_url: sa.URL, seed: int) -> Days:
    return Days(request.param, bank, archivers, control_url, random.Random(seed))  # noqa: S311 - no secrets


def test_killed_runs_lose_nothing(days: Days, source: Source, seed: int) -> None:
    with days.bank.booking(seed), reading() as reader:
        days.measure()
        while days.kills["killed"] < KILLS:
            days.day += 1
            for _ in range(days.chance.randint(1, 3)):
                days.kill_one()
                days.bank.wait_for_commits()
                reader.check()
            if days.mode == "incremental" and days.chance.random() < 0.25:
                days.dead.append(days.day)
                continue
            partitions = days.archive()
            if days.mode == "full":
                # Both tables were read from the run's one snapshot.
                require_balanced({name: partition.rows for name, partition in partitions.items()})
    days.day += 1
    last = days.archive()
    assert reader.reads > 0
    if days.mode == "full":
        for name, partition in last.items():
            assert {row[KEYS[name]]: row for row in map(_strip, partition.rows)} == days.bank.read(name)
    else:
        for name in TABLES:
            require_complete(days, name)
    print(f"{days.mode} over {source.kind}: {dict(days.kills)}, {days.day} days, a run took {days.clean_seconds:.2f} s")


def require_complete(days: Days, name: str) -> None:
    """All increments together are the table, and no version of a row is in two of them."""
    table = days.bank.table(name)
    today = days.day
    intervals = ControlDatabase().intervals
    for day in days.dead:
        order = days.order(day=day, today=today)
        order = Order(**{**vars(order), "tables": (f"{table.schema}.{name}",)})
        (outcome,) = archive_tables(order).values()
        # A day on which no run came as far as to record an interval is covered by the next one.
        recorded = intervals.find(table.full_name, order.partition) is not None
        assert isinstance(outcome, Archived if recorded else MissedIncrement), outcome
    assert intervals.find_gaps(table.full_name) == []
    recorded_days = [interval.partition for interval in intervals.list_all(table.full_name)]
    lake = Lake()
    newest: dict[int, dict[str, Any]] = {}
    versions: set[tuple[int, Any]] = set()
    parts = [read_partition(lake, folder) for folder in list_folders(lake, "incremental")]
    parts = [part for part in parts if part.table == name]
    assert sorted(part.manifest.partition for part in parts) == sorted(recorded_days)
    for part in sorted(parts, key=lambda part: part.manifest.facts["sequence"]):
        assert list_unnamed(lake, part.folder) == []
        for row in map(_strip, part.rows):
            version = (row[KEYS[name]], row["ModifiedDate"])
            assert version not in versions, f"{version} is in two increments"
            versions.add(version)
            if version[0] not in newest or newest[version[0]]["ModifiedDate"] < row["ModifiedDate"]:
                newest[version[0]] = row
    assert newest == days.bank.read(name)


def _strip(row: dict[str, Any]) -> dict[str, Any]:
    """Without the column that folders named `snapshot_date=...` add for some readers."""
    return {name: value for name, value in row.items() if name != "snapshot_date"}
