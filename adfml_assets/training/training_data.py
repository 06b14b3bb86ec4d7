"""Training data of a model version: rows with what came after them, split by time, and a data card of all of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from adfml_assets import lake_layout
from adfml_assets.duckdb_sql import quote
from adfml_assets.features.categories import expand_categories, expanded_names, list_unknown, pin_categories
from adfml_assets.origins import Origin, build_facts
from adfml_assets.training.choice import DATA_CARD, Asked, Choice, choose, describe_asked, read_card
from adfml_assets.training.columns import require_baseline, require_other_names, require_rows
from adfml_assets.training.data_card import count_labels, measure_label, measure_missing, require_labels
from adfml_assets.training.feature_lists import hash_features
from adfml_assets.training.feature_rows import stage_features
from adfml_assets.training.query_rows import stage_query
from adfml_assets.training.spec import FeaturesSource, LabelSpec, QuerySource
from adfml_assets.training.splits import SPLITS
from adfml_assets.training.workspace import ROWS, Staged, fetch_row, open_workspace, select_split
from resources.database import Databases
from resources.lake import Lake, WrittenFile
from resources.manifest import FILE_NAME, Manifest, build_manifest, commit_manifest

if TYPE_CHECKING:
    import pyarrow as pa
    from ibis.backends.duckdb import Backend

_EXPANDED = "adfml_expanded"
_BATCH_BYTES = 16 * 1024 * 1024
_LEFT_TO_THE_CARD = ("missing", "label_histogram", "rows", "asked")


def build_training_data(
    lake: Lake,
    databases: Databases,
    model: str,
    version: str,
    source: FeaturesSource | QuerySource,
    label: LabelSpec,
    asked: Asked = Asked(),  # noqa: B008 - frozen
    *,
    asset: str,
    now: datetime,
    run_id: str,
) -> tuple[str, Manifest, dict[str, Any]]:
    """Write train, validation and test and the data card. Returns folder, manifest and card.

    Labels look `days` days ahead of their row's date, so a date is used only where all of these days are in the data,
    and between two splits lie at least `days` days: nothing of what one split is asked is known to another, and the
    test comes last in time. The categories that become columns are those of the train split.

    Nothing is written before all is known to be right. Then the version is invisible until it is whole again.

    Args:
        asked: what this run is told; without it the version is made from what it was made from before.
        now: UTC.

    Raises:
        PeriodInvalid: dates that cannot be.
        LabelWindowPastData, NothingToTrainOn, NotFound, WrongFeatureType, NamesTaken, SnapshotsDiffer, LabelFailed,
        DuplicateLabels, TimesMissing: see `stage_features` and `stage_query`.
        LabelInvalid: labels are NULL or not finite, or all 0.
        FeaturesMissingEverywhere: features without a value in the train split.
    """
    folder = lake_layout.training_data_folder(model, version)
    choice = choose(model, source, asked, read_card(lake, folder))
    with open_workspace() as backend:
        if isinstance(source, FeaturesSource):
            staged = stage_features(lake, backend, model, source, label, choice)
        else:
            staged = stage_query(lake, databases, backend, model, source, label, choice, now.date())
        _require_rows(backend, model, staged, label)
        require_labels(backend.con, ROWS, model, staged, label)
        most = source.most_categories if isinstance(source, FeaturesSource) else 0
        table, described = _expand(backend, model, staged, label, most)
        card = {
            "model": model,
            "version": version,
            "key": staged.key,
            "time": staged.time,
            "label": label.name,
            "label_days": label.days,
            "baseline": label.baseline,
            **described,
            **_describe_rows(backend, table, model, staged, label, described["features"]),
            **_describe_origin(staged, choice),
        }
        # From here on an older state of the version is gone: its manifest must not vouch for other files.
        lake.delete(f"{folder}/{FILE_NAME}")
        lake.write_bytes(f"{folder}/{DATA_CARD}", json.dumps(card, indent=2, allow_nan=False).encode())
        columns = [staged.key, staged.time, *described["features"], label.name]
        files = [_write_split(lake, folder, backend, table, staged, split, columns) for split in SPLITS]
        schema = _read_schema(backend, table, columns)
    manifest = build_manifest(
        asset=asset,
        partition=version,
        files=files,
        schema=schema,
        written_at=now,
        run_id=run_id,
        source=dict(staged.read_from),
        facts={
            **{name: value for name, value in card.items() if name not in _LEFT_TO_THE_CARD},
            **build_facts(_expand_origins(staged, described["pinned"]), staged.personal, columns),
        },
    )
    commit_manifest(lake, folder, manifest)
    return folder, manifest, card


def _expand_origins(staged: Staged, pinned: Mapping[str, Sequence[str]]) -> dict[str, Sequence[Origin]]:
    """A category's column is made of what its category column is made of."""
    found = {name: origins for name, origins in staged.origins.items() if name not in pinned}
    for column in pinned:
        if column in staged.origins:
            found |= dict.fromkeys(expanded_names([column], pinned), staged.origins[column])
    return found


def _require_rows(backend: Backend, model: str, staged: Staged, label: LabelSpec) -> None:
    """Make sure that every split has rows: dates alone are none."""
    counted = f"SELECT count(*) FROM {ROWS} WHERE "  # noqa: S608 - a name of this package
    counts = {
        split: int(fetch_row(backend.con, counted + select_split(staged.time, dates))[0])
        for split, dates in staged.splits.items()
    }
    require_rows(model, counts, staged.dates, label.days)


def _expand(backend: Backend, model: str, staged: Staged, label: LabelSpec, most: int) -> tuple[str, dict[str, Any]]:
    """Pin the categories of the train split and make their columns. Returns the table and what the card says of it.

    Raises:
        NamesTaken: a category's column would have another column's name.
        NotFound: the baseline is none of the features.
    """
    rows = backend.table(ROWS)
    dates = {split: rows[staged.time].cast("date").between(min(d), max(d)) for split, d in staged.splits.items()}
    train = rows.filter(dates["train"])
    pinned = {column: pin_categories(backend, train, column, most=most) for column in staged.categories}
    unknown = {split: list_unknown(backend, rows.filter(dates[split]), pinned) for split in SPLITS if pinned}
    features = expanded_names(staged.features, pinned)
    require_other_names(f"Model {model}", [staged.key, staged.time, *features, label.name])
    require_baseline(f"model {model}", features, label.baseline)
    table = ROWS
    if pinned:
        backend.create_table(_EXPANDED, expand_categories(rows, pinned))
        table = _EXPANDED
    schema = _read_schema(backend, table, features)
    return table, {
        "features": features,
        "features_sha256": hash_features(staged.definition_sha256, features, pinned),
        "definition_sha256": staged.definition_sha256,
        "pinned": pinned,
        "unknown_categories": {split: found for split, found in unknown.items() if found},
        "feature_types": {field.name: str(field.type) for field in schema},
    }


def _describe_rows(
    backend: Backend, table: str, model: str, staged: Staged, label: LabelSpec, features: Sequence[str]
) -> dict[str, Any]:
    connection = backend.con
    missing = measure_missing(connection, table, model, staged, _read_schema(backend, table, features), features)
    distribution = measure_label(connection, table, staged, label.name)
    return {
        "rows": {split: int(distribution[split]["rows"]) for split in SPLITS},
        "periods": {split: [day.isoformat() for day in staged.splits[split]] for split in SPLITS},
        "label_distribution": distribution,
        "label_histogram": count_labels(connection, table, staged, label.name, distribution),
        "missing": missing,
    }


def _describe_origin(staged: Staged, choice: Choice) -> dict[str, Any]:
    used = [day for dates in staged.splits.values() for day in dates]
    return {
        "source": dict(staged.source),
        "snapshot_date": staged.snapshot_date,
        "start_date": min(used).isoformat(),
        "end_date": max(used).isoformat(),
        "asked": describe_asked(choice.asked),
        "left_out": {why: list(days) for why, days in staged.left_out.items()},
    }


def _write_split(
    lake: Lake, folder: str, backend: Backend, table: str, staged: Staged, split: str, columns: Sequence[str]
) -> WrittenFile:
    """Stream a split's rows to its file: sorted, so that the same rows are the same file."""
    selected = ", ".join(map(quote, columns))
    # Rows of a query may have one key and time: then the rest of the row decides.
    rest = f", hash({selected})" if staged.source["kind"] == "query" else ""
    sql = (
        f"SELECT {selected} FROM {table} WHERE {select_split(staged.time, staged.splits[split])} "  # noqa: S608 - quoted
        f"ORDER BY {quote(staged.time)}, {quote(staged.key)}{rest}"
    )
    rows = max(1_000, min(100_000, _BATCH_BYTES // (8 * len(columns))))
    reader = backend.con.execute(sql).to_arrow_reader(rows)
    with lake.write_parquet(f"{folder}/{split}.parquet", reader.schema) as sink:
        for batch in reader:
            sink.write(batch)
    assert sink.written is not None  # noqa: S101 - set when the block ended without an exception
    return sink.written


def _read_schema(backend: Backend, table: str, columns: Sequence[str]) -> pa.Schema:
    selected = ", ".join(map(quote, columns))
    schema: pa.Schema = backend.con.execute(f"SELECT {selected} FROM {table} LIMIT 0").to_arrow_table().schema  # noqa: S608
    return schema
