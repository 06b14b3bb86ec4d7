"""Azure Resource Manager as far as `azure.ai.ml.MLClient` needs it: endpoints, deployments, jobs, cancelling.

`ARM_CLOUD_METADATA_URL` and `AZUREML_CURRENT_CLOUD` lead the client here; tokens are for this server's own address.
The workspace itself is not served: MLClient asks for it, and for what it looks up there, over TLS only.

Behaviours to order: `azure_ml_control.strange_jobs` (the list begins with jobs that MLClient cannot read),
`azure_ml_control.page` (a list has pages of so many jobs), `azure_ml_control.no_list` (it has nothing where the jobs
belong). The common kind `unknown_state` works too.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_cloud.azure_ml_online_api import list_online_endpoints, read_key
from local_cloud.errors import ApiError

if TYPE_CHECKING:
    from local_cloud.azure_ml_batch_api import BatchApi
    from local_cloud.azure_ml_batch_store import JobRecord
    from local_cloud.services import Cloud
    from local_cloud.tokens import Claims

CLOUD_NAME = "AdfmlLocalCloud"
SUBSCRIPTION = "00000000-0000-0000-0000-00000000ada1"
GROUP, WORKSPACE = "local", "local"
PROVIDER = "providers/Microsoft.MachineLearningServices"
WORKSPACE_ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/{PROVIDER}/workspaces/{WORKSPACE}"
METADATA_PATH = "/metadata/endpoints"
PAGE = 100


@dataclass(frozen=True)
class Call:
    """One request, authenticated and parsed. `parameters` are those of the path, header names are lower-case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    parameters: Mapping[str, str]
    body: Mapping[str, Any]
    caller: Claims


Handler = Callable[[Call], tuple[int, dict[str, Any]]]


def build_environment(url: str) -> dict[str, str]:
    """What MLClient, and this project's own clients, need in their environment."""
    return {
        "ADFML_AZURE_ML_WORKSPACE": WORKSPACE_ID,
        "ARM_CLOUD_METADATA_URL": f"{url}{METADATA_PATH}?api-version=2019-05-01",
        "AZUREML_CURRENT_CLOUD": CLOUD_NAME,
    }


class ControlApi:
    """Answers the requests of the control plane."""

    def __init__(self, cloud: Cloud, batch: BatchApi) -> None:
        self._cloud = cloud
        self._batch = batch

    def list_batch_endpoints(self, call: Call) -> tuple[int, dict[str, Any]]:
        """The batch endpoints."""
        return 200, {"value": [self._batch_endpoint(name) for name in sorted(self._batch.endpoints)]}

    def get_batch_endpoint(self, call: Call) -> tuple[int, dict[str, Any]]:
        """One of them."""
        name = call.parameters["endpoint"]
        if name not in self._batch.endpoints:
            raise _not_found("batchEndpoints", name)
        return 200, self._batch_endpoint(name)

    def list_batch_deployments(self, call: Call) -> tuple[int, dict[str, Any]]:
        """The deployments of a batch endpoint."""
        name = call.parameters["endpoint"]
        if name not in self._batch.endpoints:
            raise _not_found("batchEndpoints", name)
        found = self._batch.endpoints[name].deployments.values()
        base = f"{WORKSPACE_ID}/batchEndpoints/{name}/deployments"
        shown = [
            {
                "id": f"{base}/{one.name}",
                "name": one.name,
                "location": "local",
                "properties": {"provisioningState": "Succeeded", "endpointName": name},
            }
            for one in found
        ]
        return 200, {"value": shown}

    def list_online_endpoints(self, call: Call) -> tuple[int, dict[str, Any]]:
        """The online endpoints."""
        return 200, {"value": [_online_endpoint(one) for one in list_online_endpoints(self._cloud)]}

    def get_online_endpoint(self, call: Call) -> tuple[int, dict[str, Any]]:
        """One of them."""
        name = call.parameters["endpoint"]
        for one in list_online_endpoints(self._cloud):
            if one.name == name:
                return 200, _online_endpoint(one)
        raise _not_found("onlineEndpoints", name)

    def list_keys(self, call: Call) -> tuple[int, dict[str, Any]]:
        """The keys of an online endpoint."""
        self.get_online_endpoint(call)
        key = read_key(self._cloud)
        return 200, {"primaryKey": key, "secondaryKey": key}

    def list_jobs(self, call: Call) -> tuple[int, dict[str, Any]]:
        """The jobs of the workspace, newest first, with `nextLink`."""
        skip = call.query.get("$skip")
        before = int(json.loads(base64.urlsafe_b64decode(skip))) if skip else None
        faults = self._cloud.faults
        ordered = faults.take_behaviour("azure_ml_control.page")
        page = int(ordered.value or 1) if ordered else PAGE
        found = self._batch.store.list_page(endpoint=None, deployment=None, before=before, limit=page + 1)
        answer: dict[str, Any] = {"value": [self._show(call, job) for job in found[:page]]}
        if faults.take_behaviour("azure_ml_control.strange_jobs"):
            answer["value"] = [*_strange_jobs(), *answer["value"]]
        if faults.take_behaviour("azure_ml_control.no_list"):
            return 200, {"value": None}
        if len(found) > page:
            token = base64.urlsafe_b64encode(json.dumps(found[page - 1].seq).encode()).decode()
            version = call.query.get("api-version", "")
            answer["nextLink"] = f"{self._cloud.url}{WORKSPACE_ID}/jobs?api-version={version}&$skip={token}"
        return 200, answer

    def get_job(self, call: Call) -> tuple[int, dict[str, Any]]:
        """One of them."""
        return 200, self._show(call, self._find_job(call))

    def cancel_job(self, call: Call) -> tuple[int, dict[str, Any]]:
        """Asks for the stop and answers at once; a job that has ended cannot be cancelled."""
        job = self._find_job(call)
        if not self._batch.store.ask_cancel(job.name):
            raise ApiError(400, "UserError", f"Job {job.name} is {job.status}; it cannot be cancelled any more.")
        self._batch.wake()
        return 202, {"_headers": {"Location": f"{self._cloud.url}{WORKSPACE_ID}/jobOperations/{job.name}"}}

    def get_operation(self, call: Call) -> tuple[int, dict[str, Any]]:
        """How a cancellation stands: 202 until the job has ended."""
        job = self._find_job(call)
        location = f"{self._cloud.url}{WORKSPACE_ID}/jobOperations/{job.name}"
        return (200, {"status": "Succeeded"}) if job.ended_at else (202, {"_headers": {"Location": location}})

    def _find_job(self, call: Call) -> JobRecord:
        job = self._batch.store.find(call.parameters["name"])
        if job is None:
            raise _not_found("jobs", call.parameters["name"])
        return job

    def _batch_endpoint(self, name: str) -> dict[str, Any]:
        spec = self._batch.endpoints[name]
        return {
            "id": f"{WORKSPACE_ID}/batchEndpoints/{name}",
            "name": name,
            "location": "local",
            "properties": {
                "authMode": "AADToken",
                "description": spec.description,
                "scoringUri": self._batch.scoring_uri(name),
                "defaults": {"deploymentName": spec.default},
                "provisioningState": "Succeeded",
            },
        }

    def _show(self, call: Call, job: JobRecord) -> dict[str, Any]:
        from local_cloud.azure_ml_batch_api import UNKNOWN_STATE

        shown = self._job(job)
        if self._cloud.faults.take(("unknown_state",), call.method, call.path):
            shown["properties"]["status"] = UNKNOWN_STATE
        return shown

    def _job(self, job: JobRecord) -> dict[str, Any]:
        """A job as the control plane shows it: a pipeline job, under the name it has in the data plane."""
        labels = job.request["properties"]
        outputs = {
            name: {"jobOutputType": "uri_folder", "uri": one["uri"], "mode": "ReadWriteMount"}
            for name, one in job.request["outputData"].items()
        }
        return {
            "id": f"{WORKSPACE_ID}/jobs/{job.name}",
            "name": job.name,
            "type": "Microsoft.MachineLearningServices/workspaces/jobs",
            "properties": {
                "jobType": "Pipeline",
                "status": job.status,
                "experimentName": labels.get("experimentName", job.endpoint),
                "displayName": job.name,
                "properties": dict(labels),
                "tags": dict(job.request["tags"]),
                "inputs": {},
                "outputs": outputs,
                "jobs": {},
                "services": {
                    "Studio": {"jobServiceType": "Studio", "endpoint": self._batch.page_url(job.name)},
                },
            },
            "systemData": {"createdAt": format_moment(job.accepted_at), "createdBy": job.creator},
        }


def build_routes(cloud: Cloud, batch: BatchApi) -> list[Route]:
    """The routes of the control plane, and of the metadata that lead to it."""
    from local_cloud.azure_ml_batch_api import build_endpoint

    api = ControlApi(cloud, batch)
    base = f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/{PROVIDER}/workspaces/{{workspace}}"

    def metadata(_request: Request) -> Response:
        return JSONResponse([_cloud_metadata(cloud.url)])

    served: list[tuple[str, str, Handler]] = [
        ("GET", "/batchEndpoints", api.list_batch_endpoints),
        ("GET", "/batchEndpoints/{endpoint}", api.get_batch_endpoint),
        ("GET", "/batchEndpoints/{endpoint}/deployments", api.list_batch_deployments),
        ("GET", "/onlineEndpoints", api.list_online_endpoints),
        ("GET", "/onlineEndpoints/{endpoint}", api.get_online_endpoint),
        ("POST", "/onlineEndpoints/{endpoint}/listKeys", api.list_keys),
        ("GET", "/jobs", api.list_jobs),
        ("GET", "/jobs/{name}", api.get_job),
        ("POST", "/jobs/{name}/cancel", api.cancel_job),
        ("GET", "/jobOperations/{name}", api.get_operation),
    ]
    return [
        Route(METADATA_PATH, metadata, methods=["GET"]),
        *(
            Route(base + path, build_endpoint(_in_workspace(handler), cloud.issuer, cloud.url), methods=[method])
            for method, path, handler in served
        ),
    ]


def _in_workspace(handler: Handler) -> Handler:
    """A handler that answers for the one workspace there is."""

    def handle(call: Call) -> tuple[int, dict[str, Any]]:
        subscription, group, workspace = (call.parameters[name] for name in ("subscription", "group", "workspace"))
        if subscription.lower() != SUBSCRIPTION:
            raise ApiError(404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")
        if group.lower() != GROUP:
            raise ApiError(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
        if workspace.lower() != WORKSPACE:
            kind = "Microsoft.MachineLearningServices/workspaces"
            message = f"The Resource '{kind}/{workspace}' under resource group '{group}' was not found."
            raise ApiError(404, "ResourceNotFound", message)
        return handler(call)

    return handle


def _cloud_metadata(url: str) -> dict[str, Any]:
    return {
        "name": CLOUD_NAME,
        "portal": "https://portal.azure.com",
        "resourceManager": url,
        "authentication": {"loginEndpoint": url, "audiences": [url]},
        "suffixes": {"storage": "core.windows.net"},
    }


def _online_endpoint(one: Any) -> dict[str, Any]:
    return {
        "id": f"{WORKSPACE_ID}/onlineEndpoints/{one.name}",
        "name": one.name,
        "location": "local",
        "properties": {
            "authMode": "Key",
            "scoringUri": one.scoring_uri,
            "provisioningState": "Succeeded",
            "traffic": dict(one.traffic),
        },
    }


def _strange_jobs() -> list[dict[str, Any]]:
    """A job of a kind that came after the client, and one whose step the client does not know."""
    kind = "Microsoft.MachineLearningServices/workspaces/jobs"
    later: dict[str, Any] = {
        "jobType": "Dreaming",
        "status": "Running",
        "tags": None,
        "properties": {},
        "outputs": None,
    }
    step = {**later, "jobType": "Pipeline", "inputs": {}, "outputs": {}, "jobs": {"one": {"type": "dreaming"}}}
    shown = {"later": later, "step": step}
    return [
        {"id": f"{WORKSPACE_ID}/jobs/{name}", "name": name, "type": kind, "properties": held}
        for name, held in shown.items()
    ]


def _not_found(kind: str, name: str) -> ApiError:
    message = f"The Resource 'Microsoft.MachineLearningServices/workspaces/{kind}/{name}' was not found."
    return ApiError(404, "ResourceNotFound", message)


def format_moment(millis: int) -> str:
    """A moment as Azure Resource Manager writes it."""
    return datetime.fromtimestamp(millis / 1000, UTC).isoformat().replace("+00:00", "Z")
