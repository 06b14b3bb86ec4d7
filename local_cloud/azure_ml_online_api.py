"""Azure ML online endpoints: `POST /azureml/online/<endpoint>/score` really scores.

It answers as the service does (Azure ML, "Troubleshoot online endpoints", HTTP status codes): 401 without a key or
token, 404 without such an endpoint or deployment, 424 with the model's own error, 429 when more requests are pending
than 2 x max_concurrent_requests_per_instance, and 413 for bodies over 5 MB (the documents give a bandwidth of 5 MB/s
and no size).

Behaviours to order, all as `azure_ml_online.<name>`: `refuse` (the scoring script refuses rows with a number above
`value`), `nan` (NaN for the first row, as Python writes it), `short` (the last score is missing), `object` (an answer
that is no list), `slow` (`value` seconds while the request is pending), `timeout` (408 for more than `value` rows),
`max_pending` (`value` instead of the number above), `model_busy` (424 because the model answers 429).
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local_cloud.azure_ml_online_model import Endpoint, ModelError, ModelShelf
from local_cloud.errors import ApiError, TokenError
from local_cloud.exchanges import guard
from local_cloud.faults import FaultBox
from local_cloud.services import Cloud, Service
from local_cloud.state import StateFolder
from local_cloud.tokens import TokenIssuer

AUDIENCE = "https://ml.azure.com"
PREFIX = "/azureml/online"
DEPLOYMENT_HEADER = "azureml-model-deployment"
DEPLOYMENTS_PATH = (
    "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices"
    "/workspaces/{workspace}/onlineEndpoints/{endpoint}/deployments"
)
MAX_BODY_BYTES = 5_000_000
MAX_CONCURRENT_REQUESTS = 4
"""max_concurrent_requests_per_instance of the one instance; twice as many may be pending."""


@dataclass(frozen=True)
class OnlineEndpointState:
    """An endpoint as the control plane knows it: `deployments` are names, `traffic` is in percent."""

    name: str
    scoring_uri: str
    deployments: tuple[str, ...]
    traffic: dict[str, int]


def list_online_endpoints(cloud: Cloud) -> list[OnlineEndpointState]:
    """The online endpoints there are now, for the control plane."""
    return [
        OnlineEndpointState(
            name=endpoint.name,
            scoring_uri=f"{cloud.url}{PREFIX}/{endpoint.name}/score",
            deployments=tuple(sorted(endpoint.deployments)),
            traffic={endpoint.default: 100},
        )
        for endpoint in _open_shelf(cloud.state).list_endpoints()
    ]


@cache
def _open_shelf(state: StateFolder) -> ModelShelf:
    return ModelShelf(state)


def read_key(cloud: Cloud) -> str:
    """The key of every online endpoint, for the control plane's listKeys."""
    return cloud.database.setting("azure_ml_online_key", lambda: secrets.token_urlsafe(32))


class ScoringApi:
    """Answers scoring requests."""

    def __init__(self, shelf: ModelShelf, issuer: TokenIssuer, faults: FaultBox, key: str) -> None:
        self._shelf = shelf
        self._issuer = issuer
        self._faults = faults
        self._key = key
        self._lock = threading.Lock()
        self._pending: dict[str, int] = {}

    def score(self, name: str, authorization: str | None, deployment: str | None, body: bytes) -> tuple[bytes, str]:
        """The answer's body, and the deployment that gave it.

        Raises:
            ApiError: with the status the service gives; ModelError: the model's own error.
        """
        self._authenticate(authorization)
        if len(body) > MAX_BODY_BYTES:
            raise ApiError(413, "PayloadTooLarge", f"The request has {len(body)} bytes, {MAX_BODY_BYTES} are allowed.")
        endpoint = self._shelf.find_endpoint(name)
        if endpoint is None:
            known = ", ".join(found.name for found in self._shelf.list_endpoints()) or "none"
            raise ApiError(404, "NotFound", f"There is no online endpoint {name}; there are: {known}.")
        chosen = deployment or endpoint.default
        if chosen not in endpoint.deployments:
            known = ", ".join(sorted(endpoint.deployments))
            raise ApiError(404, "NotFound", f"Endpoint {name} has no deployment {chosen}; it has: {known}.")
        with self._pend(name):
            return self._run(endpoint, chosen, body), chosen

    def _run(self, endpoint: Endpoint, deployment: str, body: bytes) -> bytes:
        if slow := self._faults.take_behaviour("azure_ml_online.slow"):
            time.sleep(slow.value or 0)
        if self._faults.take_behaviour("azure_ml_online.model_busy"):
            raise ModelError("The model container has no free worker.", status=429)
        columns, data = _read_split(body)
        timeout = self._faults.take_behaviour("azure_ml_online.timeout")
        if timeout and len(data) > (timeout.value or 0):
            raise ApiError(408, "RequestTimeout", f"{len(data)} rows took longer than request_timeout_ms.")
        refuse = self._faults.take_behaviour("azure_ml_online.refuse")
        if refuse and refuse.value is not None:
            _refuse_rows(data, refuse.value)
        scores: Any = self._shelf.load(endpoint.model, endpoint.deployments[deployment]).score(columns, data)
        if scores and self._faults.take_behaviour("azure_ml_online.nan"):
            scores[0] = float("nan")
        if self._faults.take_behaviour("azure_ml_online.short"):
            scores = scores[:-1]
        if self._faults.take_behaviour("azure_ml_online.object"):
            scores = {"predictions": scores}
        return json.dumps(scores).encode()

    @contextmanager
    def _pend(self, name: str) -> Iterator[None]:
        fault = self._faults.take_behaviour("azure_ml_online.max_pending")
        most = 2 * MAX_CONCURRENT_REQUESTS if fault is None or fault.value is None else int(fault.value)
        with self._lock:
            if self._pending.get(name, 0) >= most:
                raise ApiError(429, "TooManyRequests", f"Too many pending requests: {most} are allowed.")
            self._pending[name] = self._pending.get(name, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                self._pending[name] -= 1

    def _authenticate(self, authorization: str | None) -> None:
        scheme, _, sent = (authorization or "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(sent.strip().encode(), self._key.encode()):
            return
        try:
            self._issuer.verify(authorization, AUDIENCE)
        except TokenError as error:
            raise ApiError(
                401, "key_auth_access_denied", f"Neither this endpoint's key nor a token: {error}"
            ) from error


def _read_split(body: bytes) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of a body in the split form."""
    try:
        split = json.loads(body)["input_data"]
        columns, data = split["columns"], split["data"]
        index = split.get("index", data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"input_data with columns and data is expected: {type(error).__name__} {error}") from error
    if not all(isinstance(found, list) for found in (columns, index, data)):
        raise ModelError("input_data: columns is to be a list of names, index and data lists with an entry for a row.")
    if not all(isinstance(row, list) for row in data):
        raise ModelError("input_data: data is to be a list of rows, each a list of values.")
    if len(index) != len(data):
        raise ModelError(f"Length mismatch: {len(index)} index values, {len(data)} rows.")
    return columns, data


def _refuse_rows(data: list[list[Any]], limit: float) -> None:
    for row in data:
        for value in row:
            if isinstance(value, (int, float)) and value > limit:
                raise ModelError(f"ValueError: {value} is above {limit:g}, the most this model was trained on.")


def build_service(cloud: Cloud) -> Service:
    """The online endpoints, with a key that is announced as ADFML_AZURE_ML_KEY."""
    key = read_key(cloud)
    api = ScoringApi(_open_shelf(cloud.state), cloud.issuer, cloud.faults, key)

    async def score(request: Request) -> Response:
        headers, name = request.headers, request.path_params["endpoint"]
        body = await request.body()
        deployment = headers.get(DEPLOYMENT_HEADER)
        try:
            answer, chosen = await run_in_threadpool(api.score, name, headers.get("authorization"), deployment, body)
        except ModelError as error:
            return _answer_model_error(error)
        return Response(answer, media_type="application/json", headers={**_trace(), DEPLOYMENT_HEADER: chosen})

    return Service(
        routes=[
            Route(f"{PREFIX}/{{endpoint}}/score", guard(score, _show_error, "InternalServerError"), methods=["POST"]),
            Route(DEPLOYMENTS_PATH, _build_deployments(cloud), methods=["GET"]),
        ],
        environment={"ADFML_AZURE_ML_KEY": key},
    )


def _build_deployments(cloud: Cloud) -> Callable[[Request], Response]:
    """The control plane's list of an endpoint's deployments, which MLClient reads along with the endpoint."""

    def deployments(request: Request) -> Response:
        name, found = request.path_params["endpoint"], list_online_endpoints(cloud)
        try:
            cloud.issuer.verify(request.headers.get("authorization"), cloud.url)
        except TokenError as error:
            return _show_error(ApiError(401, "AuthenticationFailed", str(error)))
        endpoint = next((one for one in found if one.name == name), None)
        if endpoint is None:
            message = (
                f"The Resource 'Microsoft.MachineLearningServices/workspaces/onlineEndpoints/{name}' was not found."
            )
            return _show_error(ApiError(404, "ResourceNotFound", message))
        properties = {
            "endpointComputeType": "Managed",
            "instanceType": "local",
            "provisioningState": "Succeeded",
            "scaleSettings": {"scaleType": "Default"},
            "requestSettings": {
                "maxConcurrentRequestsPerInstance": MAX_CONCURRENT_REQUESTS,
                "requestTimeout": "PT3M",
                "maxQueueWait": "PT0.5S",
            },
        }
        common = {"location": "local", "properties": properties, "sku": {"name": "Default", "capacity": 1}}
        path = request.url.path
        return _answer(200, {"value": [{"id": f"{path}/{one}", "name": one, **common} for one in endpoint.deployments]})

    return deployments


def _answer_model_error(error: ModelError) -> Response:
    headers = {"ms-azureml-model-error-statuscode": str(error.status), "ms-azureml-model-error-reason": "model_error"}
    return _answer(424, {"message": str(error)}, headers)


def _show_error(error: ApiError) -> Response:
    return _answer(error.status, {"error": {"code": error.code, "message": error.message}})


def _answer(status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    body = json.dumps(content)
    return Response(body, status, media_type="application/json", headers={**_trace(), **(headers or {})})


def _trace() -> dict[str, str]:
    return {"x-request-id": str(uuid.uuid4())}
