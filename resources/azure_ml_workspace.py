"""The Azure ML workspace through its control plane (azure-ai-ml), opened when it is needed and not before."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urljoin, urlsplit

from resources.azure_ml_calls import NoSuchThing
from resources.azure_ml_states import read_field
from resources.errors import NotFound, Refused, ResourceError, SettingInvalid, Unreachable
from resources.settings import AZURE_ML_WORKSPACE

if TYPE_CHECKING:
    from azure.ai.ml import MLClient

    from resources.azure_ml_calls import EndpointCalls

_RESOURCE_ID = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.MachineLearningServices/workspaces/(?P<name>[^/]+)/?",
    re.IGNORECASE,
)
EndpointKind = Literal["batch", "online"]
_CHECK = f"{AZURE_ML_WORKSPACE.name}, and that the identity has a role on that workspace (AzureML Data Scientist)"
_CHECK_UP = f"that Azure Resource Manager is up, {AZURE_ML_WORKSPACE.name} and the network"
_JOBS_VERSION = "2024-04-01"


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


@dataclass(frozen=True)
class EndpointFacts:
    """An endpoint of the workspace.

    Attributes:
        state: of its provisioning, in the service's words.
        default: a batch endpoint's deployment that runs where none is named.
        traffic: an online endpoint's deployments that have some.
        deployments: name -> state of its provisioning.
    """

    scoring_uri: str
    state: str
    default: str | None
    traffic: tuple[str, ...]
    deployments: Mapping[str, str]


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


class _WaitTooLong(Exception):
    """The service asks for a longer wait than there is time for."""


class AzureMlWorkspace:
    """Reads endpoints, cancels and lists jobs. Importing azure-ai-ml takes seconds, so nothing else goes through it.

    For invoking it is not used: MLClient keeps one header dictionary for all calls of a process, so that one call's
    deployment is sent with the next, and it repeats the POST that makes a job.

    Args:
        timeout_seconds: how long one request may take.
        retry_seconds: how long a list's request that gets no answer, 429 or 5xx is repeated, and the longest wait that
            is granted where the service asks for one; 0: nothing is repeated.
    """

    def __init__(self, timeout_seconds: int, retry_seconds: float = 10) -> None:
        self._timeout = timeout_seconds
        self._retry_seconds = retry_seconds
        self._client: MLClient | None = None
        self._calls: EndpointCalls | None = None

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
            retry_total=3 if self._retry_seconds else 0,
            retry_connect=1,
            retry_read=1,
            retry_backoff_factor=0.4,
            retry_backoff_max=5,
            raw_response_hook=self._refuse_long_wait,
            connection_timeout=self._timeout,
            read_timeout=self._timeout,
        )

    def _refuse_long_wait(self, response: Any) -> None:
        # The SDK waits for as long as Retry-After says, and Azure Resource Manager may say an hour.
        from azure.core.pipeline.policies import RetryPolicy

        wait = RetryPolicy().get_retry_after(response) or 0
        answer = response.http_response
        if answer.status_code >= 400 and wait > self._retry_seconds:
            raise _WaitTooLong(f"{answer.status_code}: it asks to be left alone for {wait:.0f} s")

    def read_scoring_uri(self, endpoint: str, kind: EndpointKind) -> str:
        """The scoring URI of an endpoint, by its name.

        Raises:
            Refused: there is no such endpoint (those there are are named), or it may not be read. Unreachable.
        """
        from azure.core.exceptions import ResourceNotFoundError

        shown = f"{kind} endpoint {endpoint}"
        with translated(shown, "the YAML's `endpoint`"):
            endpoints: Any = self.client.batch_endpoints if kind == "batch" else self.client.online_endpoints
            try:
                found = endpoints.get(endpoint).scoring_uri
            except ResourceNotFoundError as error:
                reason = f"{self._describe_missing(endpoint, kind, endpoints)} ({_first_line(error)})"
                raise Refused(
                    "Azure ML", str(read_workspace_id()), reason, f"the YAML's `endpoint`, and {_CHECK}"
                ) from error
        if not found:
            reason = f"{shown} has no scoring URI"
            raise Refused("Azure ML", str(read_workspace_id()), reason, "that its creation has succeeded")
        return str(found)

    def _describe_missing(self, endpoint: str, kind: EndpointKind, endpoints: Any) -> str:
        name = read_workspace_id().name
        try:
            with translated(f"the {kind} endpoints", "the YAML's `endpoint`"):
                names = [one.name for one in endpoints.list() if one.name]
        except Unreachable as error:
            # What is wrong is known; only the names that would help are not.
            unknown = f"which there are is not known: {error.reason}"
            return f"There is no {kind} endpoint {endpoint!r} in workspace {name}; {unknown}"
        return str(NotFound(f"{kind} endpoint", endpoint, f"workspace {name}", names))

    def cancel(self, name: str) -> None:
        """Ask for a job to be stopped, without waiting for it.

        Raises:
            Refused: the service's own message; a job that has ended may be refused too. Unreachable.
        """
        with translated(f"cancelling job {name}", "the job"):
            self.client.jobs.begin_cancel(name, polling=False)

    def list_jobs(self, stop_at: float) -> Iterator[ListedJob]:
        """The jobs of the workspace, those that are archived too, page by page.

        They are read by REST (Microsoft, "Jobs - List"): MLClient's list gives None for a job that it cannot read, and
        nobody would know whether that one is ours.

        Args:
            stop_at: when to give up, as time.monotonic() has it.

        Raises:
            Refused, Unreachable: while it is iterated over, and for a list that could not be read to its end.
        """
        workspace = str(read_workspace_id())
        with translated("its jobs", "the workspace"):
            manager, calls = self._open_calls()
        url: str | None = f"{manager}{workspace}/jobs?api-version={_JOBS_VERSION}&listViewType=All"
        while url:
            if time.monotonic() > stop_at:
                raise Unreachable("Azure ML", workspace, "its jobs: not listed to the end in time", _CHECK_UP)
            try:
                answer = calls.get(url, stop_at)
            except (NoSuchThing, Refused) as error:
                raise Refused("Azure ML", workspace, f"its jobs: {error.reason}", _CHECK) from error
            except Unreachable as error:
                raise Unreachable("Azure ML", workspace, f"its jobs: {error.reason}", _CHECK_UP) from error
            page = read_field(answer, "value")
            if not isinstance(page, list):
                raise Unreachable("Azure ML", workspace, "its jobs: the answer is no list", _CHECK_UP)
            yield from (_read_job(one) for one in page)
            following = read_field(answer, "nextLink")
            url = urljoin(url, str(following)) if following else None
            if url and urlsplit(url)[:2] != urlsplit(manager)[:2]:
                # Our token goes with the request: never to another host.
                raise Refused("Azure ML", workspace, f"its jobs: the list goes on at another address, {url}", _CHECK)

    def read_endpoint(self, endpoint: str, kind: EndpointKind, stop_at: float) -> EndpointFacts:
        """An endpoint as the workspace knows it, with its deployments; by REST, as `list_jobs`.

        Raises:
            Refused: there is no such endpoint (those there are are named), or it may not be read. Unreachable.
        """
        shown = f"{kind} endpoint {endpoint}"
        uri = self.read_scoring_uri(endpoint, kind)
        with translated(shown, "the YAML's `endpoint`"):
            manager, calls = self._open_calls()
            url = f"{manager}{read_workspace_id()}/{kind}Endpoints/{endpoint}"
            try:
                found = calls.get(f"{url}?api-version={_JOBS_VERSION}", stop_at)
                listed = read_field(calls.get(f"{url}/deployments?api-version={_JOBS_VERSION}", stop_at), "value")
            except NoSuchThing as error:
                raise Refused("Azure ML", str(read_workspace_id()), f"{shown}: {error.reason}", _CHECK) from error
        properties = read_field(found, "properties") or {}
        traffic = read_field(properties, "traffic") or {}
        return EndpointFacts(
            scoring_uri=uri,
            state=str(read_field(properties, "provisioningState") or "unknown"),
            default=read_field(read_field(properties, "defaults") or {}, "deploymentName"),
            traffic=tuple(sorted(name for name, share in traffic.items() if share)),
            deployments={str(read_field(one, "name")): _read_state(one) for one in listed or ()},
        )

    def _open_calls(self) -> tuple[str, EndpointCalls]:
        """Azure Resource Manager's address, and signed-in connections to it."""
        manager = _resource_manager(self.client)
        if self._calls is None:
            from resources.azure_ml_calls import EndpointCalls

            self._calls = EndpointCalls(self._timeout, self._retry_seconds, 1, f"{manager}/.default")
        return manager, self._calls


def _read_state(deployment: Mapping[str, Any]) -> str:
    return str(read_field(read_field(deployment, "properties") or {}, "provisioningState") or "unknown")


def _resource_manager(client: MLClient) -> str:
    # Of the cloud that AZUREML_CURRENT_CLOUD names; the SDK shows it nowhere else.
    return str(client._base_url).rstrip("/")


def _read_job(answer: Any) -> ListedJob:
    values = answer if isinstance(answer, Mapping) else {}
    properties = read_field(values, "properties") or {}
    labels: dict[str, str] = {}
    for held in (read_field(properties, "tags"), read_field(properties, "properties")):
        if isinstance(held, Mapping):
            labels |= {str(key): str(value) for key, value in held.items()}
    outputs = read_field(properties, "outputs")
    written = outputs.values() if isinstance(outputs, Mapping) else ()
    places = [read_field(one, "uri") for one in written if isinstance(one, Mapping)]
    return ListedJob(str(read_field(values, "name") or ""), labels, tuple(str(place) for place in places if place))


@contextmanager
def translated(what: str, check: str) -> Iterator[None]:
    """Turns azure-core's, azure-identity's and azure-ai-ml's errors into this package's.

    Args:
        what: what was asked for.
        check: where it is declared, as a hint of what to check.
    """
    try:
        yield
    except ResourceError:
        raise
    except Exception as error:
        found = translate_error(error, what, check)
        if found is None:
            raise
        raise found from None


def translate_error(error: Exception, what: str, check: str) -> ResourceError | None:
    """This package's error for one of the SDK's; None for one that is none of theirs."""
    from azure.ai.ml.exceptions import MlException
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

    address = AZURE_ML_WORKSPACE.read()
    reason = f"{what}: {_first_line(error)}"
    if isinstance(error, ClientAuthenticationError):
        return Refused("The Azure identity", address, _first_line(error), f"the managed identity, and {_CHECK}")
    if isinstance(error, HttpResponseError) and error.status_code is not None:
        reason = f"{what}: {error.status_code}: {_first_line(error)}"
        if _is_busy(error.status_code):
            return Unreachable("Azure ML", address, reason, _CHECK_UP)
        return Refused("Azure ML", address, reason, f"{check}, and {_CHECK}")
    if isinstance(error, AzureError | _WaitTooLong):
        return Unreachable("Azure ML", address, reason, _CHECK_UP)
    if isinstance(error, MlException):
        return Refused("Azure ML", address, reason, f"{check}, and {_CHECK}")
    return None


def _is_busy(status: int) -> bool:
    return status in (408, 429) or status >= 500


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
