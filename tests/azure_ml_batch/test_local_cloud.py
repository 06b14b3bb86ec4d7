"""The local cloud's batch endpoints: the official client, the deployable YAML files, and a server that is killed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from azure.ai.ml import Input, MLClient, Output, load_batch_endpoint, load_component
from azure.ai.ml._restclient.arm_ml_service.models import JobStatus
from azure.ai.ml.entities._load_functions import (
    load_model_batch_deployment,
    load_pipeline_component_batch_deployment,
)
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError

import workloads
from local_cloud.azure_ml_batch_declared import DEFAULT_FOLDER, FOLDER_VARIABLE, load_endpoints
from local_cloud.errors import BundleError
from local_cloud.process import LocalCloud
from resources.azure_ml_calls import EndpointCalls
from tests.azure_ml_batch.conftest import Bench


def invoke(client: MLClient, folder: Path, mode: str = "ok") -> Any:
    return client.batch_endpoints.invoke(
        endpoint_name="tiny",
        inputs={"mode": Input(type="string", default=mode)},
        outputs={"result": Output(type="uri_folder", path=folder.as_uri())},
    )


def wait(client: MLClient, name: str) -> str:
    stop_at = time.monotonic() + 20
    while (status := JobStatus(client.jobs.get(name).status).value) not in ("Completed", "Failed", "Canceled"):
        assert time.monotonic() < stop_at, status
        time.sleep(0.1)
    return status


def test_the_official_client_reads_invokes_lists_and_cancels(bench: Bench) -> None:
    client = bench.service.workspace.client
    assert {one.name for one in client.batch_endpoints.list()} == {"adfml-scoring", "adfml-training", "tiny"}
    endpoint = client.batch_endpoints.get("tiny")
    assert endpoint.scoring_uri == f"{bench.cloud.url}/azureml/batch/tiny/jobs"
    job = invoke(client, bench.folder / "a")
    slow = invoke(client, bench.folder / "b", "slow")
    assert (wait(client, job.name), (bench.folder / "a" / "done.txt").read_text()) == ("Completed", "1")
    client.jobs.begin_cancel(slow.name, polling=False)
    assert wait(client, slow.name) == "Canceled"
    names = [one.name for one in client.jobs.list()]
    assert names.index(slow.name) < names.index(job.name), "newest first"
    with pytest.raises(HttpResponseError, match="it cannot be cancelled any more"):
        client.jobs.begin_cancel(job.name, polling=False)
    with pytest.raises(ResourceNotFoundError):
        client.batch_endpoints.get("other")


def test_the_same_request_id_makes_another_job(bench: Bench) -> None:
    """No document promises that Azure ML takes a repeated id for the same job, so nothing here may rely on it."""
    job = bench.submit()
    headers = {"repeatability_request-id": "00000000-0000-0000-0000-000000000001"}
    url = str(job.facts["scoring_uri"])
    names = set()
    for number in range(2):
        place = (bench.folder / str(number)).as_uri()
        body = {
            "properties": {
                "inputData": {"mode": {"jobInputType": "Literal", "value": "ok"}},
                "outputData": {"result": {"jobOutputType": "UriFolder", "uri": place}},
            }
        }
        names.add(bench.service.calls.post(url, body, headers, "key")["name"])
    assert len(names) == 2


def test_the_deployable_files_are_what_the_sdk_takes() -> None:
    folder = Path(workloads.__file__).parent / "azure_ml"
    assert folder == DEFAULT_FOLDER
    endpoints = {load_batch_endpoint(path).name for path in folder.glob("*-endpoint.yml")}
    assert endpoints == {"adfml-scoring", "adfml-training"}
    for path in (*folder.glob("*-pipeline.yml"), *folder.glob("*-command.yml")):
        assert load_component(path).inputs
    for name in ("score-deployment.yml", "train-deployment.yml"):
        deployment = load_pipeline_component_batch_deployment(folder / name)
        assert deployment.endpoint_name in endpoints
        assert deployment.settings == {"continue_on_step_failure": False, "default_compute": "azureml:adfml-batch"}
    assert load_model_batch_deployment(folder / "score-model-deployment.yml").settings.output_action == "summary_only"
    declared = load_endpoints(folder)
    assert {name: sorted(one.deployments) for name, one in declared.items()} == {
        "adfml-scoring": ["score", "score-model"],
        "adfml-training": ["train"],
    }


@pytest.mark.parametrize(
    ("name", "found", "instead", "message"),
    [
        ("score-pipeline.yml", "type: uri_file", "type: mltable", "inputs.input_path.type: 'mltable' is none of"),
        ("score-deployment.yml", "adfml-scoring", "elsewhere", r"no file declares the endpoints \['elsewhere'\]"),
        ("score-model-deployment.yml", "summary_only", "append_row", "'append_row' is not done here"),
        ("score-model-deployment.yml", "batch_score.py", "other.py", "there is no file"),
        ("score-deployment.yml", "component:", "komponent:", "component: expected a text"),
    ],
)
def test_a_file_that_cannot_be_served_is_named(
    tmp_path: Path, name: str, found: str, instead: str, message: str
) -> None:
    (tmp_path / "batch_score.py").touch()
    folder = tmp_path / "azure_ml"
    folder.mkdir()
    for path in DEFAULT_FOLDER.glob("*.yml"):
        text = path.read_text()
        (folder / path.name).write_text(text.replace(found, instead) if path.name == name else text)
    with pytest.raises(BundleError, match=message):
        load_endpoints(folder)


@pytest.fixture
def own_cloud(declared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCloud]:
    monkeypatch.setenv(FOLDER_VARIABLE, str(declared))
    cloud = LocalCloud(tmp_path / "cloud")
    yield cloud
    cloud.stop()


def test_jobs_go_on_while_the_server_is_dead_and_are_found_by_the_next(
    own_cloud: LocalCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_cloud.start()
    for name, value in own_cloud.environment().items():
        monkeypatch.setenv(name, value)
    calls = EndpointCalls(5, 2, 2)
    url = f"{own_cloud.url}/azureml/batch/tiny/jobs"
    names = []
    for number, mode in enumerate(("ok", "ok", "ok", "slow")):
        place = (tmp_path / "out" / str(number)).as_uri()
        body = {
            "properties": {
                "inputData": {"mode": {"jobInputType": "Literal", "value": mode}},
                "outputData": {"result": {"jobOutputType": "UriFolder", "uri": place}},
            }
        }
        names.append(calls.post(url, body, {}, "key")["name"])
    own_cloud.kill()
    own_cloud.start()
    stop_at = time.monotonic() + 20
    statuses: list[str] = []
    while statuses[:3] != ["Completed"] * 3 or statuses[3] != "Running":
        assert time.monotonic() < stop_at, statuses
        statuses = [calls.get(f"{url}/{name}", stop_at)["properties"]["status"] for name in names]
        time.sleep(0.05)
    assert sorted(path.parent.name for path in (tmp_path / "out").glob("*/done.txt")) == ["0", "1", "2"]
    own_cloud.stop()
    own_cloud.start()
    assert calls.get(f"{url}/{names[3]}", stop_at)["properties"]["status"] == "Failed", "stopped with the cloud"


def test_a_request_without_a_token_or_for_another_audience_is_refused(bench: Bench) -> None:
    url = f"{bench.cloud.url}/azureml/batch/tiny/jobs"
    assert httpx.get(url).status_code == 401
    address, header = os.environ["IDENTITY_ENDPOINT"], os.environ["IDENTITY_HEADER"]
    query = {"api-version": "2019-08-01", "resource": "https://vault.azure.net"}
    token = httpx.get(address, params=query, headers={"x-identity-header": header}).json()["access_token"]
    answer = httpx.get(url, headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, "Expected aud claim" in answer.text) == (401, True)
