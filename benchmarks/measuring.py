"""Measuring one method in a process of its own, and printing what was found."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Measured:
    """What one run of a method cost; times begin after its warm-up.

    Attributes:
        seconds: wall time.
        cpu_seconds: user and system time of the process; a database server's is not in it.
        peak_mb: the largest resident size of the whole process, its imports and warm-up included.
        start_seconds: from the start of the process to the end of its warm-up.
        start_mb: the peak by then.
        facts: what the method says of itself: rows, paths of the files.
    """

    seconds: float
    cpu_seconds: float
    peak_mb: float
    start_seconds: float
    start_mb: float
    facts: dict[str, Any]


def run_apart(module: str, *arguments: str) -> Measured:
    """Run `python -m module <time> arguments...`, which must end with `report`.

    Raises:
        RuntimeError: it failed; with the end of what it said.
    """
    command = [sys.executable, "-m", module, repr(time.time()), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = "\n".join(done.stderr.strip().splitlines()[-15:])
        raise RuntimeError(f"{module} {' '.join(arguments)} ended with {done.returncode}:\n{said}")
    return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))


def report(started: str, warm_up: Callable[[], object], action: Callable[[], dict[str, Any]]) -> None:
    """Warm up, measure an action, and print the measurement as the process's last line.

    Args:
        started: the time at which the process was started, as `run_apart` hands it over.
    """
    warm_up()
    start_seconds, start_mb = time.time() - float(started), _read_peak()
    cpu, clock = _read_cpu(), time.monotonic()
    facts = action()
    seconds, cpu_seconds = time.monotonic() - clock, _read_cpu() - cpu
    print(json.dumps(asdict(Measured(seconds, cpu_seconds, _read_peak(), start_seconds, start_mb, facts))))


def _read_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _read_peak() -> float:
    # Linux hands getrusage's peak over from the process that started this one; the status file's is this one's alone.
    return read_peak_of("self") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def read_peak_of(process: str) -> float:
    """The largest resident size of a process so far, in MB, by its id or as `self`; 0 where the system has no /proc."""
    status = Path(f"/proc/{process}/status")
    if not status.is_file():
        return 0.0
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 2) -> None:
    """A table on the console: the first column is words, with ``words`` 2 the last one too; the others are figures."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index in (0, len(columns) - 1)[:words] else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    Console(width=150).print(table)
