"""Archived tables as Dagster assets: one subsettable multi-asset a database and mode, its tables copied on threads."""

from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime
from typing import Any

import dagster as dg

from adfml_assets.about import About, extend_options, find_database_kind
from adfml_assets.archive.copying import Archived
from adfml_assets.archive.increment import take_increment
from adfml_assets.archive.plan import ArchivePlan, PlannedTable
from adfml_assets.archive.run import ArchiveRun, closing_run
from adfml_assets.archive.snapshot import take_snapshot
from adfml_assets.archive_metadata import describe_archived
from adfml_assets.errors import NameCollision
from adfml_assets.failures import describe_help, tell_failures
from adfml_assets.new_tables import archive_new_tables
from adfml_assets.partitions import build_daily_partitions
from adfml_assets.past_days import COVERED_TAGS, TODAY_ONLY_TAGS
from resources.control import ControlDatabase, utc_now
from resources.lake import Lake
from resources.pools import name_database_pool

PROGRESS_SECONDS = 15.0
"""How often a run says how far its long copies are."""

RESOURCES = {"databases", "lake", "control", "completion_log"}


def build_archive_assets(plan: ArchivePlan) -> dg.AssetsDefinition:
    """The assets of a plan: a table that fails leaves the others done."""

    @dg.multi_asset(
        name=plan.name,
        specs=[_build_spec(plan, key, table) for key, table in plan.tables.items()],
        can_subset=True,
        partitions_def=build_daily_partitions(),
        required_resource_keys=RESOURCES,
        pool=name_database_pool(plan.database),
    )
    @tell_failures
    def archived_tables(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
        yield from _archive(plan, context)

    return archived_tables


def _build_spec(plan: ArchivePlan, key: dg.AssetKey, table: PlannedTable) -> dg.AssetSpec:
    name = table.source.full_name
    watermark = table.rules.watermark.column if table.rules.watermark else "none"
    about = _describe_snapshots(name) if plan.mode == "full" else _describe_extracts(name, watermark)
    return dg.AssetSpec(
        key,
        group_name="archive" if plan.mode == "full" else "incremental",
        kinds={find_database_kind(plan.database), "parquet"},
        owners=list(plan.owners),
        **extend_options(
            about.build_options(plan.adf_pipeline),
            tags=TODAY_ONLY_TAGS if plan.mode == "full" else COVERED_TAGS,
            metadata={"source": name, "watermark": watermark},
        ),
    )


def _describe_snapshots(name: str) -> About:
    return About(
        what=f"All rows of `{name}` as they were on the day, one snapshot a day.",
        partition="a UTC day, `snapshot_date` in the lake: the whole table at the moment it was read.",
        materialising="copies the table as it is now, in one consistent state, to Parquet with a manifest; today's "
        "snapshot is replaced, a past day's is never made of today's rows. New columns are archived as they come.",
        failing="leaves nothing of the partition visible, and the other tables of the run archived: the run's error "
        "names the table, the cause and what to do. A past day that was not archived cannot be any more.",
        activity="Copy activity `ArchiveTableToParquet` in `ForEach_ArchiveTable`",
    )


def _describe_extracts(name: str, watermark: str) -> About:
    return About(
        what=f"The rows of `{name}` that were added or changed since the last extract, by `{watermark}`.",
        partition="a UTC day: the interval of watermarks that was recorded on it. A day that was missed is in the next "
        "one's interval.",
        materialising="records the interval up to the largest watermark there is, then reads it: none overlaps, none "
        "is missing. A past day reads its recorded interval again; without "
        "one it fails: its rows are in a later day.",
        failing="loses no row: the interval stays recorded, and materialising the day again reads it. Where the "
        "watermark went back, take a full snapshot.",
        activity="Lookup activities `GetLastWatermark` and `GetCurrentWatermark`, Copy activity "
        "`CopyIncrementalToStorage`, `UpdateWatermark`",
    )


def _archive(plan: ArchivePlan, context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[None]]:
    lake: Lake = context.resources.lake
    control: ControlDatabase = context.resources.control
    now, day = utc_now(), context.partition_key
    failures: dict[str, Exception] = {}
    selected = {key: plan.tables[key] for key in sorted(context.selected_asset_keys)}
    with closing_run(plan.open_run(context.resources.databases, lake, control, now=now, run_id=context.run_id)) as run:
        for key, outcome in _copy_all(plan, run, selected, day, context):
            name = selected[key].source.full_name
            if isinstance(outcome, Exception):
                context.log.error("%s: %s", name, outcome)
                failures[name] = outcome
            else:
                yield _build_result(context, lake, key, outcome)
        if plan.adds_new_tables and len(selected) == len(plan.tables) and day == run.today:
            failures |= archive_new_tables(plan, run, context)
    if failures:
        raise dg.Failure(
            describe_failures(failures, len(selected)),
            metadata=describe_help(failures.values()),
            allow_retries=False,
        )
    _post_completion(plan, context, len(selected), now)


def describe_failures(failures: Mapping[str, Exception], tables: int) -> str:
    """What a run says at its end of the tables that it did not archive, each with its error.

    Args:
        failures: by the table's full name.
        tables: how many were to be archived.
    """
    lines = []
    for name, error in sorted(failures.items()):
        text = str(error)
        # Most errors begin with the table's name.
        lines.append(text if text.startswith(name) else f"{name}: {text}")
    if len(lines) == 1 and tables == 1:
        return f"Not archived. {lines[0]}"
    others = "; the others are" if len(failures) < tables else ""
    listed = "\n".join(f"- {line}" for line in lines)
    return f"{len(failures)} of {tables} tables were not archived{others}.\n{listed}"


def _copy_all(
    plan: ArchivePlan,
    run: ArchiveRun,
    tables: Mapping[dg.AssetKey, PlannedTable],
    day: str,
    context: dg.AssetExecutionContext,
) -> Iterator[tuple[dg.AssetKey, Archived | Exception]]:
    """Copy tables on threads; each table's outcome as soon as it is there."""
    pool = ThreadPoolExecutor(plan.concurrency, thread_name_prefix="archive")
    try:
        pending: dict[Future[Archived], dg.AssetKey] = {
            pool.submit(_copy_one, plan, run, table, day, key.to_user_string()): key for key, table in tables.items()
        }
        while pending:
            done, _ = wait(pending, timeout=PROGRESS_SECONDS, return_when=FIRST_COMPLETED)
            if not done:
                for line in run.progress.describe():
                    context.log.info("%s", line)
            for future in done:
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield pending.pop(future), error or future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _copy_one(plan: ArchivePlan, run: ArchiveRun, table: PlannedTable, day: str, asset: str) -> Archived:
    if table.collides_with:
        raise NameCollision(table.source.full_name, asset, table.collides_with)
    take = take_snapshot if plan.mode == "full" else take_increment
    return take(run, table.source, table.rules, day, asset=asset)


def _build_result(
    context: dg.AssetExecutionContext, lake: Lake, key: dg.AssetKey, archived: Archived
) -> dg.MaterializeResult[None]:
    if archived.existing:
        context.log.info("%s: the partition is there already; nothing of it was replaced.", key.to_user_string())
    return dg.MaterializeResult(asset_key=key, metadata=describe_archived(lake, archived))


def _post_completion(plan: ArchivePlan, context: dg.AssetExecutionContext, tables: int, now: datetime) -> None:
    body: dict[str, Any] = {
        "status": "ARCHIVED",
        "database": plan.database,
        "tablesArchived": tables,
        "archivePath": f"{'archive' if plan.mode == 'full' else 'incremental'}/{plan.database}",
        "timestamp": now.isoformat(),
    }
    context.resources.completion_log.post(body)
