"""Dagster's processes, started in the background and stopped with everything they started."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from demo.home import PROJECT

STOP_SECONDS = 30.0


class ProcessFailed(Exception):
    """A process of the demo ended by itself."""

    def __init__(self, name: str, exit_code: int, log: Path) -> None:
        self.name = name
        self.exit_code = exit_code
        self.log = log
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        super().__init__(f"{name} ended with exit code {exit_code}. The end of {log}:\n{tail}")


@contextmanager
def run_in_background(
    name: str, command: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs while the block does; afterwards it and all its children are gone.

    Args:
        command: what follows this environment's `python -m`.
    """
    marker = log.with_suffix(".pid")
    _stop_left_over(marker)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=PROJECT,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_reset_signals,
        )
    try:
        marker.write_text(f"{process.pid} {psutil.Process(process.pid).create_time()}")
        yield process
    finally:
        stop_tree(process.pid)
        process.wait()
        marker.unlink(missing_ok=True)


def run_to_end(command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a command and wait for it; when this process is stopped meanwhile, it and all its children are gone too.

    Args:
        command: what follows this environment's `python -m`.
        seconds: how long it may take.

    Raises:
        subprocess.TimeoutExpired: it took longer.
    """
    arguments = [sys.executable, "-m", *command]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        arguments, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            output, errors = process.communicate(timeout=seconds)
        finally:
            stop_tree(process.pid)
    return subprocess.CompletedProcess(arguments, process.returncode, output, errors)


def require_alive(name: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Make sure a background process still runs.

    Raises:
        ProcessFailed: it ended.
    """
    code = process.poll()
    if code is not None:
        raise ProcessFailed(name, code, log)


def stop_tree(pid: int, seconds: float = STOP_SECONDS) -> None:
    """Ask a process and its children to end; what is left after a while is killed."""
    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    # The daemon stops its own code server; what it leaves is stopped here.
    _signal([root], signal.SIGTERM)
    psutil.wait_procs([root], timeout=seconds)
    left = psutil.wait_procs(family, timeout=3)[1]
    _signal(left, signal.SIGTERM)
    left = psutil.wait_procs(left, timeout=5)[1]
    _signal(left, signal.SIGKILL)
    psutil.wait_procs(left, timeout=5)


def _stop_left_over(marker: Path) -> None:
    """Stop what a demo that was killed has left: two daemons on one storage would do everything twice."""
    if not marker.is_file():
        return
    pid, _, created = marker.read_text().partition(" ")
    # The number alone may by now be somebody else's process.
    if pid and created and psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).create_time() == float(created):
        stop_tree(int(pid))
    marker.unlink(missing_ok=True)


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _reset_signals() -> None:
    # A shell's background job ignores SIGINT and so would everything it starts: Dagster could not be stopped.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
