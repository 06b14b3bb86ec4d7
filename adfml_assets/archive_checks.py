"""Asset checks over archived tables that are run apart from the copying: on demand, or by a schedule."""

import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from adfml_assets.archive.partitions_in_lake import TablePartition, list_increments, list_snapshots
from adfml_assets.archive.plan import ArchivePlan, PlannedTable
from adfml_assets.archive.reconciling import reconcile
from adfml_assets.archive.run import ArchiveRun, closing_run
from adfml_assets.archive.schema_change import compare_columns
from adfml_assets.archive.verifying import find_unreadable, recount_intervals
from adfml_assets.errors import AdfmlError
from adfml_assets.failures import tell_failures
from resources.control import utc_now
from resources.errors import ResourceError
from resources.lake import Lake

# Dagster 1.13 builds checks with resources through a parameter of its own that it calls beta.
warnings.filterwarnings("ignore", message="Parameter `execution_type`", category=dg.BetaWarning)

_DESCRIPTIONS = {
    "complete": "The latest partition has as many rows as the source counted when it was read.",
    "schema": "The columns are those of the partition before: added ones warn, removed or retyped ones fail.",
    "readable": "The latest partition's files are there, are Parquet, and have the manifest's size, rows and hash.",
    "fresh": "The latest partition is not older than declared.",
    "contiguous": "The watermark intervals meet: no row is between two of them, none is in two.",
    "punctual": "The latest intervals, counted again at the source, have no more rows than were archived.",
    "reconciled": "Every key at the source is archived; counts and key sums are equal by day. Deletes are reported.",
}


def build_archive_checks(plan: ArchivePlan, fresh_within_hours: float) -> dg.AssetChecksDefinition:
    """The checks of every table of a plan as one subsettable step.

    Args:
        fresh_within_hours: how old the latest partition may be.
    """
    names = ["complete", "schema", "readable", "fresh"]
    if plan.mode == "incremental":
        names += ["contiguous", "punctual", "reconciled"]
    specs = [
        dg.AssetCheckSpec(name, asset=key, description=_DESCRIPTIONS[name]) for key in plan.tables for name in names
    ]

    @dg.multi_asset_check(
        name=f"checks_of_{plan.name}",
        specs=specs,
        can_subset=True,
        required_resource_keys={"databases", "lake", "control"},
    )
    @tell_failures
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        resources = context.op_execution_context.resources
        lake: Lake = resources.lake
        opened = plan.open_run(
            resources.databases, lake, resources.control, now=utc_now(), run_id=context.op_execution_context.run_id
        )
        with closing_run(opened) as run:
            wanted = context.selected_asset_check_keys
            for key in sorted({check.asset_key for check in wanted}):
                for check in sorted(check.name for check in wanted if check.asset_key == key):
                    passed, warn, metadata = _run_check(check, plan, plan.tables[key], run, fresh_within_hours)
                    severity = dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR
                    yield dg.AssetCheckResult(
                        asset_key=key, check_name=check, passed=passed, severity=severity, metadata=metadata
                    )

    return checks


Outcome = tuple[bool, bool, dict[str, Any]]
"""(passed, whether a failure is only a warning, metadata)."""


def _run_check(name: str, plan: ArchivePlan, table: PlannedTable, run: ArchiveRun, hours: float) -> Outcome:
    listing = list_snapshots if plan.mode == "full" else list_increments
    partitions = listing(run.lake, table.source)
    if not partitions:
        return False, True, {"reason": "nothing of this table is archived yet"}
    run_check: dict[str, Callable[[], Outcome]] = {
        "complete": lambda: _check_complete(run, partitions[-1]),
        "schema": lambda: _check_schema(run, partitions[-2:]),
        "readable": lambda: _check_readable(run, partitions[-1]),
        "fresh": lambda: _check_fresh(run, partitions[-1], hours),
        "contiguous": lambda: _check_contiguous(run, table),
        "punctual": lambda: _check_punctual(run, table, partitions),
        "reconciled": lambda: _check_reconciled(run, table, partitions[-1].day),
    }
    try:
        return run_check[name]()
    except (AdfmlError, ResourceError, FileNotFoundError) as error:
        # One table's trouble is that check's own failure: the other tables are still checked.
        return False, False, {"error": str(error)}


def _check_complete(run: ArchiveRun, partition: TablePartition) -> Outcome:
    manifest = partition.read(run.lake)
    at_source = manifest.facts.get("rows_at_source", manifest.rows)
    # Where reading and counting could not see one state, a difference may be a writer's work; elsewhere the copy
    # would have failed.
    return (
        manifest.rows == at_source,
        not manifest.source.get("snapshot", {}).get("one_state"),
        {"partition": partition.day, "rows": manifest.rows, "rows_at_source": int(at_source)},
    )


def _check_schema(run: ArchiveRun, partitions: list[TablePartition]) -> Outcome:
    columns = [{c.name: c.type for c in partition.read(run.lake).columns} for partition in partitions]
    change = compare_columns(columns[0], columns[-1])
    metadata: dict[str, Any] = {"partitions": ", ".join(partition.day for partition in partitions)}
    if change:
        metadata["difference"] = dg.MetadataValue.md(f"```diff\n{change.describe()}\n```")
    return not change, not change.breaks, metadata


def _check_readable(run: ArchiveRun, partition: TablePartition) -> Outcome:
    problems = find_unreadable(run.lake, partition)
    metadata: dict[str, Any] = {"partition": partition.day}
    if problems:
        metadata["problems"] = dg.MetadataValue.md("\n".join(f"- {problem}" for problem in problems))
    return not problems, False, metadata


def _check_fresh(run: ArchiveRun, partition: TablePartition, hours: float) -> Outcome:
    written = partition.read(run.lake).written_at.astimezone(UTC)
    age = datetime.now(UTC) - written
    return (
        age <= timedelta(hours=hours),
        False,
        {"partition": partition.day, "hours": round(age.total_seconds() / 3600, 2), "allowed_hours": hours},
    )


def _check_contiguous(run: ArchiveRun, table: PlannedTable) -> Outcome:
    gaps = run.intervals.find_gaps(table.source.full_name)
    count = len(run.intervals.list_all(table.source.full_name))
    metadata: dict[str, Any] = {"intervals": count}
    if gaps:
        metadata["gaps"] = dg.MetadataValue.md("\n".join(f"- {gap.describe()}" for gap in gaps))
    return not gaps, False, metadata


def _check_punctual(run: ArchiveRun, table: PlannedTable, partitions: list[TablePartition]) -> Outcome:
    intervals = run.intervals.list_all(table.source.full_name)
    folders = {partition.day: partition for partition in partitions}
    counts = run.read(
        lambda snapshot: recount_intervals(run.lake, snapshot, table.source, table.rules, intervals, folders)
    )
    late = [count for count in counts if count.at_source > count.archived]
    lines = "\n".join(f"| {c.interval.partition} | {c.at_source} | {c.archived} |" for c in counts)
    metadata: dict[str, Any] = {
        "intervals": dg.MetadataValue.md(f"| partition | rows at the source | archived |\n|---|---|---|\n{lines}")
    }
    if late:
        days = ", ".join(count.interval.partition for count in late)
        metadata["what_to_do"] = f"Materialise {days} again, and give the table a `lag_seconds` above its commit times."
    return not late, False, metadata


def _check_reconciled(run: ArchiveRun, table: PlannedTable, day: str) -> Outcome:
    found = run.read(lambda snapshot: reconcile(run.lake, snapshot, table.source, table.rules, day))
    metadata: dict[str, Any] = {
        "rows_at_source": found.rows_at_source,
        "rows_archived": found.rows_archived,
        "missing": found.missing,
        "deleted_at_source": found.deleted,
    }
    if found.days:
        lines = "\n".join(f"| {day} | {source} | {archived} |" for day, source, archived in found.days)
        metadata["days_that_differ"] = dg.MetadataValue.md(
            f"| day | rows at the source | archived |\n|---|---|---|\n{lines}"
        )
    # Deletes leave no trace in a watermark: they are told, and the next full snapshot settles them.
    return not found.missing and not found.deleted, not found.missing, metadata
