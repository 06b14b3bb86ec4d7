"""Two versions trained by the real job on a local workspace: from the training data to the champion and back."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest

from adfml_assets import lake_layout
from adfml_assets.asset_keys import champion_key, job_key, model_key, training_data_key
from adfml_assets.components.gate import Gate
from adfml_assets.components.remote_engine import RemoteEngine
from adfml_assets.components.trained_model import TrainedModel
from adfml_assets.components.training_source import Label
from adfml_assets.models.promotion import promote_version, roll_back, tell_unity_catalog
from local_cloud.process import LocalCloud
from resources.completion_log import CompletionLog
from resources.control import ControlDatabase, utc_now
from resources.database import Databases
from resources.databricks import Databricks
from resources.lake import Lake
from resources.manifest import build_manifest, commit_manifest
from sensors.polling import advance_jobs
from tests.models.bench import NOW, describe_failures, read_checks
from tests.models.conftest import record
from tests.workloads.conftest import EXPERIMENT, HYPERPARAMS, REGISTERED_MODEL, write_training_data

MODEL = "customer_spend"
JOB, TRAINED, CHAMPION = job_key(model_key(MODEL)), model_key(MODEL), champion_key(MODEL)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with LocalCloud(tmp_path_factory.mktemp("cloud")) as started:
        yield started


class Training:
    """The assets of the declaration, with the daemon's part done by hand."""

    def __init__(self, databricks: Databricks, gate: Gate) -> None:
        component = TrainedModel(
            name=MODEL,
            label=Label(days=30, baseline="spend_30", name="spend", function="a.b.c", tables={"t": "shop.main.T"}),
            engine=RemoteEngine(job="adfml_training"),
            registered_model=REGISTERED_MODEL,
            experiment=EXPERIMENT,
            from_features="customers",
            gate=gate,
            hyperparameters=HYPERPARAMS,
        )
        built = component.build_defs(None)  # type: ignore[arg-type]
        self.assets: list[Any] = [*(built.assets or []), *(built.asset_checks or [])]
        self.instance = dg.DagsterInstance.ephemeral()
        self.lake, self.control, self.databricks = Lake(), ControlDatabase(), databricks

    def train(self, version: str, fails: bool = False, **config: str) -> dg.ExecuteInProcessResult:
        self.instance.add_dynamic_partitions(f"{MODEL}_versions", [version])
        folder = lake_layout.training_data_folder(MODEL, version)
        write_training_data(Path(self.lake.uri(folder)), version)
        files = [self.lake.describe_file(path) for path in self.lake.list_files(folder) if path.endswith(".parquet")]
        asset = training_data_key(MODEL).to_user_string()
        manifest = build_manifest(
            asset=asset, partition=version, files=files, schema=pa.schema([]), written_at=NOW, run_id="r"
        )
        commit_manifest(self.lake, folder, manifest)
        ops = {JOB.to_python_identifier(): {"config": config}} if config else {}
        submitted = self._run(version, [JOB], {"ops": ops})
        assert submitted.success, describe_failures(submitted)
        stop_at = time.monotonic() + 120
        while self.control.ledger.list_outstanding():
            assert time.monotonic() < stop_at, self.control.ledger.list_jobs()
            advance_jobs(
                self.control.ledger,
                self.databricks,
                now=utc_now(),
                budget_seconds=20,
                log=logging.getLogger("test"),
            )
            time.sleep(0.1)
        result = self._run(version, [TRAINED, CHAMPION], {})
        assert result.success is not fails, describe_failures(result)
        return result

    def _run(self, version: str, keys: list[dg.AssetKey], config: dict[str, Any]) -> dg.ExecuteInProcessResult:
        resources = {
            "lake": self.lake,
            "control": self.control,
            "databases": Databases(),
            "databricks": self.databricks,
            "completion_log": CompletionLog(),
        }
        return dg.materialize(
            self.assets,
            selection=keys,
            partition_key=version,
            instance=self.instance,
            resources=resources,
            run_config=config,
            raise_on_error=False,
        )


def test_from_training_data_to_champion_and_back(cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)
    databricks = Databricks()
    training = Training(databricks, Gate(tolerance=0.01))
    models = training.control.models

    training.train("1")
    assert models.aliases(MODEL) == {"champion": "1"}
    first = models.get(MODEL, "1")
    assert (first.model_file, first.registered_name) == ("model.skops", REGISTERED_MODEL)
    assert read_catalog(databricks) == {"champion": int(str(first.registered_version))}

    # Two small trees learn next to nothing.
    weak = training.train("2", fails=True, hyperparameters='{"max_iter": 2, "learning_rate": 0.02}')
    passed, said = read_checks(weak)["beats_champion"]
    assert not passed
    assert said.startswith("Is worse than the champion, version 1: test mae ")
    assert [event.asset_key for event in weak.get_asset_materialization_events()] == [TRAINED]
    second = models.get(MODEL, "2")
    assert (second.verdict, second.compared_to) == ("refused", "1")
    assert models.aliases(MODEL) == {"champion": "1"}

    promote_version(training.control, databricks, MODEL, "2", "alice", "to see it score", force=True)
    assert read_catalog(databricks) == {"champion": int(str(second.registered_version))}
    back = roll_back(training.control, databricks, MODEL, "alice", "It scores zeros.")
    assert (back.change.version, back.unity_catalog.problem) == ("1", None)
    assert read_catalog(databricks) == {"champion": int(str(first.registered_version))}

    models.point(MODEL, "audit", "2", "alice", "for the auditors")
    assert tell_unity_catalog(models, databricks, MODEL).problem is None
    assert set(read_catalog(databricks)) == {"champion", "audit"}
    models.point(MODEL, "audit", None, "alice", "done")
    databricks.client.registered_models.delete_alias(REGISTERED_MODEL, "audit")  # somebody was faster
    assert str(tell_unity_catalog(models, databricks, MODEL)) == f"told: audit of {REGISTERED_MODEL} taken away"
    models.register(record("1", registered_name="main.ml.absent", registered_version="1"))
    models.promote(record("1").model, "1", "alice", "", force=True)
    said = str(tell_unity_catalog(models, databricks, record("1").model))
    assert "name=main.ml.absent not found" in said
    assert "Check that main.ml.absent exists there" in said


def read_catalog(databricks: Databricks) -> dict[str, int]:
    found = databricks.client.registered_models.get(REGISTERED_MODEL, include_aliases=True)
    return {str(alias.alias_name): int(alias.version_num or 0) for alias in found.aliases or []}
