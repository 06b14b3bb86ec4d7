"""The graph as Dagster sees it, and that loading it needs nothing from outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from adfml_assets.archived_partitions import PartitionMissing
from adfml_assets.definitions import defs
from resources.control import ControlDatabase

ROOT = Path(__file__).resolve().parent.parent
GROUPS = {
    "archive": {
        f"archive/shop/main/{t}" for t in ("Customers", "Products", "Transactions", "Feedback", "SensorReadings")
    },
    "incremental": {"incremental/shop/main/Transactions"},
    "current": {"current/shop/main/Transactions"},
    "features": {"feature_store/customer_features", "feature_store/transaction_features"},
    "training": {
        "ml/training_data/sales_forecast",
        "ml/models/sales_forecast_job",
        "ml/models/sales_forecast",
        "ml/champions/sales_forecast",
    },
    "scoring": {
        "ml/scoring_input/sales_forecast",
        "ml/scores/sales_forecast_job",
        "ml/scores/sales_forecast",
        "database/shop/main/Predictions",
    },
    "monitoring": {"ml/drift/sales_forecast"},
    "text": {
        "ml/text_scores/feedback_sentiment_job",
        "ml/text_scores/feedback_sentiment",
        "database/shop/main/Feedback/feedback_sentiment",
    },
    "anomalies": {"ml/anomalies/sensor_readings", "database/shop/main/adfml_anomalies"},
}


@pytest.fixture(scope="module")
def graph() -> Any:
    return defs().get_repository_def().asset_graph


def test_every_asset_is_in_its_group_and_says_what_it_is(graph: Any) -> None:
    found: dict[str, set[str]] = {}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        found.setdefault(node.group_name, set()).add(key.to_user_string())
        assert node.description, key
        assert "ADF: `" in node.description, key
        assert node.owners, key
        assert any(tag.startswith("dagster/kind/") for tag in node.tags), key
    assert found == GROUPS


def test_models_have_versions_and_everything_else_has_days(graph: Any) -> None:
    for key in graph.get_all_asset_keys():
        definition = graph.get(key).partitions_def
        if graph.get(key).group_name == "training":
            assert definition.name == "sales_forecast_versions"
        else:
            assert isinstance(definition, dg.DailyPartitionsDefinition)
            assert definition.timezone == "UTC"
            today = definition.get_last_partition_key()
            from datetime import UTC, datetime

            assert today == datetime.now(UTC).strftime("%Y-%m-%d")


def test_lineage_runs_from_the_archive_to_the_predictions(graph: Any) -> None:
    predictions = dg.AssetKey(["database", "shop", "main", "Predictions"])
    upstream = {key.to_user_string() for key in dg.AssetSelection.assets(predictions).upstream().resolve(graph)}
    assert upstream >= {
        "archive/shop/main/Transactions",
        "feature_store/customer_features",
        "ml/models/sales_forecast",
        "ml/scores/sales_forecast_job",
        "ml/scores/sales_forecast",
    }


def test_submitting_and_collecting_never_share_a_backfill_run(graph: Any) -> None:
    for name in ("models", "scores"):
        job = graph.get(dg.AssetKey(["ml", name, "sales_forecast_job"]))
        result = graph.get(dg.AssetKey(["ml", name, "sales_forecast"]))
        assert job.backfill_policy != result.backfill_policy
        assert job.key in result.parent_keys


def test_every_pipeline_of_the_patterns_has_its_folder() -> None:
    folders = {path.parent.name for path in (ROOT / "adfml_assets/defs").glob("*/defs.yaml")}
    assert folders == {
        "PL_SqlArchive_ForAnalysis",
        "PL_IncrementalArchive",
        "DF_FeatureEngineering",
        "PL_ML_Training_Databricks",
        "PL_ML_Scoring_Databricks",
        "PL_EndToEnd_ML_Workflow",
        "PL_BatchAIScoring",
        "PL_DetectAnomalies",
    }


def test_loading_touches_no_network_no_database_and_no_setting() -> None:
    script = (
        "import os, socket, sqlite3\n"
        "for name in list(os.environ):\n"
        "    if name.startswith('ADFML_'): del os.environ[name]\n"
        "def refuse(*arguments, **keywords): raise AssertionError('touched the outside')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse; sqlite3.connect = refuse\n"
        "from adfml_assets.definitions import defs\n"
        "print(len(defs().get_repository_def().asset_graph.get_all_asset_keys()))\n"
        "import sys\n"
        "heavy = {'pandas', 'databricks', 'dagster_databricks', 'mlflow', 'azure.ai.ml', 'openai'}\n"
        "heavy |= {'ibis', 'duckdb', 'sklearn', 'httpx', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(sum(map(len, GROUPS.values()))), "[]"]


def materialise(keys: list[str], partition: str) -> dg.ExecuteInProcessResult:
    definitions = defs()
    job = definitions.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("sales_forecast_versions", ["1"])
        return job.execute_in_process(
            instance=instance,
            partition_key=partition,
            asset_selection=[dg.AssetKey.from_user_string(key) for key in keys],
            raise_on_error=False,
        )


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.get_step_failure_events()
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return str(data.user_failure_data.description)
    return (data.error.cause or data.error).message if data.error else ""


def test_a_table_that_fails_leaves_the_others_archived(shop: Any) -> None:
    from datetime import UTC, datetime

    today = datetime.now(UTC).strftime("%Y-%m-%d")
    result = materialise(["archive/shop/main/Transactions", "archive/shop/main/Customers"], today)
    assert not result.success
    done = [event.asset_key.to_user_string() for event in result.get_asset_materialization_events() if event.asset_key]
    assert done == ["archive/shop/main/Transactions"]
    said = failure_of(result)
    assert "1 of 2 tables were not archived; the others are." in said
    assert "There is no table 'Customers' in database 'shop', schema 'main'. It has: Transactions." in said


def test_a_past_day_fails_with_what_to_do(shop: Any) -> None:
    said = failure_of(materialise(["archive/shop/main/Transactions"], "2026-01-02"))
    assert "no snapshot was taken, and the day has passed" in said


def test_a_missing_upstream_partition_is_named(shop: Any) -> None:
    said = failure_of(materialise(["feature_store/customer_features"], "2026-01-02"))
    assert "archive/shop/main/Transactions has no partition 2026-01-02 in the lake. Materialise it first." in said
    assert PartitionMissing("a", "b").asset == "a"


def test_collecting_without_a_job_says_what_to_materialise() -> None:
    said = failure_of(materialise(["ml/models/sales_forecast"], "1"))
    assert said == (
        "No remote job was submitted for ml/models/sales_forecast, partition 1. "
        "Materialise ml/models/sales_forecast_job for this partition; this asset follows."
    )
    assert ControlDatabase().ledger.list_jobs() == []
