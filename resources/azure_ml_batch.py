"""Azure ML batch endpoints: invoked by REST under a key of ours, polled by list, cancelled through the workspace.

Takes the place of the pipelines' WebActivity `InvokeBatchEndpoint`, of the Until loop after it (which never ends for a
cancelled job and takes a failed one for done), and of AzureMLExecutePipeline, whose published pipelines ended with the
SDK v1 in June 2026 (Microsoft, "Upgrade pipeline endpoints to SDK v2").
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

import dagster as dg
from pydantic import Field, PrivateAttr

from resources.addresses import is_safe
from resources.azure_ml_adoption import compare_job
from resources.azure_ml_calls import NoSuchThing, NotListed
from resources.azure_ml_states import describe_status, read_field, tells_reason
from resources.azure_ml_uris import output_folder, submission_folder
from resources.azure_ml_workspace import AzureMlWorkspace, build_page_url
from resources.control import utc_now
from resources.errors import NotFound, OutcomeUnknown, Refused, ResourceError, Unreachable
from resources.remote_jobs import ForeignJob, RemoteJob, RemoteRun, RemoteStatus

if TYPE_CHECKING:
    from resources.azure_ml_calls import EndpointCalls

SERVICE = "azure_ml_batch"
DEPLOYMENT_HEADER = "azureml-model-deployment"
REQUEST_ID_HEADER = "repeatability_request-id"

SUBMISSION_KEY = "adfml.submission_key"
PARENT_RUN_ID = "adfml.parent_run_id"
"""What a job carries as property and tag: our key, and the Dagster run that sent it (the pattern's mlParentRunId)."""

_NOT_YET_VISIBLE = timedelta(minutes=10)


class AzureMlBatch(dg.ConfigurableResource):
    """Batch endpoints of Azure ML, signed in to by the identity of the process.

    A request in the ledger holds:

    - `endpoint` or `scoring_uri` (or both), and `deployment`, `experiment_name` where they are declared;
    - `input_data`: name -> `{"JobInputType": "UriFolder" | "UriFile", "Uri": ...}` or
      `{"JobInputType": "Literal", "Value": ...}`;
    - `output_data`: name -> `{"JobOutputType": "UriFolder", "Uri": <folder>}`; each submission writes to a folder of
      its own below that one (`resources.azure_ml_uris.output_folder`);
    - `submission_key_input`: the literal input that takes our key, where the deployment has one.
    """

    request_timeout_seconds: int = Field(default=30, description="How long one request may take, in seconds.")
    retry_seconds: int = Field(
        default=10, description="How long one reading request is repeated that gets no answer, 429 or 5xx, in seconds."
    )
    find_seconds: int = Field(default=40, description="How long a job whose answer was lost is looked for at a time.")
    concurrency: int = Field(default=8, description="Requests under way at once while polling.")
    list_above: int = Field(
        default=5, description="An endpoint with more outstanding jobs than this is asked for its list of jobs."
    )
    _calls: Any = PrivateAttr(default=None)
    _workspace: Any = PrivateAttr(default=None)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _uris: dict[str, str] = PrivateAttr(default_factory=dict)
    _unlisted: set[str] = PrivateAttr(default_factory=set)

    @property
    def name(self) -> str:
        """`azure_ml_batch`."""
        return SERVICE

    @property
    def resends_safely(self) -> bool:
        """False: no document promises that the same request id makes one job."""
        return False

    @property
    def calls(self) -> EndpointCalls:
        """The signed-in connections."""
        with self._lock:
            if self._calls is None:
                from resources.azure_ml_calls import EndpointCalls

                self._calls = EndpointCalls(self.request_timeout_seconds, self.retry_seconds, self.concurrency)
            return self._calls

    @property
    def workspace(self) -> AzureMlWorkspace:
        """The control plane."""
        with self._lock:
            if self._workspace is None:
                self._workspace = AzureMlWorkspace(self.request_timeout_seconds, self.retry_seconds)
            return self._workspace

    def prepare(self, job: RemoteJob) -> Mapping[str, Any]:
        """Find out the endpoint's address before anything is sent. Returns it as the fact `scoring_uri`.

        Raises:
            Refused: there is no such endpoint, or its address is none. Unreachable, SettingMissing, SettingInvalid.
        """
        return {"scoring_uri": self._find_scoring_uri(job)}

    def submit(self, job: RemoteJob) -> RemoteRun:
        """Invoke the endpoint, in one POST that is not repeated; see `RemoteService.submit`."""
        scoring_uri = self._find_scoring_uri(job)
        headers = {REQUEST_ID_HEADER: str(uuid.UUID(hex=job.token[:32]))}
        if job.request.get("deployment"):
            headers[DEPLOYMENT_HEADER] = str(job.request["deployment"])
        answer = self.calls.post(scoring_uri, build_body(job), headers, job.submission_key)
        run = _to_run(answer, scoring_uri)
        if run is None:
            raise OutcomeUnknown(job.submission_key, "Azure ML", "its answer names no job")
        return run

    def find(self, job: RemoteJob) -> RemoteRun | None:
        """The job that carries our key, or writes to the folder that is this submission's alone; or None.

        The endpoint's own list is asked first, then, where the endpoint does not give one, the workspace's jobs.

        Raises:
            Unreachable: the lists could not be read to their end, for whatever reason: nobody knows then.
        """
        try:
            scoring_uri = self._find_scoring_uri(job)
            stop_at = time.monotonic() + self.find_seconds
            try:
                return self._find_in_list(job, scoring_uri, stop_at)
            except NotListed:
                return self._find_in_workspace(job, scoring_uri, stop_at)
        except Refused as error:
            # A no to our question says nothing about the job, which may well run.
            raise Unreachable(error.service, error.address, error.reason, error.check) from error

    def _find_in_list(self, job: RemoteJob, scoring_uri: str, stop_at: float) -> RemoteRun | None:
        for page in self._list_pages(scoring_uri, stop_at):
            for answer in page:
                if _is_ours(answer, job):
                    return _to_run(answer, scoring_uri)
        return None

    def _find_in_workspace(self, job: RemoteJob, scoring_uri: str, stop_at: float) -> RemoteRun | None:
        folder = submission_folder(job.token)
        for listed in self.workspace.list_jobs(stop_at):
            if listed.labels.get(SUBMISSION_KEY) == job.remote_key or any(folder in uri for uri in listed.outputs):
                return RemoteRun(listed.name, build_page_url(listed.name), {"scoring_uri": scoring_uri})
        return None

    def cancel(self, job: RemoteJob) -> None:
        """Cancel through the workspace, the only way there is; a job that has ended is no error.

        Raises:
            Refused, Unreachable: the service's word. SettingMissing, SettingInvalid: ADFML_AZURE_ML_WORKSPACE.
        """
        if job.remote_id is None:
            return
        try:
            self.workspace.cancel(job.remote_id)
        except Refused:
            status = self._get_status(job, time.monotonic() + self.request_timeout_seconds)
            if status is None or status.state == "running":
                raise

    def inspect(self, remote_id: str, request: Mapping[str, Any]) -> ForeignJob:
        """A job of the request's endpoint that somebody else started, compared with it: every input, and the output."""
        scoring_uri = self._find_uri(request, {})
        url = f"{scoring_uri}/{quote(remote_id, safe='')}"
        try:
            answer = self.calls.get(url, time.monotonic() + self.request_timeout_seconds)
        except NoSuchThing:
            raise NotFound("job", remote_id, f"the batch endpoint at {scoring_uri}", ()) from None
        run = _to_run(answer, scoring_uri) or RemoteRun(remote_id, None)
        differences, facts = compare_job(answer, request)
        run = RemoteRun(run.remote_id, run.url, {**run.facts, **facts})
        return ForeignJob(run, _read_start(answer), describe_status(answer), tuple(differences))

    def poll(self, jobs: Sequence[RemoteJob], stop_at: float) -> Iterator[tuple[RemoteJob, RemoteStatus]]:
        """How jobs stand: an endpoint's jobs by list, and a request each for those that the list does not settle.

        An endpoint that cannot be reached holds up no other; what it says is raised when the others are done.
        """
        failures: list[ResourceError] = []
        by_address: dict[str, list[RemoteJob]] = {}
        for job in jobs:
            try:
                by_address.setdefault(self._find_scoring_uri(job), []).append(job)
            except ResourceError as error:
                failures.append(error)
        unsettled: list[RemoteJob] = []
        for scoring_uri, same in by_address.items():
            listed: dict[str, RemoteStatus] = {}
            if len(same) > self.list_above and scoring_uri not in self._unlisted:
                try:
                    listed = self._list_statuses(scoring_uri, same, stop_at)
                except NotListed:
                    pass
                except ResourceError as error:
                    failures.append(error)
                    continue
            yield from ((job, listed[str(job.remote_id)]) for job in same if job.remote_id in listed)
            unsettled += [job for job in same if job.remote_id not in listed]
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="azure-ml-poll") as pool:
            futures = {pool.submit(self._get_status, job, stop_at): job for job in unsettled}
            for future in as_completed(futures):
                try:
                    status = future.result()
                except ResourceError as error:
                    failures.append(error)
                    continue
                if status is not None:
                    yield futures[future], status
        if failures:
            raise failures[0]

    def _list_statuses(self, scoring_uri: str, jobs: Sequence[RemoteJob], stop_at: float) -> dict[str, RemoteStatus]:
        """What the list says of jobs, except of failures whose reason only the job itself tells."""
        wanted = {str(job.remote_id) for job in jobs}
        found: dict[str, RemoteStatus] = {}
        idle = 0
        for page in self._list_pages(scoring_uri, stop_at):
            before = len(wanted)
            for answer in page:
                name = _read_name(answer)
                if name not in wanted:
                    continue
                wanted.discard(name)
                status = describe_status(answer)
                if status.state != "failed" or tells_reason(answer):
                    found[name] = status
            # An endpoint keeps its old jobs: when some pages held none of ours, asking for the rest one by one is less.
            idle = 0 if len(wanted) < before else idle + 1
            if not wanted or idle >= max(2, len(wanted) // 10) or time.monotonic() > stop_at:
                break
        return found

    def _list_pages(self, scoring_uri: str, stop_at: float) -> Iterator[list[Mapping[str, Any]]]:
        """The jobs of an endpoint, page by page, as the batch jobs' API (2020-09-01-dataplanepreview) has it.

        Raises:
            NotListed: the address takes invocations and gives no list.
        """
        url: str | None = scoring_uri
        if url in self._unlisted:
            raise NotListed(scoring_uri, "it did not do so before")
        while url:
            try:
                answer = self.calls.get(url, stop_at)
            except (NoSuchThing, Refused) as error:
                if url != scoring_uri or (isinstance(error, Refused) and not _means_no_list(error)):
                    raise
                self._unlisted.add(scoring_uri)
                raise NotListed(scoring_uri, error.reason) from error
            page = read_field(answer, "value")
            if not isinstance(page, list):
                # Whatever this is, it does not say that there are no jobs.
                raise NotListed(scoring_uri, "its answer is no list")
            yield [one for one in page if isinstance(one, Mapping)]
            following = read_field(answer, "nextLink")
            url = _require_same_host(urljoin(url, str(following)), scoring_uri) if following else None

    def _get_status(self, job: RemoteJob, stop_at: float) -> RemoteStatus | None:
        """How one job stands; None where there is no time for it."""
        if time.monotonic() > stop_at:
            return None
        url = f"{self._find_scoring_uri(job)}/{quote(str(job.remote_id), safe='')}"
        try:
            return describe_status(self.calls.get(url, stop_at))
        except NoSuchThing as error:
            if job.submitted_at is not None and utc_now() - job.submitted_at < _NOT_YET_VISIBLE:
                return RemoteStatus("running", "NOT_FOUND", unknown=True)
            # Jobs and endpoints are deleted: waiting on would be for ever.
            reason = f"Azure ML no longer knows job {job.remote_id} at {url}: {error.reason}"
            return RemoteStatus("failed", "NOT_FOUND", reason)

    def _find_scoring_uri(self, job: RemoteJob) -> str:
        return self._find_uri(job.request, job.facts)

    def _find_uri(self, request: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
        known = facts.get("scoring_uri") or request.get("scoring_uri")
        if known is None:
            endpoint = str(request["endpoint"])
            if endpoint not in self._uris:
                self._uris[endpoint] = self.workspace.read_scoring_uri(endpoint, "batch")
            known = self._uris[endpoint]
        return check_scoring_uri(str(known))


def build_body(job: RemoteJob) -> dict[str, Any]:
    """What the endpoint is sent: inputs and outputs as declared, the output in a folder of this submission's own.

    Source: Microsoft, "Create jobs and input data for batch endpoints", REST.
    """
    inputs = {name: dict(value) for name, value in job.request["input_data"].items()}
    if job.request.get("submission_key_input"):
        inputs[job.request["submission_key_input"]] = {"JobInputType": "Literal", "Value": job.remote_key}
    outputs = {
        name: {**value, "Uri": output_folder(str(value["Uri"]), job.token)}
        for name, value in job.request["output_data"].items()
    }
    ours = {SUBMISSION_KEY: job.remote_key, PARENT_RUN_ID: job.run_id}
    experiment = job.request.get("experiment_name")
    properties = {**({"experimentName": experiment} if experiment else {}), **ours}
    return {"properties": {"InputData": inputs, "OutputData": outputs, "properties": properties, "tags": ours}}


def check_scoring_uri(uri: str) -> str:
    """A scoring URI that a token may be sent to: by https, or on this machine. Returns it without a trailing slash.

    Raises:
        Refused: it is none.
    """
    parts = urlsplit(uri)
    if not is_safe(parts) or not parts.path.rstrip("/").endswith("/jobs"):
        example = "https://<endpoint>.<region>.inference.ml.azure.com/jobs"
        raise Refused(
            "Azure ML", uri, f"no scoring URI of a batch endpoint, such as {example}", "the engine's `scoring_uri`"
        )
    return uri.rstrip("/")


def _require_same_host(url: str, scoring_uri: str) -> str:
    # Our token goes with the request: never to another host than the one that was declared.
    if urlsplit(url)[:2] != urlsplit(scoring_uri)[:2]:
        reason = f"its list goes on at another address, {url}"
        raise Refused("Azure ML", scoring_uri, reason, "the engine's `scoring_uri`")
    return url


def _means_no_list(error: Refused) -> bool:
    return error.reason.startswith(("400", "405", "501"))


def _is_ours(answer: Mapping[str, Any], job: RemoteJob) -> bool:
    properties = read_field(answer, "properties") or {}
    for labels in (read_field(properties, "properties"), read_field(properties, "tags")):
        if isinstance(labels, Mapping) and labels.get(SUBMISSION_KEY) == job.remote_key:
            return True
    outputs = read_field(properties, "outputData") or {}
    folder = submission_folder(job.token)
    return any(folder in str(read_field(one, "uri") or "") for one in outputs.values() if isinstance(one, Mapping))


def _read_name(answer: Mapping[str, Any]) -> str:
    name = read_field(answer, "name") or str(read_field(answer, "id") or "").rstrip("/").rpartition("/")[2]
    return str(name)


def _read_start(answer: Mapping[str, Any]) -> datetime | None:
    """When a job was made, where the service says it in a form that is a time."""
    system = read_field(answer, "systemData") or {}
    try:
        moment = datetime.fromisoformat(str(read_field(system, "createdAt")))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _to_run(answer: Mapping[str, Any], scoring_uri: str) -> RemoteRun | None:
    name = _read_name(answer)
    if not name:
        return None
    services = read_field(read_field(answer, "properties") or {}, "interactionEndpoints")
    studio = read_field(services, "Studio") if isinstance(services, Mapping) else None
    page = read_field(studio, "endpoint") if isinstance(studio, Mapping) else None
    return RemoteRun(name, str(page) if page else build_page_url(name), {"scoring_uri": scoring_uri})
