"""With Dagster's real daemon: backfilled days cascade, and a slot of a killed run is free for the next."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from adfml_assets.workflow import launch_backfill

pytestmark = [pytest.mark.slow, pytest.mark.soak]  # by Dagster's own evaluation in test_automation.py and test_pools.py

ROOT = Path(__file__).resolve().parent.parent.parent


def day(back: int) -> str:
    return f"{datetime.now(UTC) - timedelta(days=back):%Y-%m-%d}"


@dataclass
class Daemon:
    """The daemon, and what tests see of it."""

    instance: dg.DagsterInstance
    folder: Path
    graph: Any
    log: Path

    def backfill(self, name: str, *days: str) -> str:
        return launch_backfill(self.instance, self.graph, {dg.AssetKey(name): list(days)}, title="test", tags={})

    def wait(self, what: str, done: Callable[[], Any], seconds: float = 240) -> Any:
        stop_at = time.monotonic() + seconds
        while not (found := done()):
            assert time.monotonic() < stop_at, f"{what}: not within {seconds} s\n{self.log.read_text()[-3000:]}"
            time.sleep(0.3)
        return found

    def started(self) -> dict[str, int]:
        """The processes of slow runs that began, by run."""
        return {path.suffix[1:]: int(path.read_text() or 0) for path in self.folder.glob("2*.*")}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("home")
    folder = tmp_path_factory.mktemp("processes")
    settings = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    settings["run_monitoring"]["poll_interval_seconds"] = 2
    settings["run_retries"]["enabled"] = False
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    location = {"python_module": {"module_name": "tests.schedules.small_location", "working_directory": str(ROOT)}}
    (home / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [location]}))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "DAGSTER_HOME": str(home),
            "ADFML_SCHEDULES": "on",
            "ADFML_FIRST_DAY": day(10),
            "SMALL_LOCATION_FOLDER": str(folder),
        }.items():
            patch.setenv(name, value)
        from tests.schedules.small_location import defs

        log = home / "daemon.log"
        command = [sys.executable, "-m", "demo.daemon", "run", "-w", str(home / "workspace.yaml")]
        with log.open("w") as output, dg.DagsterInstance.get() as instance:
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
            try:
                yield Daemon(instance, folder, defs.get_repository_def().asset_graph, log)
            finally:
                (folder / "go").touch()
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()


def test_backfilled_days_cascade_to_the_end(daemon: Daemon) -> None:
    names = ["follow_small", "pools"]

    def looked() -> bool:
        states = {s.instigator_name: s for s in daemon.instance.all_instigator_state()}
        ticks = [
            daemon.instance.get_ticks(states[n].instigator_origin_id, states[n].selector_id, limit=1)
            for n in names
            if n in states
        ]
        return len(ticks) == len(names) and all(ticks)

    daemon.wait("first look", looked)
    wanted = {day(5), day(2)}
    daemon.backfill("archive", *wanted)
    scores = dg.AssetKey("scores")
    daemon.wait("scores", lambda: set(daemon.instance.get_materialized_partitions(scores)) == wanted)


def test_a_slot_of_a_run_that_was_killed_is_free_for_the_next(daemon: Daemon) -> None:
    daemon.wait("limit", lambda: "database_shop" in daemon.instance.event_log_storage.get_concurrency_keys())
    daemon.backfill("slow", day(3), day(4))
    ((first, pid),) = daemon.wait("first run", daemon.started).items()
    queued = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])
    daemon.wait("second in the queue", lambda: daemon.instance.get_runs(queued))
    assert set(daemon.started()) == {first}, "one at a time"
    os.kill(pid, signal.SIGKILL)
    daemon.wait("second run", lambda: set(daemon.started()) - {first})
    run = daemon.instance.get_run_by_id(first)
    assert run is not None
    assert run.status == dg.DagsterRunStatus.FAILURE
