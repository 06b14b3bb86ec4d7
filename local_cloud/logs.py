"""What a workload's log says: its end, its error, its traceback."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 5 * 1024 * 1024
"""The service returns the last 5 MB of a log."""

_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = re.compile(
    r"(During handling of the above exception, another exception occurred"
    r"|The above exception was the direct cause of the following exception):\s*$"
)


@dataclass(frozen=True)
class WorkloadLog:
    """The end of a log. ``error`` is its last line, ``trace`` everything from the last traceback on."""

    text: str
    truncated: bool
    error: str | None
    trace: str | None


def read_log(path: Path) -> WorkloadLog:
    """Read a log as far as the service would give it out; a log that is not there is empty."""
    if not path.exists():
        return WorkloadLog("", False, None, None)
    with path.open("rb") as log:
        size = log.seek(0, 2)
        log.seek(max(0, size - MAX_BYTES))
        text = log.read().decode("utf-8", errors="replace")
    lines = text.rstrip().splitlines()
    return WorkloadLog(text, size > MAX_BYTES, lines[-1].strip() if lines else None, _last_traceback(lines))


def _last_traceback(lines: list[str]) -> str | None:
    """The last traceback together with those it was raised from, which Python prints before it."""
    starts = [number for number, line in enumerate(lines) if line.strip() == _TRACEBACK]
    if not starts:
        return None
    start = starts.pop()
    while starts and any(_CHAINED.match(line) for line in lines[starts[-1] : start]):
        start = starts.pop()
    return "\n".join(lines[start:])
