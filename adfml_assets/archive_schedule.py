"""When a database is archived: today's partitions of all its tables, at a time of the day in any time zone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import dagster as dg

from resources.control import utc_now


def build_archive_schedule(
    database: str, assets: Sequence[dg.AssetsDefinition], cron: str, timezone: str
) -> dg.Definitions:
    """A schedule and its job over all archived tables of a database. The partition is the UTC day of the tick."""
    job = dg.define_asset_job(f"archive_{database}", selection=dg.AssetSelection.assets(*assets))

    @dg.schedule(
        name=f"archive_{database}",
        job=job,
        cron_schedule=cron,
        execution_timezone=timezone,
        description=f"Archives all tables of `{database}`: the day's snapshots and extracts.",
        default_status=dg.DefaultScheduleStatus.STOPPED,
    )
    def archive(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        tick = context.scheduled_execution_time or utc_now()
        # A full snapshot can only be taken now: a tick that comes late must not ask for the day that has passed.
        yield dg.RunRequest(run_key=tick.isoformat(), partition_key=f"{utc_now():%Y-%m-%d}")

    return dg.Definitions(jobs=[job], schedules=[archive])
