"""The local cloud as a process of its own: start it, attach to one that runs, stop it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

import psutil

from local_cloud.bundle import DEFAULT_BUNDLE
from local_cloud.errors import STATE_IN_USE_EXIT_CODE, StartError, StateInUseError, StopError
from local_cloud.processes import ProcessIdentity, is_alive
from local_cloud.state import StateFolder

Existing = Literal["attach", "replace", "fail"]
START_SECONDS = 30.0
STOP_SECONDS = 20.0
_LOG_TAIL_LINES = 40


class LocalCloud:
    """A local cloud on a state folder.

    As a context manager it starts the cloud and stops it on leaving, unless it found it running and attached to it.

        with LocalCloud("/tmp/cloud") as cloud:
            os.environ.update(cloud.environment())
    """

    def __init__(
        self,
        state: Path | str,
        *,
        bundle: Path | str = DEFAULT_BUNDLE,
        port: int = 0,
        existing: Existing = "attach",
        exit_with_parent: bool = True,
    ) -> None:
        """Describe the cloud; nothing is started yet.

        Args:
            state: The state folder; created where it is missing.
            bundle: The Databricks asset bundle with the jobs.
            port: The port of 127.0.0.1; 0: the one the folder had before, else any free one.
            existing: What to do when one runs on this folder: use it, stop it and start a new one, or raise.
            exit_with_parent: Whether the cloud stops by itself when this process is gone.
        """
        self._state = StateFolder.at(state)
        self._bundle = Path(bundle).resolve()
        self._port = port
        self._existing = existing
        self._exit_with_parent = exit_with_parent
        self._child: subprocess.Popen[bytes] | None = None
        self._address: dict[str, Any] | None = None

    def __enter__(self) -> Self:
        """Start the cloud, or attach to the running one."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the cloud if it was started here."""
        if self._child is not None:
            self.stop()

    @property
    def state(self) -> Path:
        """The state folder."""
        return self._state.root

    @property
    def url(self) -> str:
        """Where the cloud answers, as ``http://127.0.0.1:PORT``."""
        return str(self._known()["url"])

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return int(self._known()["pid"])

    @property
    def is_attached(self) -> bool:
        """Whether it was found running instead of started here."""
        return self._address is not None and self._child is None

    def environment(self) -> dict[str, str]:
        """The environment variables a client needs to use this cloud.

        The identity endpoint makes ``DefaultAzureCredential`` work; the MLflow variables point any MLflow client to
        the tracking store and registry the workloads use.
        """
        address = self._known()
        return {**address["environment"], **self._state.mlflow_environment()}

    def start(self) -> Self:
        """Start the cloud, or attach to the running one, and return when it answers.

        Raises:
            StateInUseError: one runs on this folder and ``existing`` is ``fail``.
            StartError: it did not come up; carries the tail of its log.
        """
        running = find_running(self._state)
        if running is not None:
            if self._existing == "fail":
                raise StateInUseError(self._state.root, f"process {running['pid']}")
            self._address = running
            if self._existing == "attach":
                return self
            self.stop()
        self._state.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        log_start = self._state.log.stat().st_size if self._state.log.exists() else 0
        with self._state.log.open("ab") as log:
            self._child = self._spawn(log)
        try:
            self._address = self._wait_until_ready(self._child, log_start)
        except BaseException:
            self._child.kill()
            self._child.wait()
            self._child = None
            raise
        if self._address["pid"] != self._child.pid:
            self._child = None
        return self

    def stop(self) -> None:
        """Stop the cloud, with every workload that runs; also one this object is only attached to.

        Raises:
            StopError: it had to be killed.
        """
        address, child = self._address, self._child
        self._address = self._child = None
        if address is None:
            return
        identity = _identity(address)
        if is_alive(identity):
            os.kill(identity.pid, signal.SIGTERM)
        stopped = _wait_for(lambda: not is_alive(identity), STOP_SECONDS)
        if not stopped:
            psutil.Process(identity.pid).kill()
        if child is not None:
            child.wait()
        if not stopped:
            raise StopError(self._state.root, identity.pid, STOP_SECONDS)

    def kill(self) -> None:
        """Kill the server alone, as a crash would: workloads go on, and the next start finds out about them."""
        identity = _identity(self._known())
        if is_alive(identity):
            os.kill(identity.pid, signal.SIGKILL)
        if self._child is not None:
            self._child.wait()
        _wait_for(lambda: not is_alive(identity), STOP_SECONDS)
        self._address = self._child = None

    def log_tail(self, lines: int = _LOG_TAIL_LINES) -> str:
        """The last lines of the server's log."""
        return _tail(self._state.log, 0, lines)

    def _known(self) -> dict[str, Any]:
        if self._address is None:
            raise RuntimeError(f"the local cloud on {self._state.root} is not started: call start() or use `with`")
        return self._address

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "local_cloud", "serve", "--state", str(self._state.root)]
        command += ["--port", str(self._port), "--bundle", str(self._bundle)]
        if self._exit_with_parent:
            command += ["--parent", str(os.getpid())]
        return subprocess.Popen(
            command,
            cwd=Path(__file__).resolve().parent.parent,  # where `-m local_cloud` finds this very package
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _wait_until_ready(self, child: subprocess.Popen[bytes], log_start: int) -> dict[str, Any]:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            address = find_running(self._state)
            ended = child.poll() is not None
            # Somebody else may have started one on this folder in the same moment.
            lost_race = ended and child.returncode == STATE_IN_USE_EXIT_CODE and self._existing == "attach"
            if address is not None and (address["pid"] == child.pid or lost_race):
                return address
            if ended and not lost_race:
                reason = f"it ended with exit code {child.returncode}"
                raise StartError(self._state.root, reason, _tail(self._state.log, log_start))
            time.sleep(0.02)
        raise StartError(self._state.root, f"no answer within {START_SECONDS:g} s", _tail(self._state.log, log_start))


def find_running(state: StateFolder) -> dict[str, Any] | None:
    """The address of the cloud that runs on a state folder; None for the address a dead one has left behind."""
    address = state.read_address()
    return address if address is not None and is_alive(_identity(address)) and _answers(address) else None


def _identity(address: dict[str, Any]) -> ProcessIdentity:
    return ProcessIdentity(int(address["pid"]), float(address["created"]))


def _answers(address: dict[str, Any]) -> bool:
    try:
        with urllib.request.urlopen(f"{address['url']}/_local/health", timeout=5) as answer:  # noqa: S310
            return f'"pid":{address["pid"]},' in answer.read().decode()
    except OSError:
        return False


def _wait_for(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _tail(path: Path, start: int, lines: int = _LOG_TAIL_LINES) -> str:
    if not path.exists():
        return "(there is no log)"
    with path.open("rb") as log:
        log.seek(max(start, log.seek(0, 2) - 100_000))
        text = log.read().decode("utf-8", errors="replace")
    return "\n".join(text.splitlines()[-lines:]) or "(the log is empty)"
