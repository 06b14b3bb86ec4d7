"""One shop, one local cloud and one daemon for all tests of this folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import psutil
import pytest
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus

from adfml_assets.workflow import launch_backfill
from demo.home import PROJECT, DemoHome
from demo.sample_shop import ensure_sample_shop
from demo.services import Services, run_services
from resources.control import ControlDatabase
from resources.ledger import Ledger
from resources.remote_jobs import RemoteJob
from sensors.tags import REMOTE_JOB_TAG, WAITING

MODEL = dg.AssetKey(["ml", "models", "sales_forecast"])
MODEL_JOB = dg.AssetKey(["ml", "models", "sales_forecast_job"])
ARCHIVE = [dg.AssetKey(["archive", "shop", "main", table]) for table in ("Transactions", "Products")]
FEATURES = dg.AssetKey(["feature_store", "customer_features"])
VERSIONS = "123456789"
TRAINING_DATA = dg.AssetKey(["ml", "training_data", "sales_forecast"])


@dataclass
class Site:
    """A deployment that runs, and what tests do with it."""

    home: DemoHome
    services: Services
    instance: dg.DagsterInstance
    graph: Any

    @property
    def ledger(self) -> Ledger:
        return ControlDatabase().ledger

    def backfill(self, partitions: Mapping[dg.AssetKey, Sequence[str]]) -> str:
        return launch_backfill(self.instance, self.graph, partitions, title="test", tags={})

    def train(self, *versions: str) -> str:
        """A backfill of job and result together."""
        return self.backfill({key: list(versions) for key in (MODEL_JOB, MODEL)})

    def wait(self, what: str, done: Callable[[], Any], seconds: float = 150) -> Any:
        stop_at = time.monotonic() + seconds
        while not (found := done()):
            self.services.require_alive()
            assert time.monotonic() < stop_at, f"{what}: not within {seconds} s; {self.describe()}"
            time.sleep(0.3)
        return found

    def wait_for_backfill(self, backfill_id: str) -> BulkActionStatus:
        def ended() -> BulkActionStatus | None:
            backfill = self.instance.get_backfill(backfill_id)
            return backfill.status if backfill and backfill.status in BULK_ACTION_TERMINAL_STATUSES else None

        return self.wait(f"backfill {backfill_id}", ended)

    def waiting_runs(self, *versions: str) -> list[dg.DagsterRun]:
        filters = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED], tags={REMOTE_JOB_TAG: WAITING})
        runs = self.instance.get_runs(filters)
        return [run for run in runs if run.tags.get("dagster/partition") in versions]

    def wait_for_waiting(self, *versions: str) -> list[dg.DagsterRun]:
        def all_wait() -> list[dg.DagsterRun] | None:
            found = self.waiting_runs(*versions)
            return found if len(found) == len(versions) else None

        return self.wait(f"versions {versions} waiting", all_wait)

    def job(self, version: str) -> RemoteJob:
        job = self.ledger.find_latest(MODEL.to_user_string(), version)
        assert job is not None
        return job

    def run_processes(self) -> list[str]:
        """The command lines of run workers below the daemon."""
        commands = []
        for process in psutil.Process(self.services.daemon.pid).children(recursive=True):
            try:
                commands.append(" ".join(process.cmdline()))
            except psutil.NoSuchProcess:
                continue
        return [command for command in commands if "execute_run" in command]

    def materialised(self, key: dg.AssetKey) -> set[str]:
        return set(self.instance.get_materialized_partitions(key))

    def failure(self, run_id: str) -> str:
        """What the run's failed step said."""
        for record in self.instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
            event = record.dagster_event
            data = event.step_failure_data if event else None
            if data and data.user_failure_data and data.user_failure_data.description:
                return data.user_failure_data.description
            if data and data.error:
                return (data.error.cause or data.error).message
        return ""

    def order(self, **fault: Any) -> None:
        httpx.post(f"{self.services.cloud.url}/_local/faults", json=fault).raise_for_status()

    def clear_faults(self) -> None:
        httpx.delete(f"{self.services.cloud.url}/_local/faults").raise_for_status()

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command of this environment, in the project's folder."""
        script = Path(sys.executable).parent / arguments[0]
        command = [str(script), *arguments[1:]]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=200)

    def describe(self) -> str:
        runs = {run.run_id[:8]: (run.status.value, dict(run.tags)) for run in self.instance.get_runs(limit=8)}
        jobs = [(job.submission_key, job.state, job.remote_state) for job in self.ledger.list_jobs(8)]
        return f"runs {runs}\njobs {jobs}\n{self.services.daemon_log.read_text()[-2000:]}"


def _materialise_training_data(instance: dg.DagsterInstance) -> None:
    """What the tests' jobs need, made in this process: the graph through the daemon is what the demo's tests run."""
    from adfml_assets.definitions import defs

    job = defs().resolve_implicit_global_asset_job_def()
    instance.add_dynamic_partitions("sales_forecast_versions", list(VERSIONS))
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    for partition, keys in [(today, [*ARCHIVE, FEATURES]), *((version, [TRAINING_DATA]) for version in VERSIONS)]:
        job.execute_in_process(instance=instance, partition_key=partition, asset_selection=keys)


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    from adfml_assets.definitions import defs

    before = dict(os.environ)
    home = DemoHome(tmp_path_factory.mktemp("site"))
    # Days that were before this deployment archived anything: backfills may ask for them.
    (home.folder / "first_day").write_text(f"{datetime.now(UTC) - timedelta(days=5):%Y-%m-%d}")
    home.prepare()
    ensure_sample_shop(home.shop, customers=120, days=400)
    try:
        with run_services(home) as services, dg.DagsterInstance.get() as instance:
            graph = defs().get_repository_def().asset_graph
            _materialise_training_data(instance)
            yield Site(home, services, instance, graph)
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def site(running: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name, value in running.services.environment.items():
        monkeypatch.setenv(name, value)
    yield running
    running.clear_faults()
