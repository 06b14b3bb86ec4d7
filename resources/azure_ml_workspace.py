"""The Azure ML workspace through its control plane (azure-ai-ml), opened when it is needed and not before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from resources.errors import NotFound, Refused, ResourceError, SettingInvalid, Unreachable
from resources.settings import AZURE_ML_WORKSPACE

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

_RESOURCE_ID = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.MachineLearningServices/workspaces/(?P<name>[^/]+)/?",
    re.IGNORECASE,
)
EndpointKind = Literal["batch", "online"]
_CHECK = f"{AZURE_ML_WORKSPACE.name}, and that the identity has a role on that workspace (AzureML Data Scientist)"


@dataclass(frozen=True)
class WorkspaceId:
    """A workspace's place in Azure Resource Manager."""

    subscription: str
    group: str
    name: str

    def __str__(self) -> str:
        """The Azure resource id."""
        provider = "providers/Microsoft.MachineLearningServices"
        return f"/subscriptions/{self.subscription}/resourceGroups/{self.group}/{provider}/workspaces/{self.name}"


@dataclass(frozen=True)
class ListedJob:
    """A job as the workspace lists it: its name, what it carries, and the addresses of its outputs."""

    name: str
    labels: Mapping[str, str]
    outputs: tuple[str, ...]
    created_at: datetime | None


def read_workspace_id() -> WorkspaceId:
    """The workspace of ADFML_AZURE_ML_WORKSPACE.

    Raises:
        SettingMissing, SettingInvalid: there is none, or it is no resource id of a workspace.
    """
    match = _RESOURCE_ID.fullmatch(AZURE_ML_WORKSPACE.read())
    if match is None:
        raise SettingInvalid(AZURE_ML_WORKSPACE.name, f"an Azure resource id, {AZURE_ML_WORKSPACE.example}")
    return WorkspaceId(match["subscription"], match["group"], match["name"])


def build_page_url(name: str) -> str | None:
    """The page of a job in Azure ML's studio; None where the workspace is not known."""
    try:
        workspace = read_workspace_id()
    except ResourceError:
        return None
    return f"https://ml.azure.com/runs/{name}?wsid={workspace}"


class AzureMlWorkspace:
    """Reads endpoints and cancels jobs. Importing azure-ai-ml takes seconds, so nothing else goes through it.

    For invoking it is not used: MLClient keeps one header dictionary for all calls of a process, so that one call's
    deployment is sent with the next, and it repeats the POST that makes a job.

    Args:
        timeout_seconds: how long one request may take.
    """

    def __init__(self, timeout_seconds: int) -> None:
        self._timeout = timeout_seconds
        self._client: MLClient | None = None

    @property
    def client(self) -> MLClient:
        """The SDK's client, signed in by azure-identity, without telemetry.

        Raises:
            SettingMissing, SettingInvalid: ADFML_AZURE_ML_WORKSPACE.
        """
        if self._client is None:
            self._client = self._build_client()
        return self._client

    def _build_client(self) -> MLClient:
        workspace = read_workspace_id()
        from azure.ai.ml import MLClient
        from azure.identity import DefaultAzureCredential

        return MLClient(
            DefaultAzureCredential(),
            workspace.subscription,
            workspace.group,
            workspace.name,
            enable_telemetry=False,
            # The SDK's own defaults repeat for minutes, longer than a sensor's tick may take.
            retry_total=3,
            retry_backoff_factor=0.4,
            retry_backoff_max=5,
            connection_timeout=self._timeout,
            read_timeout=self._timeout,
        )

    def read_scoring_uri(self, endpoint: str, kind: EndpointKind) -> str:
        """The scoring URI of an endpoint, by its name.

        Raises:
            Refused: there is no such endpoint (those there are are named), or it may not be read. Unreachable.
        """
        from azure.core.exceptions import ResourceNotFoundError

        with translated("the YAML's `endpoint`"):
            endpoints: Any = self.client.batch_endpoints if kind == "batch" else self.client.online_endpoints
            try:
                found = endpoints.get(endpoint).scoring_uri
            except ResourceNotFoundError as error:
                names = [one.name for one in endpoints.list() if one.name]
                missing = NotFound(f"{kind} endpoint", endpoint, f"workspace {read_workspace_id().name}", names)
                reason = f"{missing} ({_first_line(error)})"
                raise Refused(
                    "Azure ML", str(read_workspace_id()), reason, f"the YAML's `endpoint`, and {_CHECK}"
                ) from error
        if not found:
            reason = f"{kind} endpoint {endpoint} has no scoring URI"
            raise Refused("Azure ML", str(read_workspace_id()), reason, "that its creation has succeeded")
        return str(found)

    def cancel(self, name: str) -> None:
        """Ask for a job to be stopped, without waiting for it.

        Raises:
            Refused: the service's own message; a job that has ended may be refused too. Unreachable.
        """
        with translated("the job"):
            self.client.jobs.begin_cancel(name, polling=False)

    def list_jobs(self) -> Iterator[ListedJob]:
        """The jobs of the workspace that are not archived, page by page.

        Raises:
            Refused, Unreachable: while it is iterated over.
        """
        with translated("the workspace's jobs"):
            for job in self.client.jobs.list():
                outputs: Mapping[str, Any] = getattr(job, "outputs", None) or {}
                created = job.creation_context.created_at if job.creation_context else None
                labels = {str(key): str(value) for key, value in {**(job.tags or {}), **(job.properties or {})}.items()}
                paths = tuple(str(one.path) for one in outputs.values() if getattr(one, "path", None))
                yield ListedJob(str(job.name), labels, paths, created if isinstance(created, datetime) else None)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turns azure-core's, azure-identity's and azure-ai-ml's errors into this package's.

    Args:
        what: what was asked for, as a hint of what to check.
    """
    try:
        yield
    except ResourceError:
        raise
    except Exception as error:
        found = translate_error(error, what)
        if found is None:
            raise
        raise found from None


def translate_error(error: Exception, what: str) -> ResourceError | None:
    """This package's error for one of the SDK's; None for one that is none of theirs."""
    from azure.ai.ml.exceptions import MlException
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

    address = AZURE_ML_WORKSPACE.read()
    if isinstance(error, ClientAuthenticationError):
        return Refused("The Azure identity", address, _first_line(error), f"the managed identity, and {_CHECK}")
    if isinstance(error, HttpResponseError) and error.status_code is not None and _is_busy(error.status_code):
        return Unreachable("Azure ML", address, f"{error.status_code}: {_first_line(error)}", "that the service is up")
    if isinstance(error, HttpResponseError) and error.status_code is not None:
        return Refused("Azure ML", address, f"{error.status_code}: {_first_line(error)}", f"{what}, and {_CHECK}")
    if isinstance(error, AzureError):
        return Unreachable("Azure ML", address, _first_line(error), f"{AZURE_ML_WORKSPACE.name} and the network")
    if isinstance(error, MlException):
        return Refused("Azure ML", address, _first_line(error), f"{what}, and {_CHECK}")
    return None


def _is_busy(status: int) -> bool:
    return status in (408, 429) or status >= 500


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
