"""A local cloud with a tiny deployment and the project's own, and the ledger and service that submit to them."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import workloads
from local_cloud.azure_ml_batch_declared import FOLDER_VARIABLE
from local_cloud.process import LocalCloud
from resources.azure_ml_batch import SUBMISSION_KEY, AzureMlBatch
from resources.control import ControlDatabase, begin, utc_now
from resources.control_tables import remote_jobs
from resources.ledger import Ledger
from resources.remote_jobs import RemoteJob
from resources.submission import submit_job
from sensors.polling import Tick, advance_jobs
from tests.workloads.conftest import as_options, training_arguments, write_training_data
from workloads import train_model

SCHEMAS = "https://azuremlschemas.azureedge.net/latest/"
WORK = """
import pathlib, sys, time
mode, number, output = sys.argv[1:4]
if mode == "fail":
    sys.exit("ScoringError: the input has no rows")
if mode == "slow":
    time.sleep(300)
folder = pathlib.Path(output)
folder.mkdir(parents=True)
(folder / "done.txt").write_text(number)
"""
TINY = {
    "endpoint.yml": {
        "$schema": f"{SCHEMAS}batchEndpoint.schema.json",
        "name": "tiny",
        "defaults": {"deployment_name": "one"},
    },
    "deployment.yml": {
        "$schema": f"{SCHEMAS}pipelineComponentBatchDeployment.schema.json",
        "type": "pipeline",
        "name": "one",
        "endpoint_name": "tiny",
        "component": "./pipeline.yml",
    },
    "pipeline.yml": {
        "type": "pipeline",
        "inputs": {"mode": {"type": "string"}, "number": {"type": "integer", "default": 1}},
        "outputs": {"result": {"type": "uri_folder"}},
        "jobs": {
            "work": {
                "type": "command",
                "component": "./command.yml",
                "inputs": {name: f"${{{{parent.inputs.{name}}}}}" for name in ("mode", "number")},
                "outputs": {"result": "${{parent.outputs.result}}"},
            }
        },
    },
    "command.yml": {
        "type": "command",
        "code": ".",
        "command": "python work.py '${{inputs.mode}}' '${{inputs.number}}' ${{outputs.result}}",
    },
}
log = logging.getLogger("test")


@pytest.fixture(scope="package")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 of the model `customer_spend`, as the training job leaves it."""
    folder = tmp_path_factory.mktemp("model")
    data = write_training_data(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow/mlflow.db")
        train_model.main(as_options(training_arguments(data, folder / "model", "1")))
    return folder / "model"


@pytest.fixture(scope="package")
def declared(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's own endpoints, its model deployment over a model of this machine, and a tiny one."""
    root = tmp_path_factory.mktemp("workloads")
    source = Path(workloads.__file__).parent
    shutil.copytree(source, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    folder = root / "azure_ml"
    path = folder / "score-model-deployment.yml"
    path.write_text(path.read_text().replace("model: azureml:sales_forecast:1", f"model:\n  path: {model}"))
    for name, content in TINY.items():
        (folder / name).write_text(yaml.safe_dump(content))
    (folder / "work.py").write_text(WORK)
    return folder


@pytest.fixture(scope="package")
def cloud(declared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER_VARIABLE, str(declared))
        with LocalCloud(tmp_path_factory.mktemp("cloud")) as started:
            yield started


@dataclass
class Bench:
    """What a test does over and over."""

    cloud: LocalCloud
    ledger: Ledger
    service: AzureMlBatch
    folder: Path
    client: httpx.Client

    def open(
        self, mode: str = "ok", partition: str = "1", request: dict[str, Any] | None = None, **more: Any
    ) -> RemoteJob:
        values: dict[str, Any] = {"deadline": timedelta(hours=1), "max_tries": 2, "run_id": "run", **more}
        changed = {
            name: value for name, value in {**self.request(mode), **(request or {})}.items() if value is not None
        }
        return self.ledger.open_job(
            asset="ml/m_job",
            collecting_asset="ml/m",
            partition=partition,
            service="azure_ml_batch",
            request=changed,
            **values,
        )

    def request(self, mode: str) -> dict[str, Any]:
        return {
            "endpoint": "tiny",
            "scoring_uri": f"{self.cloud.url}/azureml/batch/tiny/jobs",
            "input_data": {"mode": {"JobInputType": "Literal", "Value": mode}},
            "output_data": {"result": {"JobOutputType": "UriFolder", "Uri": (self.folder / "out").as_uri()}},
        }

    def submit(self, mode: str = "ok", partition: str = "1", **more: Any) -> RemoteJob:
        return submit_job(self.ledger, self.service, self.open(mode, partition, **more))

    def tick(self, ahead: timedelta = timedelta(), seconds: float = 20) -> Tick:
        return advance_jobs(self.ledger, self.service, now=utc_now() + ahead, budget_seconds=seconds, log=log)

    def tick_until(self, done: Callable[[], bool], seconds: float = 30) -> None:
        stop_at = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < stop_at, [(j.submission_key, j.state, j.message) for j in self.ledger.list_jobs()]
            self.tick()
            time.sleep(0.05)

    def let_leases_end(self) -> None:
        """As if a minute had passed: whoever was about to send a job no longer may."""
        with begin(self.ledger._engine) as connection:
            meant = remote_jobs.c.state == "submitting"
            connection.execute(remote_jobs.update().where(meant).values(submitter_lease_until=utc_now()))

    def get(self, job: RemoteJob) -> RemoteJob:
        return self.ledger.get(job.submission_key)

    def listed(self) -> list[dict[str, Any]]:
        """The endpoint's jobs, as the service has them, whatever faults there are."""
        found = []
        url: str | None = f"{self.cloud.url}/azureml/batch/tiny/jobs"
        while url:
            answer = self.client.get(url, headers=self.service.calls._sign_in(url)).raise_for_status().json()
            found += answer["value"]
            url = answer.get("nextLink")
        return found

    def count(self, job: RemoteJob) -> int:
        return sum(one["properties"]["properties"].get(SUBMISSION_KEY) == job.remote_key for one in self.listed())

    def count_named(self, name: str, job: RemoteJob) -> int:
        """How many jobs of this name the service has, where they carry the key of `job`."""
        carried = [one for one in self.listed() if one["name"] == name]
        return sum(one["properties"]["properties"].get(SUBMISSION_KEY) == job.remote_key for one in carried)

    def order(self, **fault: Any) -> None:
        self.client.post(f"{self.cloud.url}/_local/faults", json=fault).raise_for_status()

    def clear(self) -> None:
        self.client.delete(f"{self.cloud.url}/_local/faults").raise_for_status()

    def faults_left(self) -> int:
        return len(self.client.get(f"{self.cloud.url}/_local/faults").raise_for_status().json()["faults"])

    def requests(self) -> dict[str, int]:
        return dict(self.client.get(f"{self.cloud.url}/_local/requests").raise_for_status().json())

    def count_requests(self, end: str) -> int:
        """How many requests went to paths that end so."""
        return sum(count for call, count in self.requests().items() if call.endswith(end))


@pytest.fixture(scope="package")
def client() -> Iterator[httpx.Client]:
    # One for all requests, and without TLS: building a context costs more than most tests.
    with httpx.Client(verify=False) as opened:  # noqa: S501
        yield opened


@pytest.fixture
def bench(
    cloud: LocalCloud, client: httpx.Client, control: ControlDatabase, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Bench]:
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)
    client.delete(f"{cloud.url}/_local/requests").raise_for_status()
    bench = Bench(
        cloud,
        control.ledger,
        AzureMlBatch(request_timeout_seconds=5, retry_seconds=1, find_seconds=1, list_above=1),
        tmp_path,
        client,
    )
    yield bench
    bench.clear()
