"""Snapshots of the days before the demo, as a nightly archive would have left them: something to backfill from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg

from demo.home import DemoHome

RUN_ID = "demo-earlier-days"
NIGHT = timedelta(hours=5)
"""When the archive is taken, UTC: its schedule's hour."""

PERSONAL = {"Customers": ("Name",)}
"""As PL_SqlArchive_ForAnalysis declares it: in no sample."""


def archive_earlier_days(instance: dg.DagsterInstance, home: DemoHome, say: Callable[[str], None]) -> None:
    """Archive every table of the shop for each day from the demo's first one until yesterday; what is there stays.

    Nothing changes a shop but the demo itself, which begins with this: on each of those days it was what it is now.

    Raises:
        ResourceError: see `take_snapshot`.
    """
    from adfml_assets.archive.plan import ArchivePlan
    from adfml_assets.archive.run import closing_run
    from adfml_assets.archive.snapshot import take_snapshot
    from adfml_assets.archive.tables import SourceTable, TableRules
    from adfml_assets.archive_metadata import describe_archived
    from adfml_assets.asset_keys import archive_key
    from demo.shop_schema import shop_metadata
    from resources.control import ControlDatabase
    from resources.database import Databases
    from resources.lake import Lake

    first, today = datetime.fromisoformat(home.first_day).replace(tzinfo=UTC), datetime.now(UTC)
    nights = [first + timedelta(days=day) + NIGHT for day in range((today - first).days)]
    known = instance.get_materialized_partitions(archive_key("shop", "main", "Transactions"))
    nights = [night for night in nights if f"{night:%Y-%m-%d}" not in known]
    lake, plan = Lake(), ArchivePlan("shop", "full", {})
    if nights:
        say(f"Snapshots of {nights[0]:%Y-%m-%d} to {nights[-1]:%Y-%m-%d}, as an archive by night would have left them")
    for night in nights:
        day = f"{night:%Y-%m-%d}"
        with closing_run(plan.open_run(Databases(), lake, ControlDatabase(), now=night, run_id=RUN_ID)) as run:
            # Transactions last: what has them has all.
            for name in sorted(shop_metadata.tables, key=lambda name: name == "Transactions"):
                key = archive_key("shop", "main", name)
                source = SourceTable("shop", "main", name)
                rules = TableRules(personal=PERSONAL.get(name, ()))
                archived = take_snapshot(run, source, rules, day, asset=key.to_user_string())
                shown = describe_archived(lake, archived)
                instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=day, metadata=shown))
