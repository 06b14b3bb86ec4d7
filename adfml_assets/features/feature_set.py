"""A feature set's partition: features as of the snapshot date, and as of earlier dates for training."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from adfml_assets import lake_layout
from adfml_assets.features.column_origins import trace_statement
from adfml_assets.features.definition import FEATURE_DATE, FeatureSetSpec, TableRef, hash_definition
from adfml_assets.features.duckdb_engine import run_on_duckdb
from adfml_assets.features.errors import DuplicateFeatures
from adfml_assets.features.key_register import open_register
from adfml_assets.features.result import Summary, conform, list_features
from adfml_assets.features.result_schema import list_category_columns
from adfml_assets.features.sources import Partitions, Source, choose_feature_dates, find_period, open_sources
from adfml_assets.features.spark_engine import run_on_spark
from adfml_assets.features.statement import Statement, compile_statement
from adfml_assets.origins import build_facts, map_personal
from resources.lake import Lake, ParquetOptions
from resources.manifest import Manifest, build_manifest, commit_manifest

if TYPE_CHECKING:
    import pyarrow as pa

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
_ONE_FILE = 1 << 62


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
    The features are in one file; it is not there, and the one before it stays, where anything goes wrong.

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
    summary = Summary(spec, schema, plan.before, plan.dates)
    options = ParquetOptions(compression=lake.compression, file_bytes=_ONE_FILE)  # type: ignore[arg-type]  # checked there
    with (
        closing(run_statement(lake, plan)) as parts,
        open_register(spec, schema) as keys,
        lake.write_parquet_parts(lambda _: f"{plan.folder}/{FILE}", schema, options) as sink,
    ):
        for part in parts:
            for batch in part:
                batch = conform(spec, batch, schema)
                summary.add(batch)
                keys.add(batch)
                sink.write(batch)
            keys.end_part()
        keys.check()
    facts = {**plan.facts, **summary.facts}
    manifest = build_manifest(
        asset=asset,
        partition=day,
        files=sink.files,
        schema=schema,
        written_at=now,
        run_id=run_id,
        source=plan.origin,
        facts=facts,
    )
    commit_manifest(lake, plan.folder, manifest)
    return plan.folder, manifest


def run_statement(
    lake: Lake, plan: Plan, before: datetime | None = None
) -> Generator[Iterator[pa.RecordBatch], None, None]:
    """A plan's result, part by part, as its engine gives it: columns in any order, types nearly right.

    Args:
        before: see only what happened before this moment; None: as planned.
    """
    run = run_on_spark if plan.spec.engine == "spark" else run_on_duckdb
    return run(lake, plan.spec, plan.statement, plan.sources, before or plan.before)


def end_of(day: date) -> datetime:
    """The first moment after a UTC day."""
    return datetime.combine(day + timedelta(days=1), time(), UTC)
