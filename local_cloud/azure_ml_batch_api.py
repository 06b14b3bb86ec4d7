"""Azure ML batch endpoints: `POST .../jobs` invokes and really runs the work, `GET .../jobs` lists, and one by name.

Behaviours to order: `azure_ml_batch.service_error` (the next job that would be started ends Failed with ServiceError),
`azure_ml_batch.no_list` (the list of jobs is refused with 400), `azure_ml_batch.forget` (the job asked for is not
found), `azure_ml_batch.late_error` (500 after the job was made). The common kinds `hold` and `unknown_state` work too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_cloud import azure_ml_control_api
from local_cloud.attempts import AttemptFolders
from local_cloud.azure_ml_batch_declared import DeploymentSpec, EndpointSpec, load_endpoints
from local_cloud.azure_ml_batch_engine import Engine
from local_cloud.azure_ml_batch_requests import build_command, invalid, read_invocation
from local_cloud.azure_ml_batch_store import JobRecord, JobStore
from local_cloud.errors import ApiError, TokenError
from local_cloud.exchanges import guard, make_page_token, parse_object, read_page_token
from local_cloud.faults import FaultBox
from local_cloud.services import Cloud, Service
from local_cloud.tokens import Claims, TokenIssuer

AUDIENCE = "https://ml.azure.com"
PREFIX = "/azureml/batch"
PAGE = 100
UNKNOWN_STATE = "Hibernating"
"""What a fault of kind ``unknown_state`` reports: no document knows it."""


class BatchApi:
    """Answers the requests of the data plane; what it accepts is committed before it answers."""

    def __init__(
        self,
        endpoints: Mapping[str, EndpointSpec],
        store: JobStore,
        faults: FaultBox,
        url: str,
        wake: Callable[[], None],
    ) -> None:
        """Create the API.

        Args:
            endpoints: The endpoints by name.
            store: The jobs.
            faults: Asked for the faults that only this service can do.
            url: Where the cloud answers.
            wake: Called when there is something new to do.
        """
        self.endpoints = endpoints
        self.store = store
        self._faults = faults
        self._url = url
        self.wake = wake

    def scoring_uri(self, endpoint: str) -> str:
        """An endpoint's address."""
        return f"{self._url}{PREFIX}/{endpoint}/jobs"

    def invoke(self, call: azure_ml_control_api.Call) -> tuple[int, dict[str, Any]]:
        """``POST jobs``."""
        endpoint = self._find_endpoint(call)
        deployment = self._find_deployment(endpoint, call.headers.get("azureml-model-deployment"))
        invocation = read_invocation(call.body, deployment)
        if "experimentName" in invocation.wire["properties"] and not deployment.is_pipeline:
            raise invalid("experimentName is for pipeline-component deployments only.")
        job = self.store.accept(
            endpoint=endpoint.name,
            deployment=deployment.name,
            request=invocation.wire,
            command=build_command(invocation, deployment),
            request_id=call.headers.get("repeatability_request-id"),
            creator=call.caller.client_id,
            held=self._faults.take(("hold",), call.method, call.path) is not None,
        )
        self.wake()
        if self._faults.take_behaviour("azure_ml_batch.late_error"):
            raise ApiError(500, "ServiceError", "Received 500 from a service request")
        return 201, self.view(job)

    def list_jobs(self, call: azure_ml_control_api.Call) -> tuple[int, dict[str, Any]]:
        """``GET jobs``, newest first, with `nextLink`."""
        if self._faults.take_behaviour("azure_ml_batch.no_list"):
            raise ApiError(400, "UserError", "Request is invalid and/or missing fields.")
        endpoint = self._find_endpoint(call)
        found = self.store.list_page(
            endpoint=endpoint.name,
            deployment=call.query.get("deployment"),
            before=_read_token(call.query.get("$skiptoken")),
            limit=PAGE + 1,
        )
        answer: dict[str, Any] = {"value": [self._disguise(call, self.view(job)) for job in found[:PAGE]]}
        if len(found) > PAGE:
            token = make_page_token("jobs", found[PAGE - 1].seq)
            answer["nextLink"] = f"{self.scoring_uri(endpoint.name)}?$skiptoken={token}"
        return 200, answer

    def get_job(self, call: azure_ml_control_api.Call) -> tuple[int, dict[str, Any]]:
        """``GET jobs/NAME``."""
        endpoint, name = self._find_endpoint(call), call.parameters["name"]
        job = self.store.find(name)
        if job is None or job.endpoint != endpoint.name or self._faults.take_behaviour("azure_ml_batch.forget"):
            raise ApiError(404, "UserError", f"Batch job {name} was not found under endpoint {endpoint.name}.")
        return 200, self._disguise(call, self.view(job))

    def view(self, job: JobRecord) -> dict[str, Any]:
        """A job as the data plane shows it."""
        workspace = azure_ml_control_api.WORKSPACE_ID
        properties: dict[str, Any] = {
            **job.request,
            "name": job.name,
            "status": job.status,
            "provisioningState": "InProgress" if job.ended_at is None else "Succeeded",
            "interactionEndpoints": {"Studio": {"jobEndpointType": "Studio", "endpoint": self.page_url(job.name)}},
        }
        if job.message is not None:
            properties["error"] = {"code": job.code, "message": job.message}
        return {
            "id": f"{workspace}/batchEndpoints/{job.endpoint}/jobs/{job.name}",
            "name": job.name,
            "type": "Microsoft.MachineLearningServices/workspaces/batchEndpoints/jobs",
            "properties": properties,
            "systemData": {
                "createdAt": azure_ml_control_api.format_moment(job.accepted_at),
                "createdBy": job.creator,
            },
        }

    def page_url(self, name: str) -> str:
        """The page of a job for people: its log."""
        return f"{self._url}/_local/azureml/jobs/{name}"

    def _find_endpoint(self, call: azure_ml_control_api.Call) -> EndpointSpec:
        name = call.parameters["endpoint"]
        if name not in self.endpoints:
            known = ", ".join(sorted(self.endpoints)) or "none"
            raise ApiError(404, "NotFound", f"There is no batch endpoint {name}; there are: {known}.")
        return self.endpoints[name]

    def _find_deployment(self, endpoint: EndpointSpec, named: str | None) -> DeploymentSpec:
        name = named or endpoint.default
        if name is None:
            raise ApiError(404, "NotFound", f"Endpoint {endpoint.name} has no default deployment.")
        if name not in endpoint.deployments:
            known = ", ".join(sorted(endpoint.deployments)) or "none"
            raise ApiError(404, "NotFound", f"Endpoint {endpoint.name} has no deployment {name}; it has: {known}.")
        return endpoint.deployments[name]

    def _disguise(self, call: azure_ml_control_api.Call, job: dict[str, Any]) -> dict[str, Any]:
        if self._faults.take(("unknown_state",), call.method, call.path):
            job["properties"]["status"] = UNKNOWN_STATE
        return job


def build_service(cloud: Cloud) -> Service:
    """The batch endpoints of the declared YAML files, and the control plane of their workspace."""
    store = JobStore(cloud.database)
    folders = AttemptFolders(cloud.state)
    engine = Engine(store, folders, cloud.faults, cloud.fail)
    api = BatchApi(load_endpoints(), store, cloud.faults, cloud.url, engine.wake)
    path = f"{PREFIX}/{{endpoint}}/jobs"
    served = [("POST", path, api.invoke), ("GET", path, api.list_jobs), ("GET", path + "/{name}", api.get_job)]
    routes = [
        Route(where, build_endpoint(handler, cloud.issuer, AUDIENCE), methods=[method])
        for method, where, handler in served
    ]

    async def show_log(request: Request) -> Response:
        job = store.find(request.path_params["name"])
        log = folders.log(job.attempt_id) if job is not None else None
        text = log.read_text("utf-8", errors="replace") if log is not None and log.exists() else ""
        status = "unknown job" if job is None else f"{job.name}: {job.status} {job.message or ''}"
        return Response(f"{status}\n\n{text}", media_type="text/plain", status_code=200 if job else 404)

    return Service(
        routes=[
            *routes,
            Route("/_local/azureml/jobs/{name}", show_log, methods=["GET"]),
            *azure_ml_control_api.build_routes(cloud, api),
        ],
        environment=azure_ml_control_api.build_environment(cloud.url),
        start=engine.start,
        stop=engine.stop,
    )


def build_endpoint(
    handler: Callable[[azure_ml_control_api.Call], tuple[int, dict[str, Any]]], issuer: TokenIssuer, audience: str
) -> Callable[[Request], Any]:
    """A handler as a route's endpoint: authenticated, its errors as the service words them."""

    async def answer(request: Request) -> Response:
        caller = _authenticate(issuer, request.headers.get("authorization"), audience)
        call = azure_ml_control_api.Call(
            request.method,
            request.url.path,
            dict(request.query_params),
            dict(request.headers),
            dict(request.path_params),
            _parse(await request.body()) if request.method == "POST" else {},
            caller,
        )
        status, body = await run_in_threadpool(handler, call)
        headers = body.pop("_headers", {})
        return JSONResponse(body, status_code=status, headers=headers) if body else Response(b"", status, headers)

    return guard(answer, _show_error, "ServiceError")


def _authenticate(issuer: TokenIssuer, authorization: str | None, audience: str) -> Claims:
    try:
        return issuer.verify(authorization, audience)
    except TokenError as error:
        raise ApiError(401, "InvalidAuthenticationToken", str(error)) from error


def _parse(raw: bytes) -> dict[str, Any]:
    if not raw:
        return {}
    try:
        return parse_object(raw)
    except ValueError as error:
        raise invalid(f"The request is not a JSON object: {error}") from error


def _read_token(token: str | None) -> int | None:
    try:
        return read_page_token(token, "jobs") if token else None
    except ValueError:
        raise invalid("The $skiptoken is not one of this list.") from None


def _show_error(error: ApiError) -> Response:
    return JSONResponse({"error": {"code": error.code, "message": error.message}}, status_code=error.status)
