"""The time as the services of the local cloud note it."""

from __future__ import annotations

import time


def now_millis() -> int:
    """The time now, in milliseconds since the epoch (UTC)."""
    return time.time_ns() // 1_000_000
