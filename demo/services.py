"""What the demo needs running: the local cloud and Dagster's daemon."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.home import DemoHome
from demo.processes import require_alive, run_in_background
from local_cloud.process import LocalCloud

DAEMON = "Dagster's daemon"


@dataclass(frozen=True)
class Services:
    """The running services, and the environment in which their clients find them."""

    environment: Mapping[str, str]
    cloud: LocalCloud
    daemon: subprocess.Popen[bytes]
    daemon_log: Path

    def require_alive(self) -> None:
        """Make sure the daemon still runs.

        Raises:
            ProcessFailed: it ended by itself.
        """
        require_alive(DAEMON, self.daemon, self.daemon_log)


def make_storage() -> None:
    """Make Dagster's own tables before several processes want to: on SQLite the second of them would fail."""
    import dagster as dg

    with dg.DagsterInstance.get() as instance:
        instance.get_runs(limit=1)
        instance.all_asset_keys()
        instance.all_instigator_state()


@contextmanager
def run_services(home: DemoHome) -> Iterator[Services]:
    """The local cloud and Dagster's daemon, while the block runs; this process becomes a client of both."""
    with LocalCloud(home.cloud) as cloud:
        environment = {**home.environment(), **cloud.environment()}
        os.environ.update(environment)
        make_storage()
        log = home.logs / "daemon.log"
        with run_in_background(DAEMON, ["demo.daemon", "run", "-w", "workspace.yaml"], environment, log) as daemon:
            yield Services(environment, cloud, daemon, log)
