"""The feature sets as this deployment declares them, and archives to build them from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import yaml

from adfml_assets import lake_layout
from adfml_assets.components import FeatureSet
from adfml_assets.defs import DF_FeatureEngineering
from adfml_assets.features.feature_set import FeatureSetSpec, build_features
from adfml_assets.features.sources import find_partitions
from resources.lake import Lake
from resources.manifest import build_manifest, commit_manifest, list_data_paths
from tests.demo_data.shop import REPOSITORY

NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)
DAY = "2026-03-10"
PAGE = REPOSITORY / "docs" / "features.md"


def read_specs() -> dict[str, FeatureSetSpec]:
    """The sets of the defs.yaml, by name."""
    declared = Path(DF_FeatureEngineering.__path__[0], "defs.yaml").read_text(encoding="utf-8")
    specs = [
        FeatureSet.resolve_from_yaml(yaml.safe_dump(part["attributes"])).build_spec(None)
        for part in yaml.safe_load_all(declared)
    ]
    return {spec.name: spec for spec in specs}


def read_examples(language: str) -> list[str]:
    """The blocks of docs/features.md in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def archive(lake: Lake, tables: Mapping[str, pa.Table]) -> None:
    """Write the day's partitions of the shop's tables."""
    for name, rows in tables.items():
        folder = lake_layout.archive_folder("shop", "main", name, DAY)
        written = lake.write_table(f"{folder}/{name}_20260310093000.parquet", rows)
        manifest = build_manifest(
            asset=name, partition=DAY, files=[written], schema=rows.schema, written_at=NOW, run_id="r"
        )
        commit_manifest(lake, folder, manifest)


def build(lake: Lake, spec: FeatureSetSpec, **changes: object) -> pa.Table:
    """The rows of the day's partition of a set, built now."""
    spec = replace(spec, **changes)  # type: ignore[arg-type]  # fields of the spec
    partitions = find_partitions(lake, spec.tables, DAY)
    folder, manifest = build_features(lake, spec, partitions, DAY, asset=spec.name, now=NOW, run_id="r")
    return pa.concat_tables([lake.read_table(path) for path in list_data_paths(folder, manifest)])
