"""The services whose ticks are measured: how each gets many jobs that stay under way."""

from __future__ import annotations

import json
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
        build_request: what the ledger holds of a job, from its number and the local cloud's address.
        create: creates one job, and gives its remote id.
        set_up: what has to be there before the first job; its result goes to `create`.
    """

    name: str
    run_cloud: Callable[[Path], LocalCloud]
    build_client: Callable[[], RemoteService]
    audience: str
    build_request: Callable[[int, str], Mapping[str, Any]]
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
            requests=[self.build_request(number, cloud.url) for number in range(count)],
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


def _run_bare(folder: Path) -> LocalCloud:
    from local_cloud.process import LocalCloud

    return LocalCloud(folder / "cloud")


def _build_openai() -> RemoteService:
    from resources.lake import Lake
    from resources.openai_batch import OpenAIBatch

    return OpenAIBatch(lake=Lake())


def _upload_requests(client: httpx.Client) -> str:
    message = {"role": "user", "content": "How was it?"}
    body = {"model": "gpt-4o-mini", "messages": [message]}
    line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    files = {"file": ("requests.jsonl", json.dumps(line).encode())}
    answer = client.post("/openai/v1/files", data={"purpose": "batch"}, files=files)
    return str(answer.raise_for_status().json()["id"])


def _create_openai_batch(client: httpx.Client, job: RemoteJob, file_id: str) -> str:
    body: dict[str, Any] = {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    body["metadata"] = {"submission_key": job.remote_key}
    return str(client.post("/openai/v1/batches", json=body).raise_for_status().json()["id"])


def _build_azure_ml() -> RemoteService:
    from resources.azure_ml_batch import AzureMlBatch

    return AzureMlBatch()


def _build_azure_ml_request(number: int, url: str) -> dict[str, Any]:
    def literal(value: str) -> dict[str, str]:
        return {"JobInputType": "Literal", "Value": value}

    return {
        "scoring_uri": f"{url}/azureml/batch/adfml-scoring/jobs",
        "input_data": {
            "input_path": {"JobInputType": "UriFile", "Uri": "file:///nowhere/input.parquet"},
            "model_path": {"JobInputType": "UriFolder", "Uri": "file:///nowhere/model"},
            "model_name": literal("m"),
            "model_version": literal("1"),
            "model_alias": literal("champion"),
        },
        "output_data": {"output_path": {"JobOutputType": "UriFolder", "Uri": f"file:///nowhere/{number}"}},
        "submission_key_input": "submission_key",
    }


def _create_azure_ml_job(_client: httpx.Client, job: RemoteJob, service: Any) -> str:
    return str(service.submit(job).remote_id)


SERVICES: dict[str, BenchedService] = {
    "databricks": BenchedService(
        name="databricks",
        run_cloud=_run_databricks,
        build_client=_build_databricks,
        audience="2ff814a6-3304-4ab8-85cb-cd0e6f879c1d",
        build_request=lambda number, _url: {"job": _JOB, "parameters": {"number": str(number)}},
        set_up=_find_databricks_job,
        create=_create_databricks_run,
    ),
    "openai_batch": BenchedService(
        name="openai_batch",
        run_cloud=_run_bare,
        build_client=_build_openai,
        audience="https://cognitiveservices.azure.com",
        build_request=lambda number, _url: {"file": f"ml/none/{number}.jsonl"},
        set_up=_upload_requests,
        create=_create_openai_batch,
    ),
    "azure_ml_batch": BenchedService(
        name="azure_ml_batch",
        run_cloud=_run_bare,
        build_client=_build_azure_ml,
        audience="https://ml.azure.com",
        build_request=_build_azure_ml_request,
        set_up=lambda _client: _build_azure_ml(),
        create=_create_azure_ml_job,
    ),
}
