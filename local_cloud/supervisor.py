"""Runs one attempt of a workload and writes down how it ended, whatever becomes of the server meanwhile.

Started as a script with the attempt's folder, in a session of its own. It reads ``order.json``, claims the attempt
(only one claim can ever succeed, so two supervisors never run one attempt), starts the workload in a session of its
own with its output in ``log.txt``, writes ``workload.json``, waits, and writes ``result.json``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import psutil


def run(folder: Path) -> int:
    """Run the attempt in a folder; 0 also when another supervisor has claimed it already."""
    _restore_signals()
    order = json.loads((folder / "order.json").read_text(encoding="utf-8"))
    if not claim(folder, _identity(os.getpid())):
        return 0
    with (folder / "log.txt").open("ab") as log:
        try:
            workload = subprocess.Popen(
                order["command"],
                cwd=order["cwd"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            log.write(f"The workload could not be started: {error}\n".encode())
            _write(folder / "result.json", {"exit_code": 127, "ended_at": time.time()})
            return 0
    _forward_termination(workload)
    _write(folder / "workload.json", _identity(workload.pid))
    exit_code = workload.wait()
    # Processes the workload left behind in its group must not outlive it.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(workload.pid, signal.SIGKILL)
    _write(folder / "result.json", {"exit_code": exit_code, "ended_at": time.time()})
    return 0


def claim(folder: Path, owner: dict[str, Any]) -> bool:
    """Claim an attempt, whole or not at all; False when it is claimed already."""
    prepared = folder / f"claim.{os.getpid()}.tmp"
    prepared.write_text(json.dumps({**owner, "claimed_at": time.time()}), encoding="utf-8")
    try:
        os.link(prepared, folder / "claim.json")
    except FileExistsError:
        return False
    finally:
        prepared.unlink()
    return True


def _restore_signals() -> None:
    # A shell's background job passes SIGINT on as ignored, and the workload would inherit it.
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def _forward_termination(workload: subprocess.Popen[bytes]) -> None:
    def forward(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(workload.pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, forward)


def _identity(pid: int) -> dict[str, Any]:
    try:
        return {"pid": pid, "created": psutil.Process(pid).create_time()}
    except psutil.NoSuchProcess:
        return {"pid": pid, "created": 0.0}


def _write(path: Path, value: dict[str, Any]) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1])))
