"""A local cloud with a tiny job, and the ledger and service that submit to it."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from local_cloud.process import LocalCloud
from resources.control import ControlDatabase, utc_now
from resources.databricks import Databricks
from resources.ledger import Ledger
from resources.remote_jobs import RemoteJob
from resources.submission import submit_job
from sensors.polling import Tick, advance_jobs

WORK = """
import sys, time
mode, key = sys.argv[1:3]
print("submission key", key)
if mode == "fail":
    sys.exit("TrainingError: the training data is empty")
if mode == "slow":
    time.sleep(300)
"""
TASK = {
    "task_key": "main",
    "spark_python_task": {
        "python_file": "./work.py",
        "parameters": ["{{job.parameters.mode}}", "{{job.parameters.submission_key}}"],
    },
}
PARAMETERS = [{"name": "mode", "default": "ok"}, {"name": "submission_key", "default": ""}]
JOB = {"name": "tiny", "max_concurrent_runs": 40, "parameters": PARAMETERS, "tasks": [TASK]}
BUNDLE = {"bundle": {"name": "tests"}, "resources": {"jobs": {"tiny": JOB}}}
log = logging.getLogger("test")


@pytest.fixture(scope="package")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "work.py").write_text(WORK)
    (folder / "databricks.yml").write_text(yaml.safe_dump(BUNDLE))
    with LocalCloud(tmp_path_factory.mktemp("cloud"), bundle=folder / "databricks.yml") as started:
        yield started


@dataclass
class Bench:
    """What a test does over and over."""

    cloud: LocalCloud
    ledger: Ledger
    service: Databricks

    def open(self, mode: str = "ok", partition: str = "1", *, job: str = "tiny", **more: Any) -> RemoteJob:
        values: dict[str, Any] = {"deadline": timedelta(hours=1), "max_tries": 2, "run_id": "run", **more}
        return self.ledger.open_job(
            asset="ml/m_job",
            collecting_asset="ml/m",
            partition=partition,
            service="databricks",
            request={"job": job, "parameters": {"mode": mode}},
            **values,
        )

    def submit(self, mode: str = "ok", partition: str = "1", **more: Any) -> RemoteJob:
        return submit_job(self.ledger, self.service, self.open(mode, partition, **more))

    def tick(self, ahead: timedelta = timedelta()) -> Tick:
        return advance_jobs(self.ledger, self.service, now=utc_now() + ahead, budget_seconds=20, log=log)

    def tick_until(self, done: Callable[[], bool], seconds: float = 20) -> None:
        stop_at = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < stop_at, [(j.submission_key, j.state) for j in self.ledger.list_jobs()]
            self.tick()
            time.sleep(0.05)

    def get(self, job: RemoteJob) -> RemoteJob:
        return self.ledger.get(job.submission_key)

    def runs(self) -> list[Any]:
        return list(self.service.client.jobs.list_runs())

    def count_runs(self, job: RemoteJob) -> int:
        keys = [{p.name: p.value for p in run.job_parameters}.get("submission_key") for run in self.runs()]
        return keys.count(job.remote_key)

    def order(self, **fault: Any) -> None:
        httpx.post(f"{self.cloud.url}/_local/faults", json=fault).raise_for_status()


@pytest.fixture
def bench(
    cloud: LocalCloud, control: ControlDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Bench]:
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)
    yield Bench(cloud, control.ledger, Databricks(retry_seconds=3, request_timeout_seconds=5))
    httpx.delete(f"{cloud.url}/_local/faults").raise_for_status()
    httpx.delete(f"{cloud.url}/_local/requests").raise_for_status()


def environment_as_json() -> str:
    """The settings of this test, for a process of its own."""
    return json.dumps(dict(os.environ))
