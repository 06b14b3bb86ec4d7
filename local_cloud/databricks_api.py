"""A Databricks workspace: the Jobs API 2.2 (run-now, runs/get, get-output, cancel, list, and jobs/list, jobs/get), and
what it serves besides: who is signed in and may run what, Unity Catalog's registered models, the page of each run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.routing import Route

from local_cloud import databricks_people_api, experiment_page, run_page, unity_catalog_api
from local_cloud.attempts import AttemptFolders
from local_cloud.bundle import JobSpec
from local_cloud.clock import now_millis
from local_cloud.databricks_access import build_endpoint
from local_cloud.databricks_engine import Engine
from local_cloud.databricks_requests import (
    Call,
    invalid,
    read_flag,
    read_job_parameters,
    read_number,
    read_optional_number,
    read_page,
    read_page_size,
    read_text,
    refuse_offset,
)
from local_cloud.databricks_store import AttemptRecord, RunFilter, RunRecord, RunStore
from local_cloud.databricks_views import RunViews
from local_cloud.errors import ApiError
from local_cloud.exchanges import make_page_token
from local_cloud.faults import FaultBox
from local_cloud.logs import WorkloadLog, read_log
from local_cloud.services import Cloud, Service
from local_cloud.tokens import TokenIssuer

PREFIX = "/api/2.2/jobs"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]
MAX_TOKEN_LENGTH = 64
MAX_RUNS_PAGE = 25
MAX_JOBS_PAGE = 100
UNKNOWN_STATE = "HIBERNATING"
"""What a fault of kind ``unknown_state`` reports: no SDK knows it."""

_SEVERAL_TASKS = (
    "Retrieving the output of runs with multiple tasks is not supported. "
    "Please retrieve the output of each individual task run instead."
)


class JobsApi:
    """Answers the requests; what it accepts is committed before it answers."""

    def __init__(
        self,
        jobs: Mapping[int, JobSpec],
        created: int,
        store: RunStore,
        views: RunViews,
        faults: FaultBox,
        *,
        read_log: Callable[[int], WorkloadLog],
        wake: Callable[[], None],
    ) -> None:
        """Create the API.

        Args:
            jobs: The jobs by id.
            created: When the jobs were created, in epoch milliseconds.
            store: The runs.
            views: Renders them.
            faults: Asked for the faults that only this service can do.
            read_log: The log of an attempt.
            wake: Called when there is something new to do.
        """
        self._jobs = jobs
        self._created = created
        self._store = store
        self._views = views
        self._faults = faults
        self._read_log = read_log
        self._wake = wake

    def run_now(self, call: Call) -> dict[str, Any]:
        """``POST run-now``."""
        job = self._jobs.get(read_number(call.body, "job_id"))
        if job is None:
            raise invalid(f"Job {call.body['job_id']} does not exist.")
        token = read_text(call.body, "idempotency_token")
        if token is not None and len(token) > MAX_TOKEN_LENGTH:
            raise invalid(f"The idempotency_token must have at most {MAX_TOKEN_LENGTH} characters, not {len(token)}.")
        parameters = read_job_parameters(job, call.body)
        queue = call.body.get("queue")
        enabled = queue.get("enabled", True) if isinstance(queue, dict) else job.queue.enabled

        def choose_fault() -> str | None:
            fault = self._faults.take(("cloud_failure",), call.method, call.path)
            fault = fault or self._faults.take(("hold",), call.method, call.path)
            return fault.kind if fault else None

        run_id, is_new = self._store.accept(
            job, parameters, token=token, queue=enabled, creator=call.caller.client_id, choose_fault=choose_fault
        )
        if is_new:
            self._wake()
        return {"run_id": run_id, "number_in_job": run_id}

    def get_run(self, call: Call) -> dict[str, Any]:
        """``GET runs/get``: a run or one of its task runs."""
        run, attempt = self._find(read_number(call.query, "run_id"))
        if attempt is not None:
            return self._disguise(call, self._views.task_run(run, attempt))
        return self._disguise(call, self._views.run(run, self._store.attempts(run.run_id), with_tasks=True))

    def get_output(self, call: Call) -> dict[str, Any]:
        """``GET runs/get-output``: of a task run only, as the service has it for runs in the multi-task format."""
        run, attempt = self._find(read_number(call.query, "run_id"))
        if attempt is None:
            raise invalid(_SEVERAL_TASKS)
        return self._views.output(run, attempt, self._read_log(attempt.attempt_id))

    def cancel_run(self, call: Call) -> dict[str, Any]:
        """``POST runs/cancel``: asks for the stop and answers at once; nothing happens to a run that has ended."""
        run_id = read_number(call.body, "run_id")
        attempt = self._store.attempt(run_id)
        run = self._store.run(attempt.run_id if attempt else run_id)
        if run is None:
            raise invalid(f"Run {run_id} does not exist.")
        if self._store.request_stop(run.run_id, "canceled"):
            self._wake()
        return {}

    def list_runs(self, call: Call) -> dict[str, Any]:
        """``GET runs/list``: newest first."""
        active, completed = read_flag(call.query, "active_only"), read_flag(call.query, "completed_only")
        if active and completed:
            raise invalid("active_only and completed_only cannot both be true.")
        refuse_offset(call.query)
        limit = read_page_size(call.query, MAX_RUNS_PAGE)
        wanted = RunFilter(
            job_id=read_optional_number(call.query, "job_id"),
            active=True if active else False if completed else None,
            start_from=read_optional_number(call.query, "start_time_from"),
            start_to=read_optional_number(call.query, "start_time_to"),
        )
        before = read_page(call.query, "runs")
        found: list[RunRecord] = []
        if call.query.get("run_type", "JOB_RUN") == "JOB_RUN":
            found = self._store.list_runs(wanted, before_seq=before, limit=limit + 1)
        page = found[:limit]
        expand = read_flag(call.query, "expand_tasks")
        answer: dict[str, Any] = {"has_more": len(found) > limit}
        if page:
            shown = (self._views.run(run, self._store.attempts(run.run_id), with_tasks=expand) for run in page)
            answer["runs"] = [self._disguise(call, run) for run in shown]
        if len(found) > limit:
            answer["next_page_token"] = make_page_token("runs", page[-1].seq)
        return answer

    def list_jobs(self, call: Call) -> dict[str, Any]:
        """``GET jobs/list``: by job id; ``name`` is exact but for upper and lower case."""
        refuse_offset(call.query)
        limit = read_page_size(call.query, MAX_JOBS_PAGE)
        after = read_page(call.query, "jobs") or 0
        name = call.query.get("name")
        found = [
            job
            for job_id, job in sorted(self._jobs.items())
            if job_id > after and (name is None or job.name.casefold() == name.casefold())
        ]
        expand = read_flag(call.query, "expand_tasks")
        answer: dict[str, Any] = {"has_more": len(found) > limit}
        if found:
            answer["jobs"] = [self._job(job, call, expand=expand) for job in found[:limit]]
        if len(found) > limit:
            answer["next_page_token"] = make_page_token("jobs", found[limit - 1].job_id)
        return answer

    def get_job(self, call: Call) -> dict[str, Any]:
        """``GET jobs/get``."""
        job_id = read_number(call.query, "job_id")
        job = self._jobs.get(job_id)
        if job is None:
            raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", f"Job {job_id} does not exist.")
        return {**self._job(job, call, expand=True), "run_as_user_name": call.caller.client_id}

    def _job(self, job: JobSpec, call: Call, *, expand: bool) -> dict[str, Any]:
        return self._views.job(job, created=self._created, creator=call.caller.client_id, expand=expand)

    def _find(self, run_id: int) -> tuple[RunRecord, AttemptRecord | None]:
        attempt = self._store.attempt(run_id)
        run = self._store.run(attempt.run_id if attempt else run_id)
        if run is None:
            raise ApiError(404, "RESOURCE_DOES_NOT_EXIST", f"Run {run_id} does not exist.")
        return run, attempt

    def _disguise(self, call: Call, run: dict[str, Any]) -> dict[str, Any]:
        if self._faults.take(("unknown_state",), call.method, call.path):
            run["state"] = {"life_cycle_state": UNKNOWN_STATE, "state_message": ""}
            run["status"] = {"state": UNKNOWN_STATE}
        return run


def build_service(cloud: Cloud, jobs: Mapping[int, JobSpec]) -> Service:
    """A workspace with the jobs of a bundle."""
    store = RunStore(cloud.database)
    folders = AttemptFolders(cloud.state)
    created = int(cloud.database.setting("jobs_created", lambda: str(now_millis())))

    def log_of(attempt_id: int) -> WorkloadLog:
        return read_log(folders.log(attempt_id))

    engine = Engine(store, folders, cloud.faults, cloud.fail)
    api = JobsApi(jobs, created, store, RunViews(cloud.url), cloud.faults, read_log=log_of, wake=engine.wake)
    return Service(
        routes=[
            *build_routes(api, cloud.issuer),
            *unity_catalog_api.build_routes(cloud.state, cloud.issuer),
            *databricks_people_api.build_routes(jobs, cloud.issuer, cloud.faults),
            Route("/api/{rest:path}", build_endpoint(_no_such_api, cloud.issuer), methods=_METHODS),
            *run_page.build_routes(store, log_of),
            *experiment_page.build_routes(cloud.state),
        ],
        environment={"ADFML_DATABRICKS_HOST": cloud.url},
        start=engine.start,
        stop=engine.stop,
    )


def build_routes(api: JobsApi, issuer: TokenIssuer) -> list[Route]:
    """The routes of the Jobs API; every one demands a token for `RESOURCE`."""
    served = [
        ("POST", "/run-now", api.run_now),
        ("GET", "/runs/get", api.get_run),
        ("GET", "/runs/get-output", api.get_output),
        ("POST", "/runs/cancel", api.cancel_run),
        ("GET", "/runs/list", api.list_runs),
        ("GET", "/list", api.list_jobs),
        ("GET", "/get", api.get_job),
    ]
    return [Route(PREFIX + path, build_endpoint(handler, issuer), methods=[method]) for method, path, handler in served]


def _no_such_api(call: Call) -> dict[str, Any]:
    raise ApiError(404, "ENDPOINT_NOT_FOUND", f"No API found for '{call.method} {call.path}'")
