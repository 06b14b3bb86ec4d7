"""The local cloud's endpoint as the service's documents have it: by plain HTTP, and by Microsoft's own client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from resources.azure_ml_online import OnlineTarget
from resources.errors import Refused
from tests.azure_ml_online.conftest import ENDPOINT, FEATURES, Bench, make_records, predict_here

ROW = {"input_data": {"columns": list(FEATURES), "index": [0], "data": [[1, 2, 3.5]]}}


@pytest.fixture
def http(bench: Bench) -> Iterator[httpx.Client]:
    key = bench.cloud.environment()["ADFML_AZURE_ML_KEY"]
    with httpx.Client(headers={"Authorization": f"Bearer {key}"}) as client:
        yield client


def test_a_request_is_answered_by_a_list_and_the_name_of_the_deployment(bench: Bench, http: httpx.Client) -> None:
    answer = http.post(bench.uri, json=ROW)
    assert answer.status_code == 200
    assert len(answer.json()) == 1
    assert answer.headers["azureml-model-deployment"] == "champion"
    newest = http.post(bench.uri, json=ROW, headers={"azureml-model-deployment": "latest"})
    assert newest.json() != answer.json()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"input_data": {"columns": ["spend"], "data": [[1]]}}, "missing inputs"),
        ({"input_data": {"columns": list(FEATURES), "data": [[1, 2]]}}, "Row 0 has 2 values for 3 columns"),
        ({"input_data": {"columns": list(FEATURES), "data": [[1, 2, "x"]]}}, "Can not safely convert str"),
        ({"input_data": {"columns": list(FEATURES), "index": [1, 2], "data": [[1, 2, 3]]}}, "Length mismatch"),
        ({"data": [[1, 2, 3]]}, "input_data"),
        ({"input_data": {"columns": "spend", "data": [1]}}, "input_data"),
    ],
)
def test_the_models_own_error_is_424(bench: Bench, http: httpx.Client, body: Any, said: str) -> None:
    answer = http.post(bench.uri, json=body)
    assert (answer.status_code, answer.headers["ms-azureml-model-error-statuscode"]) == (424, "500")
    assert said in answer.json()["message"]


def test_a_body_that_is_no_json_is_the_models_error(bench: Bench, http: httpx.Client) -> None:
    assert http.post(bench.uri, content=b"{").status_code == 424


def test_more_than_the_endpoint_takes_is_413(bench: Bench, http: httpx.Client) -> None:
    assert http.post(bench.uri, content=b" " * 5_000_001).status_code == 413


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic abc", "Bearer a.b.c"])
def test_nobody_scores_without_a_key_or_token(bench: Bench, authorization: str | None) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    assert httpx.post(bench.uri, json=ROW, headers=headers).status_code == 401


def test_a_token_for_another_service_is_refused(bench: Bench) -> None:
    from azure.identity import ManagedIdentityCredential

    with ManagedIdentityCredential() as credential:
        for scope, status in (("https://vault.azure.net/.default", 401), ("https://ml.azure.com/.default", 200)):
            token = credential.get_token(scope).token
            answer = httpx.post(bench.uri, json=ROW, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == status


def test_microsofts_client_scores_through_the_workspace(bench: Bench, tmp_path: Path) -> None:
    from resources.azure_ml_workspace import AzureMlWorkspace

    file = tmp_path / "request.json"
    file.write_text(json.dumps(ROW))
    client = AzureMlWorkspace(timeout_seconds=20).client
    answer = json.loads(client.online_endpoints.invoke(ENDPOINT, request_file=str(file)))
    assert len(answer) == 1
    named = client.online_endpoints.invoke(ENDPOINT, request_file=str(file), deployment_name="challenger")
    assert json.loads(named) != answer
    assert client.online_endpoints.get(ENDPOINT).traffic == {"champion": 100, "challenger": 0, "latest": 0}
    assert ENDPOINT in [one.name for one in client.online_endpoints.list()]


def test_an_endpoint_is_found_by_its_name(bench: Bench) -> None:
    records = make_records(4)
    scored = bench.online.score(records, OnlineTarget(endpoint=ENDPOINT), columns=FEATURES)
    assert scored.scores.to_pylist() == predict_here(bench.models.champion, records)


def test_an_endpoint_that_the_workspace_does_not_have_is_named_with_those_it_has(bench: Bench) -> None:
    with pytest.raises(Refused, match=r"no online endpoint 'smal-model'.*Did you mean 'small-model'.*`endpoint`"):
        bench.online.score(make_records(4), OnlineTarget(endpoint="smal-model"), columns=FEATURES)
