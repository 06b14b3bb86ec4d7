"""A local cloud whose MLflow registry holds a small model, and what tests of its endpoint do over and over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
import yaml

from local_cloud.process import LocalCloud
from resources.azure_ml_online import AzureMlOnline, OnlineLimits, OnlineTarget, Scored

FEATURES = ("recency_days", "purchases", "spend")
ENDPOINT = "small-model"
REGISTERED = "main.ml.small_model"
BUNDLE = {
    "bundle": {"name": "tests"},
    "resources": {
        "jobs": {
            "idle": {"name": "idle", "tasks": [{"task_key": "main", "spark_python_task": {"python_file": "./work.py"}}]}
        }
    },
}


def make_records(rows: int, seed: int = 1, first: int = 1) -> pa.Table:
    """Customers to score; every tenth has a NULL."""
    random = np.random.default_rng(seed)
    spend = np.round(random.lognormal(3, 1, rows), 2)
    return pa.table(
        {
            "RecordId": pa.array(np.arange(first, first + rows)),
            "recency_days": pa.array(random.integers(0, 120, rows)),
            "purchases": pa.array(random.poisson(3, rows).astype(np.int32)),
            "spend": pa.array([None if i % 10 == 0 else float(s) for i, s in enumerate(spend)], pa.float64()),
        }
    )


def fit(seed: int) -> Any:
    """A small model of the kind that the training job makes."""
    import pandas as pd
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import HistGradientBoostingRegressor

    table = make_records(400, seed)
    frame = pd.DataFrame({name: table[name].to_numpy(zero_copy_only=False).astype(float) for name in FEATURES})
    label = frame["purchases"] * 10 + frame["spend"].fillna(0) * seed
    return TransformedTargetRegressor(HistGradientBoostingRegressor(max_iter=10)).fit(frame, label)


def predict_here(estimator: Any, records: pa.Table) -> list[float]:
    """What the model says in this process."""
    from workloads.columns import to_matrix
    from workloads.regression import predict

    return [float(score) for score in predict(estimator, to_matrix(records, FEATURES)[0], FEATURES)]


@dataclass(frozen=True)
class Models:
    """The registered model's versions: the first is champion, the second challenger and newest."""

    champion: Any
    challenger: Any


@pytest.fixture(scope="package")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "work.py").write_text("")
    (folder / "databricks.yml").write_text(yaml.safe_dump(BUNDLE))
    with LocalCloud(tmp_path_factory.mktemp("cloud"), bundle=folder / "databricks.yml") as started:
        yield started


@pytest.fixture(scope="package")
def models(cloud: LocalCloud) -> Models:
    from mlflow import MlflowClient

    from workloads.tracking import TrainedRun, register_model

    fitted = [fit(seed) for seed in (1, 2)]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cloud.environment().items():
            patch.setenv(name, value)
        for number, estimator in enumerate(fitted, 1):
            tags = {"adfml_model_version": f"small_model/{number}"}
            run = TrainedRun("tests", REGISTERED, f"k{number}", f"f{number}", {}, {}, tags, FEATURES)
            version = register_model(run, estimator).version
            alias = "champion" if number == 1 else "challenger"
            MlflowClient().set_registered_model_alias(REGISTERED, alias, version)
    # The first request imports MLflow and loads a model: no test shall wait for that.
    body = {"input_data": {"columns": list(FEATURES), "data": [[1, 1, 1]]}}
    key = cloud.environment()["ADFML_AZURE_ML_KEY"]
    for deployment in ("champion", "challenger"):
        headers = {"Authorization": f"Bearer {key}", "azureml-model-deployment": deployment}
        uri = f"{cloud.url}/azureml/online/{ENDPOINT}/score"
        httpx.post(uri, json=body, headers=headers, timeout=120).raise_for_status()
    httpx.delete(f"{cloud.url}/_local/requests").raise_for_status()
    return Models(*fitted)


@dataclass
class Bench:
    """What a test does over and over."""

    cloud: LocalCloud
    models: Models
    online: AzureMlOnline

    @property
    def uri(self) -> str:
        return f"{self.cloud.url}/azureml/online/{ENDPOINT}/score"

    @property
    def path(self) -> str:
        return f"/azureml/online/{ENDPOINT}/score"

    def target(self, **changes: Any) -> OnlineTarget:
        return OnlineTarget(**{"scoring_uri": self.uri, **changes})

    def score(self, records: Any, *, columns: Sequence[str] | None = FEATURES, **limits: Any) -> Scored:
        given = {"retry_seconds": 20.0, "request_seconds": 10.0, **limits}
        return self.online.score(records, self.target(), columns=columns, limits=OnlineLimits(**given))

    def order(self, **fault: Any) -> None:
        httpx.post(f"{self.cloud.url}/_local/faults", json=fault).raise_for_status()

    def behave(self, name: str, value: float | None = None, times: int | None = 1) -> None:
        self.order(kind="behaviour", name=f"azure_ml_online.{name}", times=times, value=value)

    def requests(self) -> int:
        return int(httpx.get(f"{self.cloud.url}/_local/requests").json().get(f"POST {self.path}", 0))


@pytest.fixture
def bench(cloud: LocalCloud, models: Models, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)
    yield Bench(cloud, models, AzureMlOnline())
    httpx.delete(f"{cloud.url}/_local/faults").raise_for_status()
    httpx.delete(f"{cloud.url}/_local/requests").raise_for_status()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for defs.yaml."""
    (tmp_path / "defs").mkdir()
    return tmp_path / "defs"
