"""A lake with partitions of many days, a control database, and Dagster's records of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from adfml_assets.lake_layout import archive_folder, features_folder, incremental_folder, scores_folder
from adfml_assets.retention.plan import SeriesPlan, plan_partitions
from adfml_assets.retention.rules import RetentionRules
from resources.control import ControlDatabase
from resources.lake import CONTAINERS, Lake
from resources.manifest import Manifest, build_manifest, commit_manifest

NOW = datetime(2026, 6, 30, 6, 0, tzinfo=UTC)
TABLE = pa.table({"Id": [1, 2, 3]})


@dataclass
class Site:
    """What retention works on."""

    lake: Lake
    control: ControlDatabase
    instance: dg.DagsterInstance
    home: Path

    def put(self, asset: str, folder: str, partition: str, **more: Any) -> Manifest:
        """A whole partition: two files, its manifest, and its materialisation."""
        written = [self.lake.write_table(f"{folder}/part_{number}.parquet", TABLE) for number in (0, 1)]
        values: dict[str, Any] = {"written_at": NOW, "run_id": "run", **more}
        manifest = build_manifest(asset=asset, partition=partition, files=written, schema=TABLE.schema, **values)
        commit_manifest(self.lake, folder, manifest)
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(dg.AssetKey.from_user_string(asset), partition=partition)
        )
        return manifest

    def archive(self, *days: str, table: str = "Orders") -> None:
        for day in days:
            self.put(f"archive/shop/main/{table}", archive_folder("shop", "main", table, day), day)

    def increments(self, *days: str, table: str = "Orders") -> None:
        for day in days:
            self.put(f"incremental/shop/main/{table}", incremental_folder("shop", "main", table, day), day)

    def features(self, *days: str) -> None:
        for day in days:
            self.put("feature_store/customers", features_folder("customers", day), day)

    def scores(self, *days: str) -> None:
        for day in days:
            self.put("ml/scores/sales", scores_folder("sales", day), day)

    def plan(self, *partitions: dict[str, Any]) -> list[SeriesPlan]:
        rules = RetentionRules.model_validate({"partitions": partitions})
        return plan_partitions(self.lake, self.control, self.instance, rules, now=NOW)

    def going(self, **rule: Any) -> list[str]:
        """The days that go by one rule for everything."""
        return [one.day for each in self.plan({"assets": "*", **rule}) for one in each.going]

    def staying(self, **rule: Any) -> dict[str, str]:
        """Day -> why it stays, of those the rule by itself lets go."""
        return {one.day: one.reason for each in self.plan({"assets": "*", **rule}) for one in each.staying}

    def files(self) -> list[str]:
        return [path for container in CONTAINERS for path in self.lake.list_files(container)]


@pytest.fixture
def site(lake: Lake, control: ControlDatabase, tmp_path: Path) -> Iterator[Site]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Site(lake, control, instance, tmp_path)


@pytest.fixture
def home_site(lake: Lake, control: ControlDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """With Dagster's records in DAGSTER_HOME, where the command and other processes find them."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        yield Site(lake, control, instance, home)


def days_ago(*numbers: int) -> list[str]:
    """Days before NOW's, oldest first."""
    return [f"{NOW - timedelta(days=number):%Y-%m-%d}" for number in sorted(numbers, reverse=True)]
