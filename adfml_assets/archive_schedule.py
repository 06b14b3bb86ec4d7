"""When a database is archived, and when what is archived of it is checked: each at a time of the day in any zone."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from adfml_assets.daily_schedule import build_daily_schedule
from resources.control import utc_now
from sensors.switches import schedule_status


def build_archive_schedule(
    database: str, assets: Sequence[dg.AssetsDefinition], cron: str, timezone: str
) -> dg.Definitions:
    """A schedule and its job over all archived tables of a database. The partition is the UTC day of the tick.

    Checks are not part of it: they read everything again, and each costs more than the copy of a small table.
    """
    return build_daily_schedule(
        f"archive_{database}",
        dg.AssetSelection.assets(*assets).without_checks(),
        cron,
        timezone,
        f"Archives all tables of `{database}`: the day's snapshots and extracts.",
        # A full snapshot can only be taken now: a tick that comes late must not ask for the day that has passed.
        choose_moment=lambda tick: utc_now(),
    )


def build_check_schedule(
    database: str, checks: Sequence[dg.AssetChecksDefinition], cron: str, timezone: str
) -> dg.Definitions:
    """A schedule and its job over the checks that read the archive, and the source, again."""
    keys = [key for definition in checks for key in definition.check_keys]
    job = dg.define_asset_job(f"check_archive_{database}", selection=dg.AssetSelection.checks(*keys))
    schedule = dg.ScheduleDefinition(
        name=f"check_archive_{database}",
        job=job,
        cron_schedule=cron,
        execution_timezone=timezone,
        description=f"Checks what is archived of `{database}`: files, intervals, and the source's rows against them.",
        default_status=schedule_status(),
    )
    return dg.Definitions(jobs=[job], schedules=[schedule])
