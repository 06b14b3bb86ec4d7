"""Who is signed in to the workspace, and who may run its jobs: SCIM's ``Me`` and the permissions of a job.

Behaviour to order: ``databricks.view_only`` (the identity may see the jobs and not run them).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.routing import Route

from local_cloud.bundle import JobSpec
from local_cloud.databricks_access import build_endpoint
from local_cloud.databricks_requests import Call
from local_cloud.errors import ApiError
from local_cloud.faults import FaultBox
from local_cloud.tokens import TokenIssuer

ME_PATH = "/api/2.0/preview/scim/v2/Me"
PERMISSIONS_PATH = "/api/2.0/permissions/jobs/{job_id}"


def build_routes(jobs: Mapping[int, JobSpec], issuer: TokenIssuer, faults: FaultBox) -> list[Route]:
    """The routes; every one demands a token for the workspace."""

    def me(call: Call) -> dict[str, Any]:
        # Of a service principal the user name is its application id.
        name = call.caller.client_id
        return {"id": "1", "userName": name, "displayName": name, "active": True, "groups": [{"display": "users"}]}

    def permissions(call: Call) -> dict[str, Any]:
        job_id = call.parts["job_id"]
        if not job_id.isdigit() or int(job_id) not in jobs:
            raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", f"Job {job_id} does not exist.")
        level = "CAN_VIEW" if faults.take_behaviour("databricks.view_only") else "IS_OWNER"
        held = [{"permission_level": level, "inherited": False}]
        entry = {"service_principal_name": call.caller.client_id, "all_permissions": held}
        return {"object_id": f"/jobs/{job_id}", "object_type": "job", "access_control_list": [entry]}

    served: list[tuple[str, Callable[[Call], dict[str, Any]]]] = [(ME_PATH, me), (PERMISSIONS_PATH, permissions)]
    return [Route(path, build_endpoint(handler, issuer), methods=["GET"]) for path, handler in served]
