"""Compute logs of old runs, in a folder or in Blob: Dagster's own manager deletes them; the run's records stay."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg

REMOVED_TAG = "adfml/logs_removed"
_PAGE = 500


def list_old_runs(instance: dg.DagsterInstance, before: datetime) -> Iterator[str]:
    """Ids of runs that ended before a time and whose logs are still there."""
    import dagster as dg
    from dagster._core.storage.dagster_run import FINISHED_STATUSES

    cursor = None
    while True:
        filters = dg.RunsFilter(statuses=list(FINISHED_STATUSES), updated_before=before)
        runs = instance.get_runs(filters, cursor=cursor, limit=_PAGE)
        yield from (run.run_id for run in runs if REMOVED_TAG not in run.tags)
        if len(runs) < _PAGE:
            return
        cursor = runs[-1].run_id


def delete_logs(instance: dg.DagsterInstance, run_id: str, now: datetime) -> None:
    """Delete what a run printed, and note it on the run: after a crash in between it is simply done again."""
    instance.compute_log_manager.delete_logs(prefix=[run_id, "compute_logs"])
    instance.add_run_tags(run_id, {REMOVED_TAG: f"{now:%Y-%m-%d}"})
