"""Features by a Databricks job: its real script, run by the local cloud, from submission to the verified partition."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from adfml_assets import lake_layout
from adfml_assets.components.remote_engine import RemoteEngine
from adfml_assets.errors import WrongResult
from adfml_assets.feature_assets import build_remote_features
from adfml_assets.features.definition import FeatureSetSpec
from adfml_assets.features.feature_set import FILE, plan_features
from adfml_assets.features.remote_features import collect_features, write_statement
from adfml_assets.features.sources import find_partitions
from adfml_assets.partitions import build_daily_partitions
from local_cloud.process import LocalCloud
from resources.control import ControlDatabase, utc_now
from resources.databricks import Databricks
from resources.manifest import read_manifest
from resources.remote_jobs import RemoteJob
from sensors.polling import advance_jobs
from tests.conftest import NOW
from tests.features.conftest import DAY, SPEND, Order, Shop, require_same
from tests.features.definitions import HERE
from workloads import build_features as job
from workloads.errors import FeaturesError

REMOTE = FeatureSetSpec(
    **{**SPEND.__dict__, "name": "remote", "function": f"{HERE}.categories", "parameters": {}, "engine": "databricks"}
)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    if shutil.which("java") is None:
        pytest.fail("Spark needs Java 17, and there is no java here: `make java` installs it.", pytrace=False)
    settings = tmp_path_factory.mktemp("spark")
    (settings / "spark-defaults.conf").write_text("spark.sql.shuffle.partitions 2\nspark.ui.enabled false\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_CONF_DIR", str(settings))
        patch.setenv("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        with LocalCloud(tmp_path_factory.mktemp("cloud")) as started:
            yield started


@dataclass
class Workflow:
    """The assets of a set, with all that they need."""

    shop: Shop
    control: ControlDatabase
    service: Databricks
    spec: FeatureSetSpec
    instance: dg.DagsterInstance

    def run(self, name: str, *, fails: bool = False) -> dg.ExecuteInProcessResult:
        engine = RemoteEngine(job="adfml_features")
        assets = build_remote_features(
            self.spec, engine, lambda about, kinds: {"partitions_def": build_daily_partitions()}
        )
        result = dg.materialize(
            assets,
            selection=[dg.AssetKey(["feature_store", name])],
            partition_key=DAY,
            instance=self.instance,
            resources={"lake": self.shop.lake, "control": self.control, "databricks": self.service},
            raise_on_error=not fails,
        )
        assert result.success is not fails
        return result

    def wait(self) -> RemoteJob:
        ledger, stop_at = self.control.ledger, time.monotonic() + 200
        while ledger.list_outstanding():
            assert time.monotonic() < stop_at, ledger.list_jobs()
            advance_jobs(ledger, self.service, now=utc_now(), budget_seconds=20, log=logging.getLogger("test"))
            time.sleep(0.1)
        return ledger.list_jobs()[-1]


@pytest.fixture
def workflow(
    shop: Shop, control: ControlDatabase, cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workflow]:
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Workflow(shop, control, Databricks(), REMOTE, instance)


def test_a_job_builds_what_duckdb_builds(workflow: Workflow, orders: list[Order]) -> None:
    shop = workflow.shop
    shop.archive_orders(orders)
    workflow.run("remote_job")
    ended = workflow.wait()
    assert ended.state == "succeeded", ended.message
    folder = lake_layout.features_folder("remote", DAY)
    assert read_manifest(shop.lake, folder) is None, "not before it is verified"
    result = workflow.run("remote")
    shown = result.asset_materializations_for_node("feature_store__remote")[0].metadata
    assert shown["submission_key"].value == ended.submission_key
    manifest = read_manifest(shop.lake, folder)
    assert manifest is not None
    shop.lake.verify_file(f"{folder}/{FILE}", manifest.files[0])
    assert [path.rpartition("/")[2] for path in shop.lake.list_files(folder)] == ["_manifest.json", FILE]
    local = FeatureSetSpec(**{**REMOTE.__dict__, "name": "local", "engine": "duckdb"})
    local_folder, expected = shop.build(local)
    require_same(shop.read_rows(REMOTE, folder), shop.read_rows(local, local_folder))
    assert manifest.columns == expected.columns
    assert {**manifest.facts, "engine": "duckdb"} == expected.facts
    assert manifest.source["orders"] == expected.source["orders"]
    assert manifest.source["job"]["submission_key"] == ended.submission_key


def test_what_cannot_be_is_said_before_any_job(workflow: Workflow, orders: list[Order]) -> None:
    workflow.shop.archive_orders(orders)
    workflow.spec = FeatureSetSpec(**{**REMOTE.__dict__, "parameters": {"days": 1}})
    workflow.run("remote_job", fails=True)
    assert workflow.control.ledger.list_jobs() == []
    assert workflow.shop.lake.list_files("feature-store/remote") == []


@pytest.fixture
def statement(shop: Shop, orders: list[Order]) -> str:
    shop.archive_orders(orders)
    return write_statement(shop.lake, _plan(shop)).name


def _plan(shop: Shop) -> Any:
    return plan_features(shop.lake, REMOTE, find_partitions(shop.lake, REMOTE.tables, DAY), DAY)


def test_the_same_statement_has_the_same_name(shop: Shop, statement: str) -> None:
    before = shop.lake.list_files("feature-store/remote")
    assert write_statement(shop.lake, _plan(shop)).name == statement
    assert shop.lake.list_files("feature-store/remote") == before
    shop.archive_orders([])
    assert write_statement(shop.lake, _plan(shop)).name != statement


def test_features_that_are_not_what_was_asked_for_are_not_used(shop: Shop, statement: str) -> None:
    def collect() -> None:
        collect_features(shop.lake, REMOTE, DAY, statement, submission={}, asset="f", now=NOW, run_id="r")

    with pytest.raises(WrongResult, match="expected the features that the job writes, found no file"):
        collect()
    folder = lake_layout.features_folder("remote", DAY)
    plan = _plan(shop)
    table = plan.statement.schema.empty_table()
    shop.lake.write_table(f"{folder}/{FILE}", table)
    collect()
    assert read_manifest(shop.lake, folder) is not None
    # Another job of the day writes over what was there: nothing may vouch for that.
    shop.lake.write_table(f"{folder}/{FILE}", table.drop_columns(["weight"]))
    with pytest.raises(WrongResult, match=r"expected Customer int64, .*weight int64.*, found Customer int64"):
        collect()
    assert read_manifest(shop.lake, folder) is None


def test_a_job_says_what_is_wrong_with_its_input(tmp_path: Path) -> None:
    file = tmp_path / "statement.json"
    arguments = ["--statement-path", str(file), "--output-path", str(tmp_path / "out")]
    with pytest.raises(FeaturesError, match="missing or empty arguments: --output-path"):
        job.main(arguments[:2])
    with pytest.raises(FeaturesError, match=r"no file statement.json in .*: the folder holds nothing"):
        job.main(arguments)
    file.write_text("no json")
    with pytest.raises(FeaturesError, match=r"is no JSON .*: submit the features again"):
        job.main(arguments)
    file.write_text(json.dumps({"statement": "SELECT 1", "tables": {}}))
    with pytest.raises(FeaturesError, match="has no schema: submit the features again"):
        job.main(arguments)
    file.write_text(json.dumps({"statement": "SELECT 1", "tables": {}, "schema": "bm90IGEgc2NoZW1h"}))
    with pytest.raises(FeaturesError, match="its schema cannot be read"):
        job.main(arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["statement.json"]
