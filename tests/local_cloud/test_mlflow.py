"""The MLflow store a workload is given: tracking, registry, aliases and files, shared with clients outside."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import yaml

from local_cloud.process import LocalCloud

from .conftest import Workspace

TRAIN = """
import mlflow
mlflow.set_experiment("sales")
with mlflow.start_run() as run:
    mlflow.log_metric("mae", 1.5)
    mlflow.log_text("a model", "model/model.txt")
client = mlflow.MlflowClient()
client.create_registered_model("forecast")
version = client.create_model_version("forecast", f"{run.info.artifact_uri}/model", run.info.run_id)
client.set_registered_model_alias("forecast", "champion", version.version)
champion = mlflow.MlflowClient().get_model_version_by_alias("forecast", "champion")
print("champion", champion.version, client.get_run(champion.run_id).data.metrics)
"""


def test_a_workload_registers_a_model_and_finds_it_by_its_alias(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(TRAIN)
    task = {"task_key": "train", "spark_python_task": {"python_file": "train.py"}}
    bundle = {"bundle": {"name": "mlflow"}, "resources": {"jobs": {"train": {"name": "train", "tasks": [task]}}}}
    (tmp_path / "databricks.yml").write_text(yaml.safe_dump(bundle))
    with LocalCloud(tmp_path / "state", bundle=tmp_path / "databricks.yml") as cloud:
        workspace = Workspace(cloud)
        run = workspace.wait(workspace.run("train"), seconds=60)
        log = workspace.jobs.get_run_output(run.tasks[0].run_id).logs
        assert run.state.result_state.value == "SUCCESS", log
        assert "champion 1 {'mae': 1.5}" in log
        store = cloud.environment()["MLFLOW_TRACKING_URI"]
    # Read without MLflow, whose import costs more than this whole test: the store clients are pointed to holds it.
    with contextlib.closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as connection:
        assert connection.execute("SELECT name, alias, version FROM registered_model_aliases").fetchall() == [
            ("forecast", "champion", 1)
        ]
    model = tmp_path / "state" / "mlflow" / "artifacts"
    assert [path.read_text() for path in model.rglob("model.txt")] == ["a model"]
    assert not list(tmp_path.rglob("mlruns"))
