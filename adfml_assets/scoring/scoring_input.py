"""What is to be scored: a record a key, with exactly the features of the version that scores, in its order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from adfml_assets import lake_layout
from adfml_assets.features.categories import expand_categories, expanded_names, is_category_type, list_unknown
from adfml_assets.origins import ORIGINS, PERSONAL
from adfml_assets.scoring.errors import FeaturesEmpty
from adfml_assets.scoring.model_choice import ChosenVersion
from adfml_assets.scoring.model_features import ModelFeatures, RecordFeatures, check_features
from resources.lake import Lake
from resources.manifest import FILE_NAME, Manifest, build_manifest, commit_manifest

if TYPE_CHECKING:
    import pyarrow as pa
    from ibis.backends.duckdb import Backend
    from ibis.expr.types import Table

RECORD_ID = "RecordId"
FILE = "scoring_input.parquet"

_BATCH_BYTES = 16 * 1024 * 1024
_BATCH_ROWS = 65_536
_ENOUGH_RECORDS = 100
"""Fewer records may all be without a feature by chance."""


@dataclass(frozen=True)
class Records:
    """Where a day's records are taken from.

    Attributes:
        paths: Parquet files in the lake.
        key: the column that becomes RecordId.
        feature_snapshot: the snapshot date of the features, `YYYY-MM-DD`; for rows of a table the day they were read.
        time: the column with the date or moment (UTC) that decides which rows are records; None: all rows are.
        day: the day that `time` has to be on; None: the last one that any row is on.
        no_features: columns beside the key that are no features.
        definition_sha256, parameters: of the feature set; see `RecordFeatures`.
        source: for the manifest.
        facts: for the manifest, beside those that every scoring input has.
        asset: what they are records of: the feature set's or the table's asset, its key slash-separated.
        personal: columns of personal data.
    """

    paths: tuple[str, ...]
    key: str
    feature_snapshot: str
    time: str | None = None
    day: date | None = None
    no_features: frozenset[str] = frozenset()
    definition_sha256: str = ""
    parameters: Mapping[str, Any] | None = None
    source: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    asset: str = ""
    personal: tuple[str, ...] = ()


def build_scoring_input(
    lake: Lake,
    chosen: ChosenVersion,
    model: ModelFeatures,
    records: Records,
    day: str,
    *,
    asset: str,
    now: datetime,
    run_id: str,
) -> tuple[str, Manifest]:
    """Write a day's records: `RecordId` and the model's features in its order. Returns folder and manifest.

    Category columns become the columns that were pinned when the model was trained; categories that are new since then
    count as `other`, and are named in the facts. Memory does not grow with the records. Where anything is wrong, what
    was there before stays.

    Args:
        chosen: the version that scores.
        model: what it takes.

    Raises:
        FeaturesDiffer: the model was trained on other features.
        FeaturesEmpty: features are NULL in every record.
    """
    folder = lake_layout.scoring_input_folder(chosen.model, day)
    with _open_records(lake, records) as (backend, table):
        wide, unknown = _expand(backend, table, model)
        types = _find_types(wide, records)
        check_features(model, RecordFeatures(types, records.definition_sha256, records.parameters))
        wanted = wide.select(**{RECORD_ID: wide[records.key]}, **{name: wide[name] for name in model.names})
        schema = wanted.schema().to_pyarrow()
        rows = max(1024, min(_BATCH_ROWS, _BATCH_BYTES // (8 * len(schema))))
        with lake.write_parquet(f"{folder}/{FILE}", schema) as sink:
            nulls = dict.fromkeys(model.names, 0)
            for batch in backend.to_pyarrow_batches(wanted, chunk_size=rows):
                sink.write(batch.cast(schema))
                for name in nulls:
                    nulls[name] += batch.column(name).null_count
            _require_values(chosen, sink.rows, nulls)
            # From here until the new one is there no manifest vouches for the file, which is about to be replaced.
            lake.delete(f"{folder}/{FILE_NAME}")
    assert sink.written is not None  # noqa: S101 - set when the block ended without an exception
    manifest = build_manifest(
        asset=asset,
        partition=day,
        files=[sink.written],
        schema=schema,
        written_at=now,
        run_id=run_id,
        source=dict(records.source),
        facts={
            "key": records.key,
            **records.facts,
            "model_version": chosen.version,
            "model_alias": chosen.alias,
            "feature_snapshot": records.feature_snapshot,
            "features_sha256": model.sha256,
            "unknown_categories": unknown,
            **_describe_origins(records, model),
        },
    )
    commit_manifest(lake, folder, manifest)
    return folder, manifest


def _describe_origins(records: Records, model: ModelFeatures) -> dict[str, Any]:
    """What the columns are made of. Those of a category are made of their category column."""
    made_of = {name: column for column in model.pinned for name in expanded_names([column], model.pinned)}
    columns = {RECORD_ID: records.key, **{name: made_of.get(name, name) for name in model.names}}
    origins = {name: [[records.asset, column]] for name, column in columns.items()} if records.asset else {}
    personal = [name for name, column in columns.items() if column in records.personal]
    return {ORIGINS: origins, **({PERSONAL: personal} if personal else {})}


@contextmanager
def _open_records(lake: Lake, records: Records) -> Iterator[tuple[Backend, Table]]:
    import ibis

    with ExitStack() as stack:
        backend = ibis.duckdb.connect()
        stack.callback(backend.disconnect)
        files = [str(stack.enter_context(lake.local_copy(path))) for path in records.paths]
        table = backend.read_parquet(files, table_name="records", hive_partitioning=False)
        if records.time is not None:
            days = table[records.time].cast("date")
            table = table.filter(days == (days.max() if records.day is None else records.day))
        yield backend, table


def _expand(backend: Backend, table: Table, model: ModelFeatures) -> tuple[Table, dict[str, list[str]]]:
    """Category columns as the columns the model knows, and by column the categories it does not know."""
    kinds = {column.name: column.type for column in table.schema().to_pyarrow()}
    pinned = {c: names for c, names in model.pinned.items() if c in kinds and is_category_type(kinds[c])}
    return expand_categories(table, pinned), list_unknown(backend, table, pinned)


def _find_types(table: Table, records: Records) -> dict[str, pa.DataType]:
    left_out = {records.key, *records.no_features}
    return {column.name: column.type for column in table.schema().to_pyarrow() if column.name not in left_out}


def _require_values(chosen: ChosenVersion, records: int, nulls: Mapping[str, int]) -> None:
    empty = [name for name, count in nulls.items() if count == records]
    if records >= _ENOUGH_RECORDS and empty:
        raise FeaturesEmpty(chosen.model, chosen.version, records, empty)
