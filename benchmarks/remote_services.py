"""The services whose ticks are measured: how each gets many jobs that stay under way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from local_cloud.process import LocalCloud
    from resources.remote_jobs import RemoteJob, RemoteService

_CONNECTIONS = 8
_JOB = "held"


@dataclass(frozen=True)
class BenchedService:
    """A service under measurement.

    Attributes:
        name: as in the ledger.
        run_cloud: a local cloud in a folder, not yet started.
        build_client: our client of the service.
        audience: the resource its tokens are for.
        build_request: what the ledger holds of a job.
        create: creates one job, and gives its remote id.
        set_up: what has to be there before the first job; its result goes to `create`.
    """

    name: str
    run_cloud: Callable[[Path], LocalCloud]
    build_client: Callable[[], RemoteService]
    audience: str
    build_request: Callable[[int], Mapping[str, Any]]
    set_up: Callable[[httpx.Client], Any]
    create: Callable[[httpx.Client, RemoteJob, Any], str]

    def create_jobs(self, cloud: LocalCloud, count: int) -> None:
        """Jobs that the local cloud holds, and their rows in the ledger."""
        import httpx

        from resources.control import ControlDatabase
        from resources.remote_jobs import RemoteRun

        httpx.post(f"{cloud.url}/_local/faults", json={"kind": "hold"}).raise_for_status()
        ledger = ControlDatabase().ledger
        jobs = ledger.open_jobs(
            asset=f"bench/{self.name}_job",
            collecting_asset=f"bench/{self.name}",
            partition="2026-01-01",
            service=self.name,
            requests=[self.build_request(number) for number in range(count)],
            deadline=timedelta(days=1),
            max_tries=1,
            run_id="bench",
        )
        headers = {"Authorization": f"Bearer {_get_token(cloud, self.audience)}"}
        limits = httpx.Limits(max_connections=_CONNECTIONS)
        with httpx.Client(base_url=cloud.url, headers=headers, limits=limits, timeout=60) as client:
            made = self.set_up(client)
            with ThreadPoolExecutor(_CONNECTIONS) as pool:
                ids = list(pool.map(lambda job: self.create(client, job, made), jobs))
        for job, remote_id in zip(jobs, ids, strict=True):
            ledger.record_submitted(job.submission_key, RemoteRun(remote_id, None))


def _get_token(cloud: LocalCloud, resource: str) -> str:
    import httpx

    environment = cloud.environment()
    answer = httpx.get(
        environment["IDENTITY_ENDPOINT"],
        params={"api-version": "2019-08-01", "resource": resource},
        headers={"x-identity-header": environment["IDENTITY_HEADER"]},
    )
    return str(answer.raise_for_status().json()["access_token"])


def _run_databricks(folder: Path) -> LocalCloud:
    import yaml

    from local_cloud.process import LocalCloud

    (folder / "work.py").write_text("")
    task = {"task_key": "main", "spark_python_task": {"python_file": "./work.py", "parameters": []}}
    parameters = [{"name": "submission_key", "default": ""}]
    job = {"name": _JOB, "max_concurrent_runs": 1, "parameters": parameters, "tasks": [task]}
    bundle = {"bundle": {"name": "bench"}, "resources": {"jobs": {_JOB: job}}}
    (folder / "databricks.yml").write_text(yaml.safe_dump(bundle))
    return LocalCloud(folder / "cloud", bundle=folder / "databricks.yml")


def _find_databricks_job(client: httpx.Client) -> int:
    answer = client.get("/api/2.2/jobs/list", params={"name": _JOB}).raise_for_status()
    return int(answer.json()["jobs"][0]["job_id"])


def _create_databricks_run(client: httpx.Client, job: RemoteJob, job_id: int) -> str:
    parameters = {"submission_key": job.remote_key}
    body = {"job_id": job_id, "job_parameters": parameters, "idempotency_token": job.token, "queue": {"enabled": True}}
    return str(client.post("/api/2.2/jobs/run-now", json=body).raise_for_status().json()["run_id"])


def _build_databricks() -> RemoteService:
    from resources.databricks import Databricks

    return Databricks()


SERVICES: dict[str, BenchedService] = {
    "databricks": BenchedService(
        name="databricks",
        run_cloud=_run_databricks,
        build_client=_build_databricks,
        audience="2ff814a6-3304-4ab8-85cb-cd0e6f879c1d",
        build_request=lambda number: {"job": _JOB, "parameters": {"number": str(number)}},
        set_up=_find_databricks_job,
        create=_create_databricks_run,
    ),
}
