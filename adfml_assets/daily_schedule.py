"""A schedule that asks for one UTC day a tick, and its job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import dagster as dg

from resources.control import utc_now
from sensors.switches import schedule_status


def build_daily_schedule(
    name: str,
    selection: dg.AssetSelection,
    cron: str,
    timezone: str,
    description: str,
    choose_moment: Callable[[datetime], datetime],
) -> dg.Definitions:
    """A job over assets and its schedule of the same name; on in production, elsewhere when it is turned on.

    Args:
        choose_moment: from the time a tick was meant for to a moment of the day that is asked for.
    """
    job = dg.define_asset_job(name, selection=selection)

    @dg.schedule(
        name=name,
        job=job,
        cron_schedule=cron,
        execution_timezone=timezone,
        description=description,
        default_status=schedule_status(),
    )
    def ask(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        tick = context.scheduled_execution_time or utc_now()
        yield dg.RunRequest(run_key=tick.isoformat(), partition_key=f"{choose_moment(tick).astimezone(UTC):%Y-%m-%d}")

    return dg.Definitions(jobs=[job], schedules=[ask])
