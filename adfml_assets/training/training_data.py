"""Training data of a model version: features and what happened after them, split by time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from adfml_assets import lake_layout
from adfml_assets.errors import NothingToTrainOn
from adfml_assets.features.expressions import load_function, make_dates, open_tables, require_columns
from adfml_assets.features.feature_set import FEATURE_DATE
from resources.errors import NotFound
from resources.lake import Lake
from resources.manifest import FILE_NAME, Manifest, build_manifest, commit_manifest, read_manifest

if TYPE_CHECKING:
    import pyarrow as pa
    from ibis.expr.types import Table

SPLITS = ("train", "validation", "test")
DATA_CARD = "data_card.json"
Partitions = Mapping[str, tuple[str, Manifest]]


@dataclass(frozen=True)
class LabelSpec:
    """What a model predicts.

    Attributes:
        name: of the label's column.
        function: `package.module.function` of an ibis expression giving key, feature_date and `label`.
        days: how many days after the feature date the label looks at.
        baseline: a feature that is itself a naive forecast of the label; the model must beat it.
    """

    name: str
    function: str
    days: int
    baseline: str


def find_snapshot(lake: Lake, feature_set: str, training_folder: str, wanted: str | None) -> str:
    """The snapshot date a version is trained on: the one it was trained on before, the one asked for, or the latest.

    Raises:
        NotFound: the feature set has no such snapshot.
    """
    folder = lake_layout.feature_set_folder(feature_set)
    marker = "/snapshot_date="
    days = sorted(p.partition(marker)[2].split("/")[0] for p in lake.list_files(folder) if p.endswith(f"/{FILE_NAME}"))
    if wanted is not None and wanted not in days:
        raise NotFound("snapshot", wanted, f"feature set {feature_set}", days)
    if wanted is not None:
        return wanted
    before = read_manifest(lake, training_folder)
    if before is not None:
        return str(before.facts["snapshot_date"])
    if not days:
        raise NotFound("snapshot", "latest", f"feature set {feature_set} (materialise it first)", days)
    return days[-1]


def build_training_data(
    lake: Lake,
    model: str,
    version: str,
    label: LabelSpec,
    features: tuple[str, Manifest],
    label_tables: Partitions,
    *,
    asset: str,
    now: datetime,
    run_id: str,
) -> tuple[str, Manifest, dict[str, Any]]:
    """Write train, validation and test and the data card. Returns folder, manifest and card.

    Labels look `days` days ahead of their feature date, so a feature date is used only where all of these days are
    in the data, and between two splits lie at least `days` days: nothing of what one split is asked is known to
    another, and the test comes last in time.

    Raises:
        NothingToTrainOn: a split would be empty.
        NotFound: the baseline is no feature, or a column is missing.
    """
    folder = lake_layout.training_data_folder(model, version)
    facts = features[1].facts
    key, last_event = str(facts["key"]), _to_date(facts["last_event"])
    dates = [date.fromisoformat(d) for d in facts["feature_dates"]]
    splits = split_dates(dates, last_event, label.days)
    names = [c.name for c in features[1].columns if c.name not in {key, FEATURE_DATE}]
    require_columns(f"feature set of model {model}", names, [label.baseline])
    files, rows = [], {}
    with open_tables(lake, {**label_tables, "features": features}) as (backend, tables):
        feature_table = tables.pop("features")
        used = [d for dates_of_split in splits.values() for d in dates_of_split]
        labels = load_function(label.function)(**tables, feature_dates=make_dates(used), days=label.days)
        require_columns(f"the result of {label.function}", labels.columns, [key, FEATURE_DATE, "label"])
        joined = _join_labels(feature_table, labels, key, names, label.name)
        for split in SPLITS:
            table: pa.Table = backend.to_pyarrow(
                joined.filter(joined[FEATURE_DATE].isin(splits[split])).order_by([FEATURE_DATE, key])
                if splits[split]
                else joined.limit(0)
            )
            if table.num_rows == 0:
                raise NothingToTrainOn(model, split, [d.isoformat() for d in dates], label.days)
            files.append(lake.write_table(f"{folder}/{split}.parquet", table))
            rows[split] = table.num_rows
    card = {
        "model": model,
        "version": version,
        "key": key,
        "time": FEATURE_DATE,
        "label": label.name,
        "label_days": label.days,
        "baseline": label.baseline,
        "features": names,
        "features_sha256": hash_features(names),
        "rows": rows,
        "periods": {split: [d.isoformat() for d in splits[split]] for split in SPLITS},
    }
    lake.write_bytes(f"{folder}/{DATA_CARD}", json.dumps(card, indent=2).encode())
    manifest = build_manifest(
        asset=asset,
        partition=version,
        files=files,
        schema=table.schema,
        written_at=now,
        run_id=run_id,
        source={"features": {"folder": features[0], "run_id": features[1].run_id}},
        facts={"snapshot_date": features[1].partition, "features_sha256": card["features_sha256"]},
    )
    commit_manifest(lake, folder, manifest)
    return folder, manifest, card


def split_dates(dates: Sequence[date], last_event: date, days: int) -> dict[str, list[date]]:
    """Feature dates of train, validation and test.

    The test is the latest date whose label is whole; validation the latest at least `days` before it; train is
    everything at least `days` before that. Dates in between are dropped: their labels would overlap.
    """
    gap = timedelta(days=days)
    test = max((d for d in dates if d + gap <= last_event), default=None)
    validation = max((d for d in dates if test is not None and d + gap <= test), default=None)
    train = [d for d in dates if validation is not None and d + gap <= validation]
    return {
        "train": sorted(train),
        "validation": [validation] if validation is not None else [],
        "test": [test] if test is not None else [],
    }


def hash_features(names: Sequence[str]) -> str:
    """One value for a list of features in their order."""
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def _join_labels(features: Table, labels: Table, key: str, names: Sequence[str], label_name: str) -> Table:
    joined = features.left_join(labels, [key, FEATURE_DATE])
    return joined.select(
        features[key],
        features[FEATURE_DATE],
        *(features[name] for name in names),
        labels["label"].fill_null(0.0).cast("float64").name(label_name),
    )


def _to_date(moment: str) -> date:
    return datetime.fromisoformat(moment).date()
