"""What no client of ours sends is answered as the service would, never by an error of the server's own."""

from __future__ import annotations

import base64
import json
import ssl
from typing import Any

import httpx
import pytest

from tests.local_cloud.conftest import SCOPE, Workspace

DATABRICKS, MACHINE_LEARNING = SCOPE.removesuffix("/.default"), "https://ml.azure.com"
COGNITIVE, VAULT = "https://cognitiveservices.azure.com", "https://vault.azure.net"
RUN, INVOKE = "/api/2.2/jobs/run-now", "/azureml/batch/adfml-scoring/jobs"
ANALYZE, BATCHES = "/language/:analyze-text?api-version=2023-04-01", "/openai/v1/batches"
CHAT = "/openai/v1/chat/completions"
SECRET = "/secrets/odd?api-version=7.6"
LITERALS = {"model_name": "m", "model_version": "1", "model_alias": "champion", "submission_key": "k"}
NO_JSON = [b"", b"{", b"[]", b"\xff", b'{"a": "\\ud800"}', b'{"a":' * 5_000]


def invocation(**changes: Any) -> dict[str, Any]:
    """An invocation of the scoring endpoint with some values changed."""
    uris = {"input_path": "file:///nowhere/i.parquet", "model_path": "file:///nowhere/m"}
    kinds = {"input_path": "UriFile", "model_path": "UriFolder"}
    data = {name: {"JobInputType": kinds[name], "Uri": changes.get(name, uri)} for name, uri in uris.items()}
    given = {name: {"JobInputType": "Literal", "Value": changes.get(name, text)} for name, text in LITERALS.items()}
    output = {"JobOutputType": "UriFolder", "Uri": changes.get("output_path", "file:///nowhere/o")}
    return {"properties": {"InputData": {**data, **given}, "OutputData": {"output_path": output}}}


def document(**changes: Any) -> dict[str, Any]:
    """A request of the Language service with one document."""
    found = {"id": "1", "text": "It is good.", **changes}
    return {"kind": "SentimentAnalysis", "analysisInput": {"documents": [found]}}


def chat(**changes: Any) -> dict[str, Any]:
    """A request for an answer."""
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Good?"}], **changes}


def chat_of(**keywords: Any) -> dict[str, Any]:
    """A request for an answer of a schema with odd keywords."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, **keywords}
    return chat(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}})


def token_of(value: Any) -> str:
    """A page token that the service never gave."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.fixture
def ask(workspace: Workspace) -> Any:
    """A request with a token for its service."""
    environment = workspace.cloud.environment()
    trust = ssl.create_default_context(cafile=environment["ADFML_CA_BUNDLE"])

    def send(resource: str, method: str, path: str, body: Any = None) -> httpx.Response:
        identity = workspace.http.get(
            environment["IDENTITY_ENDPOINT"],
            params={"api-version": "2019-08-01", "resource": resource},
            headers={"x-identity-header": environment["IDENTITY_HEADER"]},
        )
        base = environment["ADFML_KEY_VAULT_URL"] if resource == VAULT else workspace.cloud.url
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {identity.json()['access_token']}"}
        with httpx.Client(base_url=base, headers=headers, verify=trust) as client:
            return client.request(method, path, content=content)

    return send


@pytest.mark.parametrize(
    ("resource", "method", "path", "allowed"),
    [
        (DATABRICKS, "POST", RUN, {"MALFORMED_REQUEST"}),
        (MACHINE_LEARNING, "POST", INVOKE, {"UserError"}),
        (COGNITIVE, "POST", ANALYZE, {"InvalidRequest"}),
        (COGNITIVE, "POST", BATCHES, {"invalid_request"}),
        (COGNITIVE, "POST", CHAT, {"invalid_request"}),
        (VAULT, "PUT", SECRET, {"BadParameter"}),
    ],
    ids=["databricks", "azure_ml_batch", "language", "openai_batches", "openai_chat", "key_vault"],
)
def test_a_body_that_is_no_json_object_is_refused(
    ask: Any, resource: str, method: str, path: str, allowed: set[str]
) -> None:
    for body in NO_JSON:
        answer = ask(resource, method, path, body)
        found = answer.json()
        assert answer.status_code == 400, (body[:20], answer.text)
        assert found.get("error_code") in allowed or found["error"]["code"] in allowed


@pytest.mark.parametrize(
    ("resource", "method", "path", "body"),
    [
        (DATABRICKS, "GET", f"/api/2.2/jobs/runs/get?run_id={10**30}", None),
        (DATABRICKS, "GET", f"/api/2.2/jobs/runs/list?page_token={token_of(5)}", None),
        (DATABRICKS, "GET", f"/api/2.2/jobs/runs/list?page_token={token_of(['runs', 'x'])}", None),
        (MACHINE_LEARNING, "GET", f"{INVOKE}?$skiptoken={token_of(None)}", None),
        (MACHINE_LEARNING, "POST", INVOKE, invocation(input_path="file://[nowhere")),
        (MACHINE_LEARNING, "POST", INVOKE, invocation(output_path="file:///" + "o" * 300)),
        (MACHINE_LEARNING, "POST", INVOKE, invocation(output_path="file:///a%00b")),
        (MACHINE_LEARNING, "POST", INVOKE, invocation(model_name="a\0b")),
        (COGNITIVE, "POST", ANALYZE, document(text=5)),
        (COGNITIVE, "GET", f"{BATCHES}?limit={'9' * 5_000}", None),
        (COGNITIVE, "POST", CHAT, chat(messages=[5])),
        (COGNITIVE, "POST", CHAT, chat_of(properties=[])),
        (COGNITIVE, "POST", CHAT, chat_of(required=5)),
        (COGNITIVE, "POST", CHAT, chat_of(properties={"a": {"type": "number", "multipleOf": "x"}})),
        (COGNITIVE, "POST", CHAT, chat_of(properties={"a": {"type": "string", "minLength": "x"}})),
        (VAULT, "PUT", SECRET, {"value": 5}),
        (VAULT, "PUT", SECRET, {"value": "v", "tags": [1]}),
        (VAULT, "PUT", SECRET, {"value": "v", "tags": {"a": 1}}),
        (VAULT, "PUT", SECRET, {"value": "v", "attributes": "x"}),
        (VAULT, "PUT", SECRET, {"value": "v", "attributes": {"enabled": "yes"}}),
        (VAULT, "PUT", SECRET, {"value": "v", "attributes": {"nbf": {}}}),
        (VAULT, "PUT", SECRET, {"value": "v", "contentType": {}}),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused(ask: Any, resource: str, method: str, path: str, body: Any) -> None:
    answer = ask(resource, method, path, body)
    assert answer.status_code == 400, answer.text
    assert "The local cloud failed" not in answer.text


def test_a_deployment_that_is_no_text_is_not_found(ask: Any) -> None:
    answer = ask(COGNITIVE, "POST", CHAT, chat(model=[]))
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "DeploymentNotFound")


def test_a_worker_outlives_a_schema_that_it_cannot_fill(ask: Any) -> None:
    nested: dict[str, Any] = {"type": "string"}
    for _ in range(150):
        nested = {"type": "object", "properties": {"a": nested}}
    refused = ask(COGNITIVE, "POST", CHAT, chat_of(properties={"a": nested}))
    assert refused.status_code == 400
    assert "nests deeper" in refused.json()["error"]["message"]
    assert ask(COGNITIVE, "POST", CHAT, chat()).status_code == 200
