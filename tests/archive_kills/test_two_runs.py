"""Two runs of one partition at once: a reader sees one run's files, whole, whoever ends last or dies."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa

from resources.control import ControlDatabase
from resources.lake import Lake
from tests.archive.conftest import Source
from tests.archive_kills.archiver import Order, archive_tables
from tests.archive_kills.bank import TABLES, Bank
from tests.archive_kills.conftest import KILLS
from tests.archive_kills.processes import Archivers
from tests.archive_kills.reading import list_folders, list_unnamed, read_partition, reading

ROUNDS = max(1, KILLS // 3)


@pytest.mark.parametrize("mode", ["full", "incremental"])
def test_two_runs_at_once_leave_one_whole_partition(
    mode: str, bank: Bank, source: Source, archivers: Archivers, control_url: sa.URL, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secrets
    tables = tuple(f"{source.schema}.{name}" for name in TABLES)
    seconds, killed = 0.3, 0
    with bank.booking(seed), reading() as reader:
        for day in range(ROUNDS):
            plans = [
                (Order(mode, tables, day=day, run_id=f"{day}.{number}"), *_choose(chance, seconds))
                for number in range(2)
            ]
            with ThreadPoolExecutor(2) as pool:
                outcomes = list(pool.map(lambda plan: _run(archivers, *plan), plans))
            ended = {plan[0].run_id: outcome for plan, outcome in zip(plans, outcomes, strict=True)}
            reader.check()
            survivors = [outcome for outcome in ended.values() if outcome is not None]
            killed += 2 - len(survivors)
            assert all(outcome == dict.fromkeys(tables, "archived") for outcome in survivors), ended
            _check(mode, day, set(ended), everybody_lived=len(survivors) == 2, anybody_lived=bool(survivors))
            for outcome in archive_tables(Order(mode, tables, day=day, run_id="last")).values():
                assert not isinstance(outcome, Exception), outcome
                assert list_unnamed(Lake(), outcome.folder) == []
    for name in TABLES if mode == "incremental" else ():
        assert ControlDatabase().intervals.find_gaps(bank.table(name).full_name) == []
    print(f"two runs at once, {mode} over {source.kind}: {ROUNDS} rounds, {killed} killed")


def _choose(chance: random.Random, seconds: float) -> tuple[float, int, float | None]:
    """When a run begins, what its clock shows, and when it is killed."""
    return chance.uniform(0, seconds), chance.randint(0, 1), chance.choice([None, None, chance.uniform(0, 2 * seconds)])


def _run(
    archivers: Archivers, order: Order, begin_after: float, clock: int, kill_after: float | None
) -> dict[str, str] | None:
    time.sleep(begin_after)
    return archivers.run(replace(order, later_seconds=clock), kill_after)


def _check(mode: str, day: int, runs: set[str], *, everybody_lived: bool, anybody_lived: bool) -> None:
    lake = Lake()
    container = "archive" if mode == "full" else "incremental"
    partition = Order(mode, (), day=day).partition
    found = [read_partition(lake, folder) for folder in list_folders(lake, container)]
    todays = [part for part in found if part.manifest.partition == partition]
    assert len(todays) == len(TABLES) or not anybody_lived
    for part in todays:
        assert part.manifest.run_id in runs
        stamps = {
            file.name.removesuffix(".parquet").split("_20", 1)[1].partition("_")[0] for file in part.manifest.files
        }
        assert len(stamps) == 1, "the files are of several runs"
        if everybody_lived:
            assert list_unnamed(lake, part.folder) == []
