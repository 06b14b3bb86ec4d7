"""Removing a partition: its manifest first, so that no part of it is seen as whole; its files; then Dagster is told.

An intent is in the control database before anything is deleted. Whoever runs retention next ends what was begun.

Dagster's materialisation of the partition stays, and an observation says that it was removed and by which rule: that
it was made, of how many rows and from what, stays true, and the row counts over time are drawn from it. To wipe it
would make the day look missed, and catch-up and automation would make again what was just removed; of a single
partition Dagster's own storages cannot wipe it anyway.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from adfml_assets.retention.plan import Going
from resources.control import utc_now
from resources.manifest import FILE_NAME, Manifest, read_manifest

if TYPE_CHECKING:
    import dagster as dg

    from resources.control import ControlDatabase
    from resources.lake import Lake
    from resources.removals import Removal

RUN_ID = "retention"
_FILE_CLOCK_SECONDS = 0.02
"""How far the clock that files are stamped by may be behind: what is written from now on is later than the intent."""


def finish_removals(lake: Lake, control: ControlDatabase, instance: dg.DagsterInstance) -> list[Removal]:
    """End what an earlier retention began and did not end. Returns what is gone."""
    return [removal for removal in control.removals.list_unended() if _carry_out(lake, control, instance, removal)]


def remove_partitions(
    lake: Lake, control: ControlDatabase, instance: dg.DagsterInstance, going: Iterable[Going]
) -> Iterator[Removal]:
    """Remove partitions, one after the other; yields each that is gone.

    Raises:
        Corrupt: a manifest cannot be read.
        ResourceError: the lake or the control database does not answer; the next retention goes on where this ended.
    """
    for one in going:
        manifest = read_manifest(lake, one.folder)
        if manifest is None:
            continue  # somebody else has removed it since it was listed
        removal = control.removals.intend(one.asset, one.day, one.folder, one.reason, manifest.model_dump_json())
        time.sleep(_FILE_CLOCK_SECONDS)
        if _carry_out(lake, control, instance, removal):
            yield removal


def _carry_out(lake: Lake, control: ControlDatabase, instance: dg.DagsterInstance, removal: Removal) -> bool:
    """One removal, from wherever it got to. False: the partition was made again, and stays."""
    if removal.removed_at is None:
        if not _hide(lake, control, removal):
            control.removals.withdraw(removal)
            return False
        for path in lake.list_files(removal.folder, before=removal.intended_at):
            lake.delete(path)
        control.removals.mark_removed(removal)
    _report(instance, removal)
    control.removals.mark_reported(removal)
    return True


def _hide(lake: Lake, control: ControlDatabase, removal: Removal) -> bool:
    """Delete the manifest, unless it is another one by now."""
    standing = read_manifest(lake, removal.folder)
    if standing is None:
        return True
    if standing.model_dump_json() != removal.manifest:
        return False
    path = f"{removal.folder}/{FILE_NAME}"
    claims = control.claims
    if not claims.is_known(removal.asset, removal.partition):
        lake.delete(path)
        return True
    claim = claims.take(removal.asset, removal.partition, utc_now(), RUN_ID)
    return claims.commit(claim, lambda: lake.delete(path))


def _report(instance: dg.DagsterInstance, removal: Removal) -> None:
    import dagster as dg

    manifest = Manifest.model_validate_json(removal.manifest)
    instance.report_runless_asset_event(
        dg.AssetObservation(
            dg.AssetKey.from_user_string(removal.asset),
            partition=removal.partition,
            description=f"Removed by retention: {removal.reason}.",
            metadata={
                "retention/removed": True,
                "retention/rule": removal.reason,
                "retention/rows": manifest.rows,
                "retention/bytes": manifest.bytes,
                "retention/written_by": manifest.run_id,
            },
        )
    )
