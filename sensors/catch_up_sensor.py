"""What makes up for missed days: bounded, each at most once a day, and it says what it does not do, and why.

It knows no assets: what is missing, and what launches it, are handed to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg

from resources.control import utc_now
from sensors.switches import sensor_status

INTERVAL_SECONDS = 600
_SHOWN = 20


@dataclass(frozen=True)
class MissedDay:
    """A past day of which something is missing.

    Attributes:
        day: UTC, YYYY-MM-DD.
        makeable: how many partitions can be made so that they are true.
        left_out: lines that say what is not made, and why.
    """

    day: str
    makeable: int
    left_out: tuple[str, ...]


def build_catch_up_sensor(
    workflow: str,
    days: int,
    job: dg.JobDefinition,
    find: Callable[[dg.SensorEvaluationContext, Sequence[str]], Sequence[MissedDay]],
    build_config: Callable[[str], dict[str, object]],
) -> dg.SensorDefinition:
    """A sensor that has missed days made as far as they still can be.

    Args:
        workflow: its name.
        days: how many days back it looks; today is the schedule's.
        job: what launches a day.
        find: looks at days; it has the resources `lake` and `control`.
        build_config: from a day to the job's run config.
    """

    @dg.sensor(
        name=f"catch_up_of_{workflow}",
        job=job,
        description=f"Looks at the last {days} days for what `{workflow}` missed, has made what can still be made so "
        "that it is true, each day at most once a day, and says what cannot be, and why.",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=sensor_status(),
        required_resource_keys={"lake", "control"},
    )
    def catch_up(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        today = utc_now()
        back = [f"{today - timedelta(days=offset):%Y-%m-%d}" for offset in range(days, 0, -1)]
        found = find(context, back)
        left_out = [line for one in found for line in one.left_out]
        text = _describe(left_out)
        digest = hashlib.sha256("\n".join(left_out).encode()).hexdigest()[:16]
        if left_out and digest != context.cursor:
            context.log.warning("%s", text)
        requests = [
            # A key that was used is never launched again: whatever becomes of it, a day is tried once a day.
            dg.RunRequest(run_key=f"{workflow}|{one.day}|{today:%Y-%m-%d}", run_config=build_config(one.day))
            for one in found
            if one.makeable
        ]
        if not requests:
            context.update_cursor(digest)
            return dg.SkipReason(f"Nothing to make up for in the last {days} days. {text}".strip())
        return dg.SensorResult(run_requests=requests, cursor=digest)

    return catch_up


def _describe(left_out: Sequence[str]) -> str:
    if not left_out:
        return ""
    more = f"; and {len(left_out) - _SHOWN} more" if len(left_out) > _SHOWN else ""
    return f"Not made: {'; '.join(left_out[:_SHOWN])}{more}."
