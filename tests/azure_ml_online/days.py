"""A day's records in the lake, the model that is declared to score them, and the asset that does."""

from __future__ import annotations

import json
from typing import Any

import dagster as dg
import pyarrow as pa

from adfml_assets import lake_layout
from adfml_assets.components.online_endpoint import OnlineEndpoint
from adfml_assets.partitions import build_daily_partitions
from adfml_assets.scoring.online_assets import build_online_scores
from adfml_assets.scoring.scoring_input import FILE
from resources.azure_ml_online import AzureMlOnline
from resources.control import ControlDatabase
from resources.lake import Lake
from resources.manifest import Manifest, build_manifest, commit_manifest, read_manifest
from resources.model_registry import VersionRecord
from tests.azure_ml_online.conftest import FEATURES
from tests.conftest import NOW, TODAY

MODEL = "small_model"
VERSION = "7"
SCORES = lake_layout.scores_folder(MODEL, TODAY)


def put_records(lake: Lake, records: pa.Table) -> Manifest:
    """The day's scoring input."""
    folder = lake_layout.scoring_input_folder(MODEL, TODAY)
    # A column that is no feature: it must not be sent.
    table = records.append_column("country", pa.array(["NL"] * records.num_rows, pa.string()))
    written = lake.write_table(f"{folder}/{FILE}", table)
    manifest = build_manifest(
        asset="ml/scoring_input/small_model",
        partition=TODAY,
        files=[written],
        schema=table.schema,
        written_at=NOW,
        run_id="r",
        facts={
            "key": "CustomerId",
            "model_version": VERSION,
            "model_alias": "champion",
            "feature_snapshot": TODAY,
        },
    )
    commit_manifest(lake, folder, manifest)
    return manifest


def put_model(lake: Lake, control: ControlDatabase) -> None:
    """The version that is champion."""
    metadata = {"features": list(FEATURES), "model": MODEL, "version": VERSION}
    lake.write_bytes(f"{lake_layout.model_folder(MODEL, VERSION)}/metadata.json", json.dumps(metadata).encode())
    control.models.register(VersionRecord(MODEL, VERSION, "r", "model.skops", "0" * 64, "f"))
    control.models.point(MODEL, "champion", VERSION, "r", "tests")


def require_input(lake: Lake, day: str) -> Manifest:
    manifest = read_manifest(lake, lake_layout.scoring_input_folder(MODEL, day))
    assert manifest is not None
    return manifest


def build_scores(**engine: Any) -> dg.AssetsDefinition:
    options: dict[str, Any] = {"partitions_def": build_daily_partitions(), "group_name": "scoring"}
    declared = OnlineEndpoint(service="azure_ml_online", **engine)
    return build_online_scores(model=MODEL, engine=declared, options=options, require_input=require_input)


def materialise(**engine: Any) -> dg.ExecuteInProcessResult:
    resources = {"lake": Lake(), "control": ControlDatabase(), "azure_ml_online": AzureMlOnline()}
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [build_scores(**engine)],
            partition_key=TODAY,
            resources=resources,
            instance=instance,
            raise_on_error=False,
        )


def read_failure(result: dg.ExecuteInProcessResult) -> str:
    """Why the asset failed."""
    failures = [event for event in result.all_events if event.is_step_failure]
    error = failures[0].step_failure_data.error
    assert error is not None
    return error.cause.to_string() if error.cause else error.to_string()


def read_metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = result.asset_materializations_for_node("ml__scores__small_model")
    return {name: value.value for name, value in event.metadata.items()}
