"""Generated customers, and the two scripts started as real processes from a copy of their folder, as a bundle does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import workloads
from workloads import score_model, train_model
from workloads.errors import TrainingError

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the scripts do, for what is called in this process

FEATURES = ["recency_days", "purchases_90", "spend_30", "average_invoice", "is_foreign"]
LABEL = "spend_next_30_days"
REGISTERED_MODEL = "main.ml.customer_spend"
EXPERIMENT = "/Shared/customer_spend"
PERIODS = {"train": date(2025, 1, 1), "validation": date(2025, 2, 1), "test": date(2025, 3, 1)}
HYPERPARAMS = {"max_iter": 60, "learning_rate": 0.1}

Run = Callable[..., "Finished"]


@dataclass(frozen=True)
class Finished:
    """A process that has ended."""

    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.err.rstrip("\n").rpartition("\n")[2]


def make_customers(rows: int, seed: int) -> pa.Table:
    """Customers of whom half buy nothing; what the others spend follows from their features, with noise."""
    random = np.random.default_rng(seed)
    recency = random.integers(0, 120, rows)
    purchases = random.poisson(np.exp(1.5 - recency / 40))
    average = np.where(purchases > 0, random.lognormal(3.5, 0.6, rows), np.nan)
    chance = 1 / (1 + np.exp(recency / 15 - 1.5))
    buys = random.random(rows) < chance
    label = np.where(buys, np.nan_to_num(average, nan=20.0) * (1 + purchases / 3) * random.lognormal(0, 0.3, rows), 0.0)
    spend_30 = np.where(recency < 30, np.nan_to_num(average) * random.poisson(1.5, rows), 0.0)
    return pa.table(
        {
            "CustomerId": pa.array(np.arange(rows) + 1),
            "recency_days": pa.array(recency),
            "purchases_90": pa.array(purchases.astype(np.int32)),
            "spend_30": pa.array(np.round(spend_30, 2)),
            "average_invoice": pa.array(average, from_pandas=True),
            "is_foreign": pa.array(random.random(rows) < 0.1),
            LABEL: pa.array(np.round(label, 2)),
        }
    )


def write_training_data(
    folder: Path,
    version: str = "1",
    change: Callable[[str, pa.Table], pa.Table] = lambda split, table: table,
    **card: object,
) -> Path:
    """Write a training set; `change` alters a split before it is written, `card` the data card's entries."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = {}
    for seed, (split, count) in enumerate({"train": 1500, "validation": 500, "test": 500}.items()):
        table = make_customers(count, seed)
        table = table.append_column("feature_date", pa.array([PERIODS[split]] * count))
        table = change(split, table)
        rows[split] = table.num_rows
        parquet.write_table(table, folder / f"{split}.parquet")
    content = {
        "model": "customer_spend",
        "version": version,
        "key": "CustomerId",
        "time": "feature_date",
        "label": LABEL,
        "baseline": "spend_30",
        "features": FEATURES,
        "features_sha256": "f" * 64,
        "rows": rows,
        "periods": {split: str(day) for split, day in PERIODS.items()},
        **card,
    }
    (folder / "data_card.json").write_text(json.dumps(content), "utf-8")
    return folder


def as_options(arguments: Mapping[str, object]) -> list[str]:
    """Name and value of each argument, as on a command line."""
    pairs = [(f"--{name.replace('_', '-')}", str(value)) for name, value in arguments.items()]
    return [part for pair in pairs for part in pair]


def training_arguments(training_data: Path, model_path: Path, version: str) -> dict[str, object]:
    return {
        "training_data_path": training_data,
        "model_path": model_path,
        "model_name": "customer_spend",
        "model_version": version,
        "experiment_name": EXPERIMENT,
        "registered_model_name": REGISTERED_MODEL,
        "hyperparams": json.dumps(HYPERPARAMS),
        "submission_key": f"customer_spend|{version}|1",
    }


def scoring_arguments(input_path: Path | str, output_path: Path | str, model_path: Path | str) -> dict[str, object]:
    return {
        "input_path": input_path,
        "output_path": output_path,
        "model_path": model_path,
        "model_name": "customer_spend",
        "model_version": "1",
        "model_alias": "champion",
        "submission_key": "customer_spend|2025-04-01|1",
    }


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workloads alone, in a folder of another name: what a bundle makes of them in a workspace."""
    folder = tmp_path_factory.mktemp("bundle") / "files"
    shutil.copytree(Path(workloads.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tracking URI whose database four processes wanted to create at the same time."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'store' / 'mlflow.db'}"
    command = "import sys; from workloads.tracking import prepare_local_store; prepare_local_store(sys.argv[1])"
    started = [subprocess.Popen([sys.executable, "-c", command, uri], stderr=subprocess.PIPE) for _ in range(4)]
    errors = [process.communicate(timeout=120)[1].decode() for process in started]
    assert [process.returncode for process in started] == [0, 0, 0, 0], errors
    return uri


@pytest.fixture(scope="session")
def run(bundle: Path, store: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Start a script: `run("train_model.py", training_data_path=…)`; underscores become dashes."""
    elsewhere = tmp_path_factory.mktemp("cwd")

    def start(script: str, environment: Mapping[str, str] | None = None, **arguments: object) -> Finished:
        command = [sys.executable, str(bundle / script), *as_options(arguments)]
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            command,
            cwd=elsewhere,
            env={**inherited, "MLFLOW_TRACKING_URI": store, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return start


@pytest.fixture(scope="session")
def train(run: Run) -> Run:
    """Start `train_model.py` with usual values for what is not given."""

    def start(training_data: Path, model_path: Path, version: str = "1", **arguments: object) -> Finished:
        return run("train_model.py", **{**training_arguments(training_data, model_path, version), **arguments})

    return start


@pytest.fixture
def train_here(store: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The same in this process, where the libraries are loaded already; errors are raised."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)

    def start(training_data: Path, model_path: Path, version: str = "1", **arguments: object) -> None:
        train_model.main(as_options({**training_arguments(training_data, model_path, version), **arguments}))

    return start


@pytest.fixture(scope="session")
def score(run: Run) -> Run:
    """Start `score_model.py` with usual values for what is not given."""

    def start(input_path: Path, output_path: Path, model_path: Path, **arguments: object) -> Finished:
        return run("score_model.py", **{**scoring_arguments(input_path, output_path, model_path), **arguments})

    return start


def score_here(input_path: Path | str, output_path: Path | str, model_path: Path | str, **arguments: object) -> None:
    """Score in this process, where the libraries are loaded already; errors are raised."""
    score_model.main(as_options({**scoring_arguments(input_path, output_path, model_path), **arguments}))


@dataclass(frozen=True)
class Trained:
    """A model trained once for all tests; a first try failed after it had registered the model."""

    training_data: Path
    model_path: Path
    metadata: dict
    first_failure: str


@pytest.fixture(scope="session")
def trained(train: Run, store: str, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("trained")
    data = write_training_data(folder / "data")
    (folder / "model").write_text("a file where the folder should be", "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store)
        with pytest.raises(TrainingError) as failure:
            train_model.main(as_options(training_arguments(data, folder / "model", "1")))
    (folder / "model").unlink()
    finished = train(data, folder / "model")
    assert finished.code == 0, finished.err
    metadata = json.loads((folder / "model" / "metadata.json").read_text("utf-8"))
    return Trained(data, folder / "model", metadata, str(failure.value))


def make_scoring_input(rows: int, seed: int = 9) -> pa.Table:
    """Customers to score, with a column more than the model takes."""
    table = make_customers(rows, seed).drop_columns([LABEL])
    names = ["RecordId", *table.column_names[1:]]
    return table.rename_columns(names).append_column("country", pa.array(["NL"] * rows))
