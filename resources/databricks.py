"""Databricks jobs: submitted under a token, polled by list, cancelled, through databricks-sdk."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from resources.databricks_states import describe_status
from resources.errors import NotFound, OutcomeUnknown, Refused, ResourceError, Unreachable
from resources.remote_jobs import ForeignJob, RemoteJob, RemoteRun, RemoteStatus
from resources.settings import DATABRICKS_HOST, DATABRICKS_TOKEN

if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.service.jobs import Run

SERVICE = "databricks"
_LIST_PAGE = 24  # runs/list takes fewer than 25
_MESSAGE_CHARACTERS = 4000
_CLOCK_SKEW = timedelta(minutes=10)


class Databricks(dg.ConfigurableResource):
    """A Databricks workspace at ADFML_DATABRICKS_HOST, signed in to by managed identity or ADFML_DATABRICKS_TOKEN.

    dagster-databricks' `DatabricksClientResource` makes the client. Its run-now op and Pipes client are not used:
    both hold a worker for as long as the job takes, and take a cancelled or skipped run for a success.
    """

    request_timeout_seconds: int = Field(default=30, description="How long one request may take, in seconds.")
    retry_seconds: int = Field(
        default=20, description="How long the SDK repeats a request that gets no answer or 429, in seconds."
    )
    concurrency: int = Field(default=8, description="Requests under way at once while polling.")
    _client: Any = PrivateAttr(default=None)
    _job_ids: dict[str, int] = PrivateAttr(default_factory=dict)

    @property
    def name(self) -> str:
        """`databricks`."""
        return SERVICE

    @property
    def resends_safely(self) -> bool:
        """True: run-now under the same idempotency token gives the same run."""
        return True

    @property
    def client(self) -> WorkspaceClient:
        """The SDK's client.

        Raises:
            SettingMissing: ADFML_DATABRICKS_HOST.
        """
        if self._client is None:
            self._client = self._build_client()
        return self._client

    def _build_client(self) -> WorkspaceClient:
        from dagster_databricks import DatabricksClientResource
        from databricks.sdk import WorkspaceClient

        from resources.identity import AzureIdentityCredentials

        host, token = DATABRICKS_HOST.read(), DATABRICKS_TOKEN.read()
        signed_in = {"token": token} if token else {"credentials_strategy": AzureIdentityCredentials()}
        config = DatabricksClientResource(host=host, **signed_in).get_client().workspace_client.config
        # The SDK's own default repeats for five minutes, longer than a sensor's tick may take.
        config.retry_timeout_seconds = self.retry_seconds
        config.http_timeout_seconds = self.request_timeout_seconds
        return WorkspaceClient(config=config)

    def prepare(self, job: RemoteJob) -> Mapping[str, Any]:
        """Nothing: a run needs no upload."""
        return {}

    def submit(self, job: RemoteJob) -> RemoteRun:
        """run-now under the job's token; see `RemoteService.submit`. The request holds `job` and `parameters`."""
        from databricks.sdk.service.jobs import QueueSettings

        job_id = self._find_job_id(job.request)
        with _translated(job.submission_key):
            answer: Any = self.client.jobs.run_now(
                job_id,
                job_parameters={**job.request["parameters"], "submission_key": job.remote_key},
                idempotency_token=job.token,
                queue=QueueSettings(enabled=True),
            ).response
        return RemoteRun(str(answer.run_id), self._read_url(answer.run_id))

    def _read_url(self, run_id: int) -> str | None:
        # The run is submitted by now: a page's address is not worth failing for.
        from databricks.sdk.errors.base import DatabricksError
        from requests import RequestException

        try:
            return self.client.jobs.get_run(run_id).run_page_url
        except (DatabricksError, RequestException, TimeoutError):
            return None

    def find(self, job: RemoteJob) -> RemoteRun | None:
        """The run that carries the job's submission key and was started since its intent was written, or None."""
        since = int((job.created_at - _CLOCK_SKEW).timestamp() * 1000)
        job_id = self._find_job_id(job.request)
        with _translated(None):
            for run in self.client.jobs.list_runs(job_id=job_id, start_time_from=since, limit=_LIST_PAGE):
                found = {parameter.name: parameter.value for parameter in run.job_parameters or []}
                if found.get("submission_key") == job.remote_key and run.run_id is not None:
                    return RemoteRun(str(run.run_id), run.run_page_url)
        return None

    def cancel(self, job: RemoteJob) -> None:
        """runs/cancel; a run that has ended is no error."""
        if job.remote_id is not None:
            with _translated(None):
                self.client.jobs.cancel_run(int(job.remote_id))

    def inspect(self, remote_id: str, request: Mapping[str, Any]) -> ForeignJob:
        """A run that somebody else started, compared with a request: its job and every parameter."""
        from databricks.sdk.errors import InvalidParameterValue, ResourceDoesNotExist

        with _translated(None):
            try:
                run = self.client.jobs.get_run(int(remote_id))
            except (ResourceDoesNotExist, InvalidParameterValue, ValueError):
                raise NotFound("run", remote_id, f"the workspace {self.client.config.host}", ()) from None
        job_id = self._find_job_id(request)
        told = {one.name: one.value if one.value is not None else one.default for one in run.job_parameters or []}
        key = str(told.get("submission_key") or "")
        differences = []
        if run.job_id != job_id:
            differences.append(f"it is a run of job {run.job_id}, not of {request['job']} ({job_id})")
        differences += [
            f"its parameter {name} is {told.get(name)!r}, not {value!r}"
            for name, value in request["parameters"].items()
            if (told.get(name) or "") != value
        ]
        if not key:
            differences.append(
                "it was started without submission_key, so that its result could not be told from another's: start it "
                "with one, whatever it is"
            )
        started = datetime.fromtimestamp(run.start_time / 1000, UTC) if run.start_time else None
        shown = RemoteRun(remote_id, run.run_page_url, {"remote_key": key})
        return ForeignJob(shown, started, describe_status(run), tuple(differences))

    def poll(self, jobs: Sequence[RemoteJob], stop_at: float) -> Iterator[tuple[RemoteJob, RemoteStatus]]:
        """How jobs stand: the active runs of a Databricks job by list, and a request each for those that ended."""
        active: dict[str, RemoteStatus] = {}
        failures: list[ResourceError] = []
        by_job: dict[str, list[RemoteJob]] = {}
        for job in jobs:
            by_job.setdefault(str(job.request["job"]), []).append(job)
        for same in by_job.values():
            if len(same) > 1:
                active |= self._list_active(same, stop_at)
        ended = [job for job in jobs if job.remote_id not in active]
        yield from ((job, active[str(job.remote_id)]) for job in jobs if job.remote_id in active)
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="databricks-poll") as pool:
            futures = {pool.submit(self._get_status, job, stop_at): job for job in ended}
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

    def _list_active(self, jobs: Sequence[RemoteJob], stop_at: float) -> dict[str, RemoteStatus]:
        found: dict[str, RemoteStatus] = {}
        run_ids = {str(job.remote_id) for job in jobs}
        try:
            job_id = self._find_job_id(jobs[0].request)
        except Refused:
            return {}  # the job was deleted or renamed meanwhile; its runs can still be asked for one by one
        with _translated(None):
            for run in self.client.jobs.list_runs(job_id=job_id, active_only=True, limit=_LIST_PAGE):
                if str(run.run_id) in run_ids:
                    found[str(run.run_id)] = describe_status(run)
                if len(found) == len(run_ids) or time.monotonic() > stop_at:
                    break
        # What a list says of a run that has just ended is not the whole story: such a run is asked for itself.
        return {run_id: status for run_id, status in found.items() if status.state == "running"}

    def _get_status(self, job: RemoteJob, stop_at: float) -> RemoteStatus | None:
        if time.monotonic() > stop_at:
            return None
        from databricks.sdk.errors import InvalidParameterValue, ResourceDoesNotExist

        with _translated(None):
            try:
                run = self.client.jobs.get_run(int(str(job.remote_id)))
            except (ResourceDoesNotExist, InvalidParameterValue) as error:
                # Databricks forgets runs after 60 days, and people delete them: waiting on would be for ever.
                return RemoteStatus("failed", "NOT_FOUND", f"Databricks no longer knows run {job.remote_id}: {error}")
        status = describe_status(run)
        if status.state != "failed":
            return status
        message = self._read_error(run) or status.message
        return RemoteStatus(status.state, status.remote_state, message, status.transient, status.unknown)

    def read_log(self, job: RemoteJob) -> str | None:
        """What the tasks of a run wrote, the latest attempt of each last; see `LogReader`."""
        from databricks.sdk.errors import InvalidParameterValue, ResourceDoesNotExist

        with _translated(None):
            try:
                tasks = self.client.jobs.get_run(int(str(job.remote_id))).tasks or []
            except (ResourceDoesNotExist, InvalidParameterValue):
                return None
        parts = []
        for task in tasks:
            if task.run_id is None:
                continue
            with _translated(None):
                output = self.client.jobs.get_run_output(task.run_id)
            said = [text.strip() for text in (output.logs, output.error_trace or output.error) if text]
            cut = "\n(Databricks gives the last part of the log only.)" if output.logs_truncated else ""
            parts.append("\n".join([f"-- {task.task_key}, attempt {task.attempt_number or 0}", *said]) + cut)
        return "\n".join(parts) or None

    def _read_error(self, run: Run) -> str | None:
        """What the failed task itself said: its error, else the end of its log."""
        from databricks.sdk.errors.base import DatabricksError
        from requests import RequestException

        for task in reversed(run.tasks or []):
            if task.run_id is None:
                continue
            try:
                output = self.client.jobs.get_run_output(task.run_id)
            except (DatabricksError, RequestException, TimeoutError):
                continue
            text = output.error or (output.logs or "").strip()[-_MESSAGE_CHARACTERS:]
            if text:
                return text[:_MESSAGE_CHARACTERS]
        return None

    def _find_job_id(self, request: Mapping[str, Any]) -> int:
        return self.find_job_id(str(request["job"]))

    def find_job_id(self, wanted: str) -> int:
        """The id of a job: an id stays as it is, a name is that of exactly one job of the workspace.

        Raises:
            Refused: no job, or several, have that name. Unreachable, SettingMissing.
        """
        if wanted.isdigit():
            return int(wanted)
        if wanted not in self._job_ids:
            with _translated(None):
                ids = [job.job_id for job in self.client.jobs.list(name=wanted)]
                if not ids:
                    names = [job.settings.name for job in self.client.jobs.list(limit=50) if job.settings]
                    missing = NotFound("job", wanted, f"the workspace {self.client.config.host}", filter(None, names))
                    raise Refused(
                        "Databricks", str(self.client.config.host), str(missing), "the bundle is deployed, or the name"
                    )
            if len(ids) > 1 or ids[0] is None:
                raise Refused(
                    "Databricks",
                    str(self.client.config.host),
                    f"{len(ids)} jobs are named {wanted!r} ({', '.join(map(str, ids))})",
                    "the YAML, and give the job's id there instead of its name",
                )
            self._job_ids[wanted] = ids[0]
        return self._job_ids[wanted]


class _translated:  # noqa: N801 - reads as a phrase: with _translated(key)
    """Turns the SDK's errors into this package's. With a submission key, no answer means: outcome unknown."""

    def __init__(self, submission_key: str | None) -> None:
        self._key = submission_key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, _trace: Any) -> None:
        if error is None or isinstance(error, ResourceError) or not isinstance(error, Exception):
            return
        raise translate_error(error, self._key) from None


def translate_error(error: Exception, submission_key: str | None) -> Exception:
    """This package's error for one of the SDK's, requests' or azure-identity's; others come back as they are."""
    import requests
    from azure.core.exceptions import ClientAuthenticationError
    from databricks.sdk import errors
    from databricks.sdk.errors.base import DatabricksError

    host = DATABRICKS_HOST.read()
    check = f"{DATABRICKS_HOST.name}, the network, and that the workspace is up"
    cause = error.__cause__ if isinstance(error, TimeoutError) and error.__cause__ is not None else error
    if isinstance(error, ClientAuthenticationError):
        reason = " ".join(error.message.split())
        return Refused("The Azure identity", host, reason, f"the managed identity, or {DATABRICKS_TOKEN.name}")
    if isinstance(error, errors.Unauthenticated):
        # The SDK adds its whole configuration, and the settings it found.
        reason = str(error).partition(". Config:")[0]
        return Refused(
            "Databricks", host, reason, f"{DATABRICKS_TOKEN.name}, or the identity, and that it has not expired"
        )
    if isinstance(error, errors.PermissionDenied):
        return Refused("Databricks", host, str(error), "that the identity may run the job (CAN MANAGE RUN)")
    if isinstance(cause, requests.ConnectionError) and "refused" in str(cause).lower():
        return Unreachable("Databricks", host, "connection refused", check)
    if isinstance(cause, requests.ConnectionError) and "resolve" in str(cause).lower():
        return Unreachable("Databricks", host, "the name does not resolve", check)
    overloaded = (errors.InternalError, errors.TemporarilyUnavailable, errors.DeadlineExceeded, errors.TooManyRequests)
    unanswered = isinstance(cause, (requests.RequestException, TimeoutError, *overloaded))
    if unanswered and submission_key is not None:
        return OutcomeUnknown(submission_key, "Databricks", str(cause) or type(cause).__name__)
    if unanswered:
        return Unreachable("Databricks", host, str(cause) or type(cause).__name__, check)
    if isinstance(error, DatabricksError):
        return Refused("Databricks", host, str(error), "the job and its parameters")
    return error
