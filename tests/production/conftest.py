"""A deployment as deploy/ has it: PostgreSQL, compute logs in Blob, a code location behind gRPC, Dagster's daemon."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from azure.storage.blob import ContainerClient

from demo.home import PROJECT
from demo.processes import require_alive, run_in_background
from tests.postgresql_server import RunningPostgresql, run_postgresql
from tests.production.azure_front import run_azure_front

DEPLOY = PROJECT / "deploy"


@dataclass
class Deployment:
    """A deployment that runs.

    Attributes:
        serve_code: the code location, for as long as a block lasts.
    """

    environment: dict[str, str]
    logs: ContainerClient
    daemon: subprocess.Popen[bytes]
    daemon_log: Path
    serve_code: Callable[[], AbstractContextManager[object]]
    code: ExitStack = field(default_factory=ExitStack)

    def start_code(self) -> None:
        self.code.enter_context(self.serve_code())

    def stop_code(self) -> None:
        self.code.close()

    def wait(self, what: str, done: Callable[[], Any], seconds: float = 120) -> Any:
        stop_at = time.monotonic() + seconds
        while not (found := done()):
            require_alive("daemon", self.daemon, self.daemon_log)
            assert time.monotonic() < stop_at, f"{what}: not within {seconds} s; {self.daemon_log.read_text()[-3000:]}"
            time.sleep(0.2)
        return found

    def list_logs(self, run_id: str) -> dict[str, str]:
        """What a run printed, by the end of the blob's name."""
        blobs = self.logs.list_blobs(name_starts_with=f"dagster/storage/{run_id}/")
        return {
            blob.name.rpartition(".")[2]: self.logs.download_blob(blob.name).readall().decode()
            for blob in blobs
            if blob.name.endswith((".out", ".err"))
        }


@pytest.fixture(scope="package")
def postgresql() -> Iterator[RunningPostgresql]:
    with run_postgresql() as server:
        yield server


@pytest.fixture(scope="package")
def deployment(postgresql: RunningPostgresql, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    (folder / "dagster.yaml").write_text((DEPLOY / "dagster.yaml").read_text())
    with ExitStack() as stack:
        front = stack.enter_context(run_azure_front(folder))
        url = stack.enter_context(postgresql.database())
        account = front.azurite.take_account()
        container = ContainerClient(
            account.url, "dagster-logs", credential=account.key, connection_verify=str(front.authority)
        )
        stack.enter_context(container)
        container.create_container()
        port = find_port()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("ADFML_", "DAGSTER_"))},
            **front.environment,
            "DAGSTER_HOME": str(folder),
            # Empty: libpq then takes PGHOST, the folder of the socket.
            "DAGSTER_PG_HOST": "",
            "PGHOST": str(url.query["host"]),
            "DAGSTER_PG_PORT": "5432",
            "DAGSTER_PG_DATABASE": str(url.database),
            "DAGSTER_PG_USERNAME": str(url.username),
            "DAGSTER_PG_PASSWORD": "not asked for on a socket",
            "ADFML_CONTROL_URL": url.render_as_string(hide_password=False),
            "ADFML_LOGS_ACCOUNT": account.name,
            "ADFML_LOGS_CONTAINER": "dagster-logs",
            "ADFML_CODE_HOST": "127.0.0.1",
            "ADFML_CODE_PORT": str(port),
        }
        # As a deployment does it: the tables before anything uses them.
        subprocess.run(
            [sys.executable, "-m", "dagster", "instance", "migrate"], env=environment, check=True, capture_output=True
        )
        code = ["dagster", "api", "grpc", "-h", "127.0.0.1", "-p", str(port), "-m", "tests.production.small_location"]
        daemon = ["demo.daemon", "run", "-w", str(DEPLOY / "workspace.yaml")]
        process = stack.enter_context(run_in_background("daemon", daemon, environment, folder / "daemon.log"))
        serve_code = partial(run_in_background, "code location", code, environment, folder / "code.log")
        found = Deployment(environment, container, process, folder / "daemon.log", serve_code)
        stack.callback(found.stop_code)
        found.start_code()
        yield found


@pytest.fixture
def instance(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The deployment's instance, in this process."""
    for name, value in deployment.environment.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as found:
        yield found


def find_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
