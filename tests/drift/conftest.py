"""What the tests of drift share: a model's training data, its metadata and scored days, as they lie in the lake."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from adfml_assets import lake_layout
from adfml_assets.about import About
from adfml_assets.components.drift import Drift
from adfml_assets.partitions import build_daily_partitions, build_model_versions
from resources.control import ControlDatabase
from resources.lake import Lake
from resources.manifest import build_manifest, commit_manifest
from resources.model_versions import VersionRecord

MODEL = "spend"
DAY = "2026-03-10"
FEATURES = ("recency", "purchases", "is_weekend", "amount")
NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)
DRIFT = dg.AssetKey(["ml", "drift", MODEL])


def make_features(rows: int, seed: int, *, shift: float = 0.0, missing: float = 0.1) -> dict[str, np.ndarray]:
    """Features of customers: a number, a count, a flag, and an amount that is missing now and then."""
    rng = np.random.default_rng(seed)
    amount = rng.lognormal(size=rows)
    amount[rng.random(rows) < missing] = np.nan
    return {
        "recency": rng.normal(size=rows) + shift,
        "purchases": rng.poisson(3, rows),
        "is_weekend": rng.random(rows) < 0.3,
        "amount": amount,
    }


def make_scores(rows: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed + 500).normal(10 + shift, 2, rows)


def write_version(lake: Lake, version: str = "1", *, rows: int = 4000, profile: bool = True) -> None:
    """Training data and metadata.json of a version."""
    write_training(lake, pa.table(make_features(rows, int(version))), version)
    write_metadata(lake, version, FEATURES, profile_scores(make_scores(rows, int(version))) if profile else None)


def write_training(lake: Lake, features: pa.Table, version: str = "1") -> None:
    folder = lake_layout.training_data_folder(MODEL, version)
    columns = {name: features[name] for name in features.column_names}
    table = pa.table({"CustomerId": pa.array(range(features.num_rows)), **columns})
    files = [lake.write_table(f"{folder}/{split}.parquet", table) for split in ("train", "validation", "test")]
    _commit(lake, folder, "ml/training_data/spend", version, files, table.schema)


def write_metadata(
    lake: Lake, version: str, features: Sequence[str], score_profile: Mapping[str, Any] | None = None
) -> None:
    metadata: dict[str, Any] = {"model": MODEL, "version": version, "features": list(features)}
    if score_profile is not None:
        metadata["score_profile"] = score_profile
    path = f"{lake_layout.model_folder(MODEL, version)}/metadata.json"
    lake.write_bytes(path, json.dumps(metadata).encode())


def profile_scores(scores: np.ndarray) -> dict[str, Any]:
    """As the training job leaves it in metadata.json."""
    edges = np.unique(np.quantile(scores, np.arange(1, 10) / 10))
    counts = np.bincount(np.searchsorted(edges, scores, side="left"), minlength=len(edges) + 1)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "rows": len(scores)}


def write_scored(
    lake: Lake, features: Mapping[str, Any], scores: np.ndarray, *, day: str = DAY, version: str = "1"
) -> None:
    """Scoring input and scores of a day."""
    folder = lake_layout.scoring_input_folder(MODEL, day)
    records = pa.array(range(len(scores)), pa.int64())
    table = pa.table({"RecordId": records, **features})
    facts = {"model_version": version}
    written = lake.write_table(f"{folder}/scoring_input.parquet", table)
    _commit(lake, folder, "ml/scoring_input/spend", day, [written], table.schema, facts)
    folder = lake_layout.scores_folder(MODEL, day)
    predictions = pa.table({"RecordId": records, "score": pa.array(scores, pa.float64())})
    written = lake.write_table(f"{folder}/predictions.parquet", predictions)
    _commit(lake, folder, "ml/scores/spend", day, [written], predictions.schema, {"version": version})


def write_day(
    lake: Lake, *, day: str = DAY, version: str = "1", rows: int = 1000, shift: float = 0.0, missing: float = 0.1
) -> None:
    """A day's records and scores; `shift` moves the feature `recency` and the scores."""
    seed = 1000 + int(day[-2:])
    features = make_features(rows, seed, shift=shift, missing=missing)
    write_scored(lake, features, make_scores(rows, seed, 1.5 * shift), day=day, version=version)


def _commit(
    lake: Lake,
    folder: str,
    asset: str,
    partition: str,
    files: list[Any],
    schema: pa.Schema,
    facts: dict[str, Any] | None = None,
) -> None:
    manifest = build_manifest(
        asset=asset, partition=partition, files=files, schema=schema, written_at=NOW, run_id="r", facts=facts
    )
    commit_manifest(lake, folder, manifest)


def build_options(about: About, kinds: set[str]) -> dict[str, Any]:
    return {
        "description": about.what,
        "kinds": kinds,
        "partitions_def": build_daily_partitions(),
        "group_name": "scoring",
    }


def build_training_assets() -> list[dg.AssetsDefinition]:
    """Assets with the keys of a model's version, which do nothing."""
    versions = build_model_versions(MODEL)

    def build(path: list[str], *upstream: dg.AssetsDefinition) -> dg.AssetsDefinition:
        @dg.asset(key=dg.AssetKey(["ml", *path]), partitions_def=versions, deps=list(upstream))
        def made() -> None:
            return

        return made

    data = build(["training_data", MODEL])
    job = build(["models", f"{MODEL}_job"], data)
    model = build(["models", MODEL], job)
    return [data, job, model, build(["champions", MODEL], model)]


def build_defs(drift: Drift, *, trained: bool = True) -> dg.Definitions:
    """What a declaration makes, in a code location that trains the model."""
    bound = dg.Definitions(
        assets=build_training_assets() if trained else [],
        resources={"lake": Lake(), "control": ControlDatabase()},
        executor=dg.in_process_executor,
    )
    return dg.Definitions.merge(drift.build_defs(MODEL, build_options), bound)


@contextmanager
def materialising(drift: Drift, day: str = DAY, **options: Any) -> Iterator[dg.ExecuteInProcessResult]:
    """A day's drift through Dagster, and what came of it."""
    with dg.DagsterInstance.ephemeral() as instance:
        assets = [*(drift.build_defs(MODEL, build_options).assets or [])]
        yield dg.materialize(
            assets, partition_key=day, instance=instance, resources={"lake": Lake(), "control": "unused"}, **options
        )


def materialise(drift: Drift | None = None, day: str = DAY, **options: Any) -> dg.ExecuteInProcessResult:
    with materialising(drift or Drift(), day, **options) as result:
        return result


def metadata_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


Register = Callable[..., None]


@pytest.fixture
def register(control: ControlDatabase) -> Register:
    """Note a version in the registry, and what became of it."""

    def note(version: str, verdict: str | None = "passed", *, champion: bool = False) -> None:
        record = VersionRecord(MODEL, version, "r", "model.skops", "0" * 64, "0" * 64)
        control.models.register(record)
        if verdict is not None:
            control.models.judge(MODEL, version, verdict, "numbers", None)  # type: ignore[arg-type]
        if champion:
            control.models.promote(MODEL, version, "test", "it passed", force=True)

    return note
