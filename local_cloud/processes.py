"""Processes the local cloud has started, or an earlier one did: alive or not, and how to end them."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass

import psutil

MARKER = "ADFML_LOCAL_CLOUD_ATTEMPT"
"""The environment variable every process of an attempt carries: the attempt's folder."""

_CLOCK_TOLERANCE_SECONDS = 2.0
"""A create time is read from the boot time, which moves when the system clock is set."""


@dataclass(frozen=True)
class ProcessIdentity:
    """A process beyond the reuse of its id: ``created`` in seconds since the epoch."""

    pid: int
    created: float


def own_identity() -> ProcessIdentity:
    """The identity of this process."""
    return ProcessIdentity(os.getpid(), psutil.Process().create_time())


def is_alive(identity: ProcessIdentity, marker: str | None = None) -> bool:
    """Whether exactly this process still runs; a zombie does not.

    Args:
        identity: The process as it was recorded.
        marker: What it carries in `MARKER`, as a second proof where the clock has been set since.
    """
    try:
        process = psutil.Process(identity.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if abs(process.create_time() - identity.created) < _CLOCK_TOLERANCE_SECONDS:
            return True
        return marker is not None and process.environ().get(MARKER) == marker
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def signal_group(leader: ProcessIdentity, number: signal.Signals, marker: str) -> bool:
    """Send a signal to the process group of a leader that still runs; False when it does not run any more."""
    if not is_alive(leader, marker):
        return False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader.pid, number)
    return True


def kill_marked(marker: str) -> list[int]:
    """Kill every process that carries a marker, and say which: what is left of an attempt without its supervisor."""
    killed = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if process.environ().get(MARKER) == marker:
                process.kill()
                killed.append(process.pid)
    return killed


def workload_limits() -> dict[str, str]:
    """Environment variables that keep a workload's numeric libraries to half of the machine."""
    threads = str(max(1, (os.cpu_count() or 2) // 2))
    limited = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    kept = {name: os.environ.get(name, threads) for name in limited}
    return {**kept, "PYTHONUNBUFFERED": "1"}
