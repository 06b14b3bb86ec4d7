"""What a declaration becomes on the wire: addresses, inputs, outputs and parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adfml_assets.components.batch_endpoint import BatchEndpoint, BatchEndpointInvalid
from adfml_assets.components.remote_engine import JobParts
from resources.azure_ml_batch import build_body, check_scoring_uri
from resources.azure_ml_uris import translate_uri
from resources.errors import Refused
from resources.lake import Lake
from tests.azure_ml_batch.conftest import Bench

PARTS = JobParts(
    partition="2026-03-10",
    hashes={"scoring_input.parquet": "abc"},
    files={"input_path": "ml/scoring-input/m/scoring_input.parquet"},
    folders={"model_path": "ml/models/m/version=1"},
    values={"model_name": "m", "model_version": "1", "model_alias": "champion"},
    outputs={"output_path": "ml/scores/m/2026/03/10"},
    staging="ml/batch-output/m/2026-03-10",
)
BLOBS = "https://account.blob.core.windows.net/ml-data"


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("ADFML_LAKE", "abfss://account.dfs.core.windows.net")
    return Lake()


def build(lake: Lake, **values: Any) -> dict[str, Any]:
    return BatchEndpoint(service="azure_ml_batch", **{"endpoint": "scoring", **values}).build_request(lake, PARTS)


@pytest.mark.parametrize(
    ("uri", "datastore", "expected"),
    [
        ("abfss://ml-data@a.dfs.core.windows.net/x/y z", None, "https://a.blob.core.windows.net/ml-data/x/y%20z"),
        ("abfss://ml-data@a.dfs.core.windows.net/x%20y", None, "https://a.blob.core.windows.net/ml-data/x%2520y"),
        ("abfss://ml-data@a.z1.dfs.storage.azure.net/x", None, "https://a.z1.blob.storage.azure.net/ml-data/x"),
        ("abfss://ml-data@a.dfs.core.windows.net/x/y", "scores", "azureml://datastores/scores/paths/x/y"),
        ("https://h/account/c/x", None, "https://h/account/c/x"),
        ("https://host/account/ml-data/x=1", None, "https://host/account/ml-data/x%3D1"),
        ("/lake/ml/x y", None, "file:///lake/ml/x%20y"),
        ("/lake/ml/x", "scores", "file:///lake/ml/x"),
    ],
)
def test_addresses_as_azure_ml_takes_them(uri: str, datastore: str | None, expected: str) -> None:
    assert translate_uri(uri, datastore) == expected


def test_a_pipeline_component_takes_what_a_published_pipeline_took(azure: Lake) -> None:
    request = build(
        azure,
        deployment="score",
        experiment_name="training-experiment",
        pipeline_parameters={"learning_rate": 0.01, "epochs": 100, "strict": True, "day": "{partition}"},
        data_path_assignments={
            "lookup": "archive/shop/main/Customers/snapshot_date={partition}",
            "more": "https://h/c/x=1",
        },
        datastore="lake_ml",
    )
    inputs = request["input_data"]
    assert inputs["learning_rate"] == {"JobInputType": "Literal", "Value": 0.01}
    assert (inputs["epochs"]["Value"], inputs["strict"]["Value"], inputs["day"]["Value"]) == (100, True, "2026-03-10")
    archive = "https://account.blob.core.windows.net/archive/shop/main/Customers/snapshot_date%3D2026-03-10"
    assert inputs["lookup"] == {"JobInputType": "UriFolder", "Uri": archive}
    assert inputs["more"] == {"JobInputType": "UriFolder", "Uri": "https://h/c/x=1"}
    assert inputs["input_path"] == {
        "JobInputType": "UriFile",
        "Uri": f"{BLOBS}/scoring-input/m/scoring_input.parquet",
    }
    assert inputs["model_path"]["JobInputType"] == "UriFolder"
    assert request["output_data"] == {
        "output_path": {
            "JobOutputType": "UriFolder",
            "Uri": "azureml://datastores/lake_ml/paths/batch-output/m/2026-03-10",
        }
    }
    assert (request["experiment_name"], request["submission_key_input"]) == ("training-experiment", "submission_key")


def test_a_model_deployment_takes_the_data_alone(azure: Lake) -> None:
    request = build(azure, kind="model")
    assert list(request["input_data"]) == ["input"]
    assert list(request["output_data"]) == ["score"]
    assert "submission_key_input" not in request
    named = build(azure, kind="model", inputs={"input_path": "mnistinput"}, outputs={"output_path": "score_output"})
    assert (list(named["input_data"]), list(named["output_data"])) == (["mnistinput"], ["score_output"])


def test_only_the_parts_that_are_named_are_sent(azure: Lake) -> None:
    request = build(azure, inputs={"input_path": "data", "submission_key": "key"})
    assert list(request["input_data"]) == ["data"]
    assert request["submission_key_input"] == "key"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"inputs": {"inptu": "a"}}, "some of the job's parts, input_path, model_path"),
        ({"inputs": {"input_path": "a", "model_path": "a"}}, "an input of its own for each part"),
        ({"outputs": {"scores": "a"}}, "the job's output, output_path"),
        ({"pipeline_parameters": {"model_name": "x"}}, "pipeline_parameters.model_name"),
        ({"pipeline_parameters": {"a": 1}, "data_path_assignments": {"a": "ml/x"}}, "a name that no other input has"),
    ],
)
def test_inputs_that_do_not_fit_are_said(azure: Lake, values: dict[str, Any], message: str) -> None:
    with pytest.raises(BatchEndpointInvalid, match=message):
        build(azure, **values)


def test_each_try_writes_to_a_folder_of_its_own(bench: Bench) -> None:
    first, second = bench.open(partition="1"), bench.open(partition="2")
    places = {build_body(job)["properties"]["OutputData"]["result"]["Uri"] for job in (first, second)}
    assert places == {f"{Path(bench.folder / 'out').as_uri()}/submission-{job.token[:20]}" for job in (first, second)}


@pytest.mark.parametrize(
    "uri",
    [
        "http://tiny.westeurope.inference.ml.azure.com/jobs",
        "https://tiny.westeurope.inference.ml.azure.com/score",
        "https:///jobs",
        "tiny",
    ],
)
def test_a_token_goes_to_no_address_that_is_no_scoring_uri(uri: str) -> None:
    with pytest.raises(Refused, match="Check the engine's `scoring_uri`"):
        check_scoring_uri(uri)
