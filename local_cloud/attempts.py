"""The folder of an attempt: what is handed to its supervisor and what comes back."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_cloud import supervisor
from local_cloud.clock import now_millis
from local_cloud.processes import (
    MARKER,
    ProcessIdentity,
    is_alive,
    kill_marked,
    own_identity,
    signal_group,
    workload_limits,
)
from local_cloud.state import StateFolder, write_atomically

STOP_GRACE_MILLIS = 2_000
"""How long a workload has between SIGTERM and SIGKILL."""


def new_id() -> int:
    """An id for an attempt: 15 random digits, as Databricks'. One of a state folder thrown away never comes back."""
    return 10**14 + secrets.randbelow(9 * 10**14)


@dataclass(frozen=True)
class Exit:
    """How a workload ended: its exit code (negative: killed by that signal)."""

    exit_code: int


@dataclass(frozen=True)
class Claim:
    """Who has taken an attempt, and when (epoch milliseconds). ``withdrawn``: nobody ever will run it."""

    owner: ProcessIdentity
    claimed_at: int
    withdrawn: bool


class AttemptFolders:
    """Starts, watches and stops attempts through their folders.

    Only files decide: which supervisor owns an attempt (``claim.json``) and how it ended (``result.json``). So a
    server that starts anew on the same state folder goes on where a killed one has stopped.
    """

    def __init__(self, state: StateFolder) -> None:
        """Create the view of a state folder; workloads use its MLflow store."""
        self._state = state
        self._environment = {**state.mlflow_environment(), **workload_limits()}
        self._supervisors: dict[int, subprocess.Popen[bytes]] = {}
        self._terminated: set[int] = set()

    def folder(self, attempt_id: int) -> Path:
        """The folder of an attempt."""
        return self._state.runs / str(attempt_id)

    def log(self, attempt_id: int) -> Path:
        """The log of an attempt: everything the workload wrote to stdout and stderr."""
        return self.folder(attempt_id) / "log.txt"

    def start(self, attempt_id: int, command: list[str]) -> bool:
        """Start a supervisor unless one of ours is on its way; False when ours has ended without claiming.

        A supervisor of an earlier server may be on its way too: the claim decides which of them runs the workload.
        """
        started = self._supervisors.get(attempt_id)
        if started is not None:
            return started.poll() is None or self.claim(attempt_id) is not None
        folder = self.folder(attempt_id)
        (folder / "work").mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "order.json", json.dumps({"command": command, "cwd": str(folder / "work")}))
        with (folder / "supervisor.log").open("ab") as log:
            self._supervisors[attempt_id] = subprocess.Popen(
                [sys.executable, "-I", supervisor.__file__, str(folder)],
                env={**os.environ, **self._environment, MARKER: str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return True

    def is_taken(self, attempt_id: int) -> bool:
        """Whether a supervisor of this server is on its way to it, or anybody has claimed it."""
        return attempt_id in self._supervisors or self.claim(attempt_id) is not None

    def claim(self, attempt_id: int) -> Claim | None:
        """Who has claimed the attempt; None: nobody yet."""
        found = _read(self.folder(attempt_id) / "claim.json")
        if found is None:
            return None
        return Claim(_identity(found), int(found["claimed_at"] * 1000), bool(found.get("withdrawn")))

    def withdraw(self, attempt_id: int) -> bool:
        """Claim the attempt so that no supervisor ever will; False when one was faster."""
        folder = self.folder(attempt_id)
        folder.mkdir(parents=True, exist_ok=True)
        me = own_identity()
        if supervisor.claim(folder, {"pid": me.pid, "created": me.created, "withdrawn": True}):
            self._reap(attempt_id)
            return True
        claim = self.claim(attempt_id)
        return claim is not None and claim.withdrawn

    def outcome(self, attempt_id: int) -> Exit | str | None:
        """How a claimed attempt ended: an `Exit`, the reason why it is lost, or None while it runs.

        What is left of a lost attempt is killed: no work goes on for a run that is reported as ended.
        """
        claim = self.claim(attempt_id)
        # Whether it is alive is asked first: a result written in between is then still found.
        alive = claim is not None and is_alive(claim.owner, str(self.folder(attempt_id)))
        result = _read(self.folder(attempt_id) / "result.json")
        if result is not None:
            self._reap(attempt_id)
            return Exit(int(result["exit_code"]))
        if alive:
            return None
        self._reap(attempt_id)
        killed = kill_marked(str(self.folder(attempt_id)))
        left = f", {len(killed)} of its processes had to be killed" if killed else ""
        return f"the process that ran it is gone without a result{left}"

    def signal(self, attempt_id: int, number: signal.Signals) -> bool:
        """Send a signal to the workload's process group; False while it is not yet known or when it is gone."""
        found = _read(self.folder(attempt_id) / "workload.json")
        return found is not None and signal_group(_identity(found), number, str(self.folder(attempt_id)))

    def stop(self, attempt_id: int, asked_at: int) -> None:
        """Have the workload end: SIGTERM, and SIGKILL when that was asked for too long ago (epoch milliseconds)."""
        if now_millis() - asked_at > STOP_GRACE_MILLIS:
            self.signal(attempt_id, signal.SIGKILL)
        # Once is enough: a second SIGTERM could cut short what the workload does on the first.
        elif attempt_id not in self._terminated and self.signal(attempt_id, signal.SIGTERM):
            self._terminated.add(attempt_id)

    def abandon(self, attempt_id: int) -> None:
        """See to it that nothing of an attempt runs, now or later."""
        self.folder(attempt_id).mkdir(parents=True, exist_ok=True)
        if not self.withdraw(attempt_id):
            kill_marked(str(self.folder(attempt_id)))
            self._reap(attempt_id)

    def supervisor_log(self, attempt_id: int) -> str:
        """What the supervisor itself had to say: empty unless it failed."""
        path = self.folder(attempt_id) / "supervisor.log"
        return path.read_text(encoding="utf-8", errors="replace").strip() if path.exists() else ""

    def _reap(self, attempt_id: int) -> None:
        started = self._supervisors.pop(attempt_id, None)
        if started is not None:
            # Its last file is written or it has lost the claim: what is left of it is leaving the interpreter.
            started.wait(timeout=10)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def _identity(found: Mapping[str, Any]) -> ProcessIdentity:
    return ProcessIdentity(int(found["pid"]), float(found["created"]))
