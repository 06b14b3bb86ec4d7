"""A feature set's partition: features as of the snapshot date, and as of earlier dates for training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from adfml_assets import lake_layout
from adfml_assets.errors import AdfmlError
from adfml_assets.features.expressions import (
    count_duplicates,
    load_function,
    make_dates,
    open_tables,
    require_columns,
)
from resources.errors import NotFound
from resources.lake import Lake
from resources.manifest import Manifest, build_manifest, commit_manifest

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend
    from ibis.expr.types import Table

FEATURE_DATE = "feature_date"
AsOf = Literal["snapshot_date", "last_transaction"]


class DuplicateFeatures(AdfmlError):
    """An expression gave several rows for one key and feature date."""

    def __init__(self, feature_set: str, key: str, duplicates: int) -> None:
        self.feature_set = feature_set
        self.duplicates = duplicates
        super().__init__(
            f"Feature set {feature_set}: {duplicates} rows repeat a ({key}, {FEATURE_DATE}) that another row has. "
            "Aggregate in its function so that each pair has one row."
        )


@dataclass(frozen=True)
class FeatureSetSpec:
    """What a feature set is.

    Attributes:
        name: of the set and its folder in the lake.
        function: `package.module.function` of the ibis expression.
        key: the column that says whose features they are.
        timestamp_table, timestamp: the table (by its name in the function) and column that say when things happened.
        parameters: what the function is given besides tables and dates.
        as_of: features as of the snapshot date, or as of the last transaction where that is earlier (closed data).
        step_days, count: earlier feature dates, every so many days, at most so many.
    """

    name: str
    function: str
    key: str
    timestamp_table: str
    timestamp: str
    parameters: Mapping[str, Any]
    as_of: AsOf
    step_days: int
    count: int


def build_features(
    lake: Lake,
    spec: FeatureSetSpec,
    partitions: Mapping[str, tuple[str, Manifest]],
    day: str,
    *,
    asset: str,
    now: datetime,
    run_id: str,
) -> tuple[str, Manifest]:
    """Write a snapshot's features; one row a key and feature date. Returns folder and manifest.

    Raises:
        NotFound: a column or table that is named does not exist.
        DuplicateFeatures: the expression gave several rows for one key and date.
    """
    if spec.timestamp_table not in partitions:
        raise NotFound("table", spec.timestamp_table, f"the tables of feature set {spec.name}", partitions)
    columns = [column.name for column in partitions[spec.timestamp_table][1].columns]
    require_columns(f"archived table {spec.timestamp_table}", columns, [spec.key, spec.timestamp])
    folder = lake_layout.features_folder(spec.name, day)
    with open_tables(lake, partitions) as (backend, tables):
        first, last = _find_period(backend, tables[spec.timestamp_table], spec.timestamp)
        dates = choose_feature_dates(spec, date.fromisoformat(day), first, last)
        features = load_function(spec.function)(**tables, feature_dates=make_dates(dates), **spec.parameters)
        require_columns(f"the result of {spec.function}", features.columns, [spec.key, FEATURE_DATE])
        # Computed once, then read twice: to count and to write.
        features = backend.create_table("adfml_features", features, temp=True)
        duplicates = count_duplicates(backend, features, [spec.key, FEATURE_DATE])
        if duplicates:
            raise DuplicateFeatures(spec.name, spec.key, duplicates)
        schema = features.schema().to_pyarrow()
        with lake.write_parquet(f"{folder}/features.parquet", schema) as sink:
            for batch in backend.to_pyarrow_batches(features, chunk_size=100_000):
                sink.write(batch.cast(schema))
    assert sink.written is not None  # noqa: S101 - set when the block ended without an exception
    manifest = build_manifest(
        asset=asset,
        partition=day,
        files=[sink.written],
        schema=schema,
        written_at=now,
        run_id=run_id,
        source={name: {"folder": path, "run_id": source.run_id} for name, (path, source) in partitions.items()},
        facts={
            "key": spec.key,
            "feature_date": dates[-1].isoformat() if dates else None,
            "feature_dates": [d.isoformat() for d in dates],
            "first_event": first.isoformat() if first else None,
            "last_event": last.isoformat() if last else None,
            "parameters": dict(spec.parameters),
        },
    )
    commit_manifest(lake, folder, manifest)
    return folder, manifest


def choose_feature_dates(spec: FeatureSetSpec, day: date, first: datetime | None, last: datetime | None) -> list[date]:
    """The dates features are built for, oldest first; the last one is what is scored.

    Dates before the first event have no features and are left out; without any event there are none.
    """
    if first is None or last is None:
        return []
    newest = min(day, last.date()) if spec.as_of == "last_transaction" else day
    dates = (newest - timedelta(days=step * spec.step_days) for step in range(spec.count + 1))
    return sorted(d for d in dates if d >= first.date())


def _find_period(backend: Backend, table: Table, timestamp: str) -> tuple[datetime | None, datetime | None]:
    row: Any = backend.to_pyarrow(table.aggregate(first=table[timestamp].min(), last=table[timestamp].max()))
    found = row.to_pylist()[0]
    return found["first"], found["last"]
