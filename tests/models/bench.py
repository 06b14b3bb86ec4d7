"""A model's assets, with a service that trains at once and leaves what a test says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pyarrow as pa

from adfml_assets import lake_layout
from adfml_assets.asset_keys import champion_key, job_key, model_key, training_data_key
from adfml_assets.components.remote_engine import RemoteEngine
from adfml_assets.model_assets import build_champion_asset, build_gate_checks, build_model_asset
from adfml_assets.models.gate import GateRules
from adfml_assets.partitions import build_model_versions
from adfml_assets.training_job import TrainingSpec, build_job_asset
from resources.completion_log import CompletionLog
from resources.control import ControlDatabase
from resources.lake import Lake
from resources.manifest import build_manifest, commit_manifest
from resources.model_registry import ModelRegistry
from resources.remote_jobs import RemoteJob, RemoteRun, RemoteStatus
from tests.models.conftest import MODEL

NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)
NAME = "main.ml.sales"
JOB, TRAINED, CHAMPION = job_key(model_key(MODEL)), model_key(MODEL), champion_key(MODEL)


@dataclass
class FakeRegisteredModels:
    """Unity Catalog's aliases as the SDK sees them: (name, alias) -> version; and every call."""

    aliases: dict[tuple[str, str], int] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    error: Exception | None = None

    def set_alias(self, name: str, alias: str, version_num: int) -> None:
        self._note(f"set {name} {alias} {version_num}")
        self.aliases[name, alias] = version_num

    def delete_alias(self, name: str, alias: str) -> None:
        from databricks.sdk.errors import NotFound

        self._note(f"delete {name} {alias}")
        if (name, alias) not in self.aliases:
            raise NotFound(f"Alias {alias} does not exist.")
        del self.aliases[name, alias]

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if self.error is not None:
            raise self.error


@dataclass
class FakeConfig:
    host: str = "https://adb-1.azuredatabricks.net"


@dataclass
class FakeClient:
    registered_models: FakeRegisteredModels = field(default_factory=FakeRegisteredModels)
    config: FakeConfig = field(default_factory=FakeConfig)


@dataclass
class FakeDatabricks:
    """A workspace that takes every job, and has a Unity Catalog."""

    client: FakeClient = field(default_factory=FakeClient)
    submitted: list[RemoteJob] = field(default_factory=list)
    name: str = "databricks"
    resends_safely: bool = True

    def prepare(self, job: RemoteJob) -> Mapping[str, Any]:
        return {}

    def submit(self, job: RemoteJob) -> RemoteRun:
        self.submitted.append(job)
        return RemoteRun(str(len(self.submitted)), None)


def compare(gain: float, error: float = 1.0) -> dict[str, Any]:
    """What the training job says of one reference."""
    return {"test": {"mae": 10.0 + gain}, "improvement": {"mae": {"value": gain, "standard_error": error}}}


class ModelBench:
    """The assets of a model, materialised as the daemon would, and the job's end in between."""

    def __init__(self, **spec: Any) -> None:
        values: dict[str, Any] = {
            "model": MODEL,
            "engine": RemoteEngine(job="training"),
            "registered_model": NAME,
            "experiment": "/Shared/sales",
            "hyperparameters": '{"max_iter": 60}',
            "rules": GateRules(tolerance=0.01),
            "build_options": lambda about, kinds: {"partitions_def": build_model_versions(MODEL)},
        }
        self.spec = TrainingSpec(**{**values, **spec})
        self.assets = [build_job_asset(self.spec), build_model_asset(self.spec), build_champion_asset(self.spec)]
        self.checks = build_gate_checks(MODEL)
        self.instance = dg.DagsterInstance.ephemeral()
        self.lake, self.control, self.databricks = Lake(), ControlDatabase(), FakeDatabricks()

    @property
    def models(self) -> ModelRegistry:
        return self.control.models

    @property
    def catalog(self) -> FakeRegisteredModels:
        return self.databricks.client.registered_models

    def put_training_data(self, version: str) -> None:
        folder = lake_layout.training_data_folder(MODEL, version)
        file = self.lake.write_table(f"{folder}/train.parquet", pa.table({"version": [version]}))
        asset = training_data_key(MODEL).to_user_string()
        manifest = build_manifest(
            asset=asset, partition=version, files=[file], schema=pa.schema([]), written_at=NOW, run_id="r"
        )
        commit_manifest(self.lake, folder, manifest)

    def submit(self, version: str, fails: bool = False, **config: str) -> dg.ExecuteInProcessResult:
        self.put_training_data(version)
        return self.run(version, JOB, fails=fails, config=config)

    def end_job(self, version: str, **left: Any) -> None:
        """The training job ends, and leaves a model."""
        job = self.control.ledger.find_latest(TRAINED.to_user_string(), version)
        assert job is not None
        content = left.pop("content", f"model {version} of {job.submission_key}".encode())
        file = left.get("model_file", "model.skops")
        metadata = {
            "model": MODEL,
            "version": version,
            "submission_key": job.remote_key,
            "algorithm": "trees",
            "features": ["recency", "spend"],
            "features_sha256": "f" * 64,
            "metrics": {"test": {"mae": 10.0, "r2": None}},
            "model_file": file,
            "model_sha256": hashlib.sha256(content).hexdigest(),
            "mlflow": {"registered_model_name": NAME, "registered_model_version": f"10{version}"},
            "references": {"median": {"kind": "baseline", **compare(5.0)}},
            **left,
        }
        folder = lake_layout.model_folder(MODEL, version)
        self.lake.write_bytes(f"{folder}/{file}", content)
        self.lake.write_bytes(f"{folder}/metadata.json", json.dumps(metadata).encode())
        self.control.ledger.record_ended(job.submission_key, RemoteStatus("succeeded", "SUCCESS"))

    def collect(self, version: str, fails: bool = False) -> dg.ExecuteInProcessResult:
        """The run of a backfill that collects: model, checks and champion."""
        return self.run(version, TRAINED, CHAMPION, fails=fails)

    def train(self, version: str, fails: bool = False, **left: Any) -> dg.ExecuteInProcessResult:
        self.submit(version)
        self.end_job(version, **left)
        return self.collect(version, fails)

    def run(
        self, version: str, *keys: dg.AssetKey, fails: bool = False, config: Mapping[str, str] | None = None
    ) -> dg.ExecuteInProcessResult:
        self.instance.add_dynamic_partitions(f"{MODEL}_versions", [version])
        op = JOB.to_python_identifier()
        result = dg.materialize(
            [*self.assets, *self.checks],
            selection=list(keys),
            partition_key=version,
            instance=self.instance,
            resources={
                "lake": self.lake,
                "control": self.control,
                "databricks": self.databricks,
                "completion_log": CompletionLog(),
            },
            run_config={"ops": {op: {"config": dict(config)}}} if config else None,
            raise_on_error=False,
        )
        assert result.success is not fails, describe_failures(result)
        return result


def compare_champion(version: str, gain: float = 1.0) -> dict[str, Any]:
    """References of a version that was compared with a champion, too."""
    return {
        "median": {"kind": "baseline", **compare(5.0)},
        "champion": {"kind": "champion", "version": version, **compare(gain)},
    }


def describe_failures(result: dg.ExecuteInProcessResult) -> str:
    """What the failed steps of a run said."""
    said = []
    for event in result.get_step_failure_events():
        data = event.step_failure_data
        if data.user_failure_data is not None:
            said.append(str(data.user_failure_data.description))
        if data.error is not None:
            said.append(str(data.error.cause.message if data.error.cause else data.error.message))
    return "\n".join(said)


def read_checks(result: dg.ExecuteInProcessResult) -> dict[str, tuple[bool, str]]:
    """Check -> whether it passed, and what it said."""
    return {e.check_name: (e.passed, str(e.description)) for e in result.get_asset_check_evaluations()}
