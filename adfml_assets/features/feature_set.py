"""A feature set's partition: features as of the snapshot date, and as of earlier dates for training."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from adfml_assets import lake_layout
from adfml_assets.features.column_origins import trace_statement
from adfml_assets.features.definition import FEATURE_DATE, FeatureSetSpec, TableRef, hash_definition
from adfml_assets.features.duckdb_engine import Stage, run_on_duckdb
from adfml_assets.features.errors import DuplicateFeatures
from adfml_assets.features.result import examine_result, list_features
from adfml_assets.features.result_schema import list_category_columns
from adfml_assets.features.sources import Partitions, Source, choose_feature_dates, find_period, open_sources
from adfml_assets.features.spark_engine import run_on_spark
from adfml_assets.features.statement import Statement, compile_statement
from adfml_assets.origins import build_facts, map_personal
from resources.lake import Lake
from resources.manifest import Manifest, build_manifest, commit_manifest
from resources.staged_files import StagedFile

__all__ = [
    "FEATURE_DATE",
    "DuplicateFeatures",
    "FeatureSetSpec",
    "Plan",
    "TableRef",
    "build_features",
    "choose_feature_dates",
    "plan_features",
    "run_statement",
]

FILE = "features.parquet"


@dataclass(frozen=True)
class Plan:
    """A partition that is about to be built: all that can be wrong before any work was looked at.

    Attributes:
        spec: what is built.
        day: the partition, `YYYY-MM-DD`.
        sources: the tables, by name.
        dates: the feature dates, oldest first; None: one row an event.
        first_event, last_event: when the first and the last thing happened that may be seen, UTC without zone.
        before: only what happened before is seen; with time zone UTC.
        statement: the definition, compiled.
    """

    spec: FeatureSetSpec
    day: str
    sources: Mapping[str, Source]
    dates: Sequence[date] | None
    first_event: datetime | None
    last_event: datetime | None
    before: datetime
    statement: Statement

    @property
    def folder(self) -> str:
        """Where the partition lies."""
        return lake_layout.features_folder(self.spec.name, self.day)

    @property
    def origin(self) -> dict[str, Any]:
        """The manifest's `source`: which partitions it is made of."""
        return {name: {"folder": one.folder, "run_id": one.manifest.run_id} for name, one in self.sources.items()}

    @property
    def facts(self) -> dict[str, Any]:
        """What the manifest says of the partition, as far as it is known before any row is there."""
        return {
            "key": self.spec.key,
            "rows": self.spec.rows,
            "event_time": self.spec.event_time,
            "feature_date": self.dates[-1].isoformat() if self.dates else None,
            "feature_dates": [d.isoformat() for d in self.dates or ()],
            "first_event": self.first_event.isoformat() if self.first_event else None,
            "last_event": self.last_event.isoformat() if self.last_event else None,
            "parameters": dict(self.spec.parameters),
            "features": list_features(self.statement.schema),
            "category_columns": list_category_columns(self.statement.schema),
            "definition_sha256": hash_definition(self.spec),
            "engine": self.spec.engine,
            **build_facts(
                trace_statement(self.statement, self.sources),
                map_personal(one.manifest for one in self.sources.values()),
                self.statement.schema.names,
            ),
        }


def plan_features(lake: Lake, spec: FeatureSetSpec, partitions: Partitions, day: str) -> Plan:
    """Look at everything that can be wrong before any work: only footers and timestamps are read.

    Raises:
        NotFound, WrongType: a table or column is not there, or not what it is declared to be.
        ExpressionNotFound, WrongArguments, SqlInvalid, ExpressionFailed, NotPortable: the definition cannot be used.
    """
    sources = open_sources(lake, spec, partitions)
    today = date.fromisoformat(day)
    first, last = find_period(lake, sources, end_of(today))
    dates = choose_feature_dates(spec, today, first, last)
    newest = dates[-1] if dates else today
    wanted = None if spec.rows == "event" else dates
    statement = compile_statement(spec, {name: source.schema for name, source in sources.items()}, wanted)
    return Plan(spec, day, sources, wanted, first, last, end_of(newest), statement)


def build_features(
    lake: Lake,
    spec: FeatureSetSpec,
    partitions: Partitions,
    day: str,
    *,
    asset: str,
    now: datetime,
    run_id: str,
) -> tuple[str, Manifest]:
    """Write a snapshot's features; one row a key and feature date, or one an event. Returns folder and manifest.

    Of tables with a timestamp only rows before the end of the last feature date (UTC) are seen; rows without one never.
    The features are in one file, or in one for each part of the work; where anything goes wrong none of them is there,
    and what was there before stays.

    Args:
        partitions: name in the definition -> folder and manifest of the table's partition of the day.
        day: of the snapshot, `YYYY-MM-DD`.

    Raises:
        NotFound, WrongType, ExpressionNotFound, WrongArguments, SqlInvalid, ExpressionFailed, NotPortable: before any
            work; see `plan_features`.
        DuplicateFeatures, KeyMissing, WrongDate: the definition gave rows that cannot be.
        OutOfMemory, EngineFailed: the engine could not do it.
    """
    plan = plan_features(lake, spec, partitions, day)
    schema = plan.statement.schema
    staged: list[StagedFile] = []
    with ExitStack() as stack:

        def stage(index: int, count: int) -> Path:
            path = f"{plan.folder}/{name_file(index, count, now)}"
            staged.append(stack.enter_context(lake.stage_parquet(path)))
            return staged[-1].local

        files = []
        for file in run_statement(lake, plan, stage):
            files.append(file)
            staged[-1].seal()
        found = examine_result(spec, schema, files, plan.before, plan.dates)
    facts = {**plan.facts, **found.facts}
    manifest = build_manifest(
        asset=asset,
        partition=day,
        files=[file.written for file in staged if file.written],
        schema=schema,
        written_at=now,
        run_id=run_id,
        source=plan.origin,
        facts=facts,
    )
    commit_manifest(lake, plan.folder, manifest)
    return plan.folder, manifest


def name_file(index: int, count: int, now: datetime) -> str:
    """The name of a partition's file: of several, each run has its own, so that no manifest names a mixture."""
    return FILE if count == 1 else f"features_{now:%Y%m%d%H%M%S}_{index}.parquet"


def run_statement(lake: Lake, plan: Plan, stage: Stage, before: datetime | None = None) -> Generator[Path, None, None]:
    """Write a plan's result as Parquet files of its schema, part by part; gives each when it is written.

    Args:
        stage: where each part goes.
        before: see only what happened before this moment; None: as planned.
    """
    run = run_on_spark if plan.spec.engine == "spark" else run_on_duckdb
    return run(lake, plan.spec, plan.statement, plan.sources, before or plan.before, stage)


def end_of(day: date) -> datetime:
    """The first moment after a UTC day."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)
