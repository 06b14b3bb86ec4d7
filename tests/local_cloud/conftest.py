"""A small bundle of tiny jobs, a local cloud that serves it, and the real SDK client that uses it."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from azure.identity import ManagedIdentityCredential
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config, CredentialsProvider, CredentialsStrategy
from databricks.sdk.service.jobs import Run

from local_cloud.process import LocalCloud

SCOPE = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d/.default"
TERMINAL = {"TERMINATED", "SKIPPED", "INTERNAL_ERROR"}

WORK = """
import argparse, json, os, pathlib, signal, subprocess, sys, time
reader = argparse.ArgumentParser()
reader.add_argument("--mode")
reader.add_argument("--journal")
reader.add_argument("--seconds", type=float)
reader.add_argument("--text")
reader.add_argument("--run-id")
given = reader.parse_args()
journal = pathlib.Path(given.journal) if given.journal else None
lines = 1
if journal:
    with journal.open("a") as out:
        out.write(f"{os.getpid()}\\n")
    lines = len(journal.read_text().splitlines())
print("text:", given.text)
print("run:", given.run_id)
print("limits:", os.environ["OMP_NUM_THREADS"], os.environ["MLFLOW_TRACKING_URI"])
if given.mode == "fail":
    try:
        json.loads("not json")
    except ValueError as error:
        try:
            raise RuntimeError("the model is not a model") from error
        except RuntimeError:
            import traceback
            traceback.print_exc()
        print("TrainingError: the training data is empty", file=sys.stderr)
        sys.exit(1)
if given.mode == "flaky" and lines < 3:
    raise ValueError(f"attempt {lines} fails")
if given.mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
if given.mode == "parent":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    with journal.open("a") as out:
        out.write(f"{child.pid}\\n")
while given.mode == "gate" and not journal.with_suffix(".open").exists():
    time.sleep(0.02)
time.sleep(given.seconds)
print("done", flush=True)
"""

TRAIN = """
import mlflow
mlflow.set_experiment("sales")
with mlflow.start_run() as run:
    mlflow.log_metric("mae", 1.5)
    mlflow.log_text("a model", "model/model.txt")
client = mlflow.MlflowClient()
for name in ("forecast", "main.ml.spend"):
    client.create_registered_model(name)
    versions = [client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id) for _ in range(2)]
client.set_registered_model_alias("forecast", "champion", versions[0].version)
champion = mlflow.MlflowClient().get_model_version_by_alias("forecast", "champion")
print("champion", champion.version, client.get_run(champion.run_id).data.metrics)
"""

PARAMETERS = {"mode": "ok", "journal": "", "seconds": "0", "text": "hello"}
COMMAND_LINE = [
    *[part for name in PARAMETERS for part in (f"--{name}", f"{{{{job.parameters.{name}}}}}")],
    "--run-id",
    "{{job.run_id}}",
]


def job(name: str, task: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """A job that runs work.py."""
    return {
        "name": name,
        "max_concurrent_runs": 30,
        "parameters": [{"name": key, "default": value} for key, value in PARAMETERS.items()],
        "tasks": [
            {
                "task_key": "main",
                "spark_python_task": {"python_file": "./work.py", "parameters": COMMAND_LINE},
                **(task or {}),
            }
        ],
        **settings,
    }


BUNDLE = {
    "bundle": {"name": "tests"},
    "resources": {
        "jobs": {
            "plain": job("plain"),
            "flaky": job("flaky", {"max_retries": 2, "min_retry_interval_millis": 250}),
            "single": job("single", max_concurrent_runs=1, queue={"enabled": True}),
            "picky": job("picky", max_concurrent_runs=1, queue={"enabled": False}),
            "hurried": job("hurried", {"max_retries": 5}, timeout_seconds=1),
            "strict": job("strict", {"timeout_seconds": 1, "max_retries": 3}),
            "impatient": job("impatient", {"timeout_seconds": 1, "retry_on_timeout": True, "max_retries": 1}),
            "train": {
                "name": "train",
                "tasks": [{"task_key": "train", "spark_python_task": {"python_file": "./train.py"}}],
            },
        }
    },
}


class LocalIdentity(CredentialsStrategy):
    """What a deployment has: azure-identity's managed identity as the SDK's credentials."""

    def auth_type(self) -> str:
        return "azure-managed-identity"

    def __call__(self, cfg: Config) -> CredentialsProvider:
        credential = ManagedIdentityCredential()
        return lambda: {"Authorization": f"Bearer {credential.get_token(SCOPE).token}"}


class Workspace:
    """The SDK client of one cloud, with what tests do over and over."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        with pytest.MonkeyPatch.context() as patch:
            for name, value in cloud.environment().items():
                patch.setenv(name, value)
            self.client = WorkspaceClient(host=cloud.url, credentials_strategy=LocalIdentity())
            self.client.config.authenticate()
        self.jobs = self.client.jobs
        # One for all requests, and without TLS: building a context costs more than most tests.
        self.http = httpx.Client(verify=False)  # noqa: S501
        self.ids = {found.settings.name: found.job_id for found in self.jobs.list()}

    def run(self, name: str, *, token: str | None = None, **parameters: Any) -> int:
        """Start a run: its id."""
        values = {key: str(value) for key, value in parameters.items()}
        started = self.jobs.run_now(self.ids[name], job_parameters=values, idempotency_token=token)
        return int(started.response.run_id)

    def wait(self, run_id: int, seconds: float = 15) -> Run:
        """The run when it has ended."""
        return self.wait_until(run_id, lambda run: state_of(run) in TERMINAL, seconds)

    def wait_until(self, run_id: int, reached: Callable[[Run], bool], seconds: float = 15) -> Run:
        """The run when it is as wished."""
        deadline = time.monotonic() + seconds
        while not reached(run := self.jobs.get_run(run_id)):
            assert time.monotonic() < deadline, f"not reached within {seconds} s: {run.state}"
            time.sleep(0.02)
        return run

    def wait_for_state(self, run_id: int, state: str) -> Run:
        """The run when it is in a life cycle state."""
        return self.wait_until(run_id, lambda run: state_of(run) == state)

    def local(self, method: str, path: str, **kwargs: Any) -> Any:
        """A request to the cloud's own switches."""
        answer = self.http.request(method, f"{self.cloud.url}/_local/{path}", **kwargs)
        assert answer.is_success, answer.text
        return answer.json()

    def order(self, **fault: Any) -> None:
        """Put a fault in force."""
        self.local("POST", "faults", json=fault)


def state_of(run: Run) -> str:
    """The life cycle state of a run."""
    return run.state.life_cycle_state.value


def lines(path: Path) -> list[str]:
    """The lines of a journal; none when it is not there yet."""
    return path.read_text().splitlines() if path.exists() else []


def running(journal: Path) -> list[int]:
    """Which of the processes in a journal still run."""
    found = []
    for pid in map(int, lines(journal)):
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
    return found


def wait_for(reached: Callable[[], Any], what: str, seconds: float = 10) -> Any:
    """Wait until something is truthy: that."""
    deadline = time.monotonic() + seconds
    while not (found := reached()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The path of the test bundle."""
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "work.py").write_text(WORK)
    (folder / "train.py").write_text(TRAIN)
    path = folder / "databricks.yml"
    path.write_text(yaml.safe_dump(BUNDLE))
    return path


@pytest.fixture(scope="session")
def shared(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """One cloud for all tests that leave it as they found it."""
    with LocalCloud(tmp_path_factory.mktemp("cloud"), bundle=bundle) as cloud:
        yield Workspace(cloud)


@dataclass(frozen=True)
class Registry:
    """The MLflow store of the shared cloud after a workload has registered models, read without MLflow, whose import
    costs more than most tests: `database` is its file, `log` what the workload printed."""

    database: Path
    log: str

    def aliases(self, model: str) -> dict[str, int]:
        """A model's aliases."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            found = connection.execute("SELECT alias, version FROM registered_model_aliases WHERE name = ?", (model,))
            return dict(found.fetchall())


@pytest.fixture(scope="session")
def registry(shared: Workspace) -> Registry:
    """Models `forecast` and `main.ml.spend`, two versions each, registered by a run of the job `train`."""
    run = shared.wait(shared.run("train"), seconds=120)
    log = shared.jobs.get_run_output(run.tasks[0].run_id).logs
    assert run.state.result_state.value == "SUCCESS", log
    uri = shared.cloud.environment()["MLFLOW_TRACKING_URI"]
    return Registry(Path(uri.removeprefix("sqlite:///")), log)


@pytest.fixture
def workspace(shared: Workspace) -> Iterator[Workspace]:
    """The shared cloud, without faults and with counts at zero."""
    shared.local("DELETE", "requests")
    yield shared
    shared.local("DELETE", "faults")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Where work.py writes a line for every time it is started."""
    return tmp_path / "journal.txt"
