"""What may happen to one request, for every folder that puts each fault into each call: `Bench.order(**FAULTS[name])`.

A folder that needs another value (a wait that is longer, a delay beyond its own time-out) or has faults of its own
says so: `FAULTS | {"slow": {"kind": "delay", "seconds": 2.0}}`.
"""

from __future__ import annotations

from typing import Any

FAULTS: dict[str, dict[str, Any]] = {
    "429 with Retry-After": {"kind": "status", "code": 429, "retry_after": 1},
    "429 without": {"kind": "status", "code": 429},
    "500": {"kind": "status", "code": 500},
    "503": {"kind": "status", "code": 503},
    "reset": {"kind": "reset"},
    "lost answer": {"kind": "lost_answer"},
    "truncated": {"kind": "truncated"},
    "slow": {"kind": "delay", "seconds": 0.5},
}
"""The first seven keep an answer away; a slow one comes, unless nobody waits for it that long."""
