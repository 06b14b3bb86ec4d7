"""Full snapshots (PL_SqlArchive_ForAnalysis): a whole table as it was on the partition's day, and on no other."""

from __future__ import annotations

from adfml_assets import lake_layout
from adfml_assets.archive.copying import Archived, Target, archive_rows, build_query
from adfml_assets.archive.past import find_past
from adfml_assets.archive.run import ArchiveRun
from adfml_assets.archive.tables import SourceTable, TableRules
from adfml_assets.errors import PastSnapshot
from resources.manifest import read_manifest
from resources.servers.base import Snapshot


def take_snapshot(run: ArchiveRun, source: SourceTable, rules: TableRules, day: str, *, asset: str) -> Archived:
    """Copy a table as it is now to `snapshot_date=<day>`.

    Args:
        day: the partition, `YYYY-MM-DD`.
        asset: the asset's key, slash-separated.

    Raises:
        PastSnapshot: the day is not today (UTC), has no snapshot, and the table does not keep its past itself.
        NotFound, NotPermitted, UnsupportedColumn, UnexpectedValue, ConnectionLost, Unreachable: nothing is visible.
    """
    folder = lake_layout.archive_folder(source.database, source.schema, source.table, day)
    past = day != run.today
    if past and (existing := read_manifest(run.lake, folder)) is not None:
        return Archived(folder, existing, existing=True)
    if past and (day > run.today or run.server.kind != "mssql"):
        raise PastSnapshot(source.full_name, day, run.today)
    claim = run.claims.take(asset, day, run.now, run.run_id)
    target = Target(folder, lake_layout.snapshot_file, claim)

    def copy(snapshot: Snapshot) -> Archived:
        if past:
            snapshot = _require_past(snapshot, source, rules, day, run.today)
        query = build_query(snapshot, source, rules)
        return archive_rows(run, snapshot, query, source, rules, target)

    return run.read(copy)


def _require_past(snapshot: Snapshot, source: SourceTable, rules: TableRules, day: str, today: str) -> Snapshot:
    """The table at the end of a past day, where it keeps its past and has rows of then.

    A server says nothing where its history begins later or was cleared: an empty state may be no state at all.
    """
    state = find_past(snapshot, source, day)
    if state is None or state.count(build_query(state, source, rules)) == 0:
        raise PastSnapshot(source.full_name, day, today)
    return state
