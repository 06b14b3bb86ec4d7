"""Full snapshots (PL_SqlArchive_ForAnalysis): a whole table as it is now, under today's date and no other."""

from __future__ import annotations

from datetime import datetime

from adfml_assets import lake_layout
from adfml_assets.archive.copying import Archived, SourceTable, Target, copy_rows
from adfml_assets.archive.reading import reflect_table
from adfml_assets.errors import PastSnapshot
from resources.database import Databases
from resources.lake import Lake
from resources.manifest import commit_manifest, read_manifest


def take_snapshot(
    lake: Lake, databases: Databases, source: SourceTable, day: str, *, asset: str, now: datetime, run_id: str
) -> Archived:
    """Copy a table as it is now to `snapshot_date=<day>`.

    Args:
        day: the partition, `YYYY-MM-DD`.
        now: the run's time, with zone; taken once a run.

    Raises:
        PastSnapshot: the day is not today (UTC) and has no snapshot.
        NotFound, UnsupportedColumn, UnexpectedValue, Unreachable: see there. Nothing is visible then.
    """
    folder = lake_layout.archive_folder(source.database, source.schema, source.table, day)
    today = now.strftime("%Y-%m-%d")
    if day != today:
        existing = read_manifest(lake, folder)
        if existing is None:
            raise PastSnapshot(source.full_name, day, today)
        return Archived(folder, existing, existing=True)
    path = f"{folder}/{lake_layout.snapshot_file(source.table, now)}"
    with databases.connect(source.database) as connection:
        table = reflect_table(connection, source.database, source.schema, source.table)
        target = Target(path, asset, day, now, run_id)
        manifest = copy_rows(lake, connection, table, table.select(), source, target)
    commit_manifest(lake, folder, manifest)
    return Archived(folder, manifest, existing=False)
