"""The parts on their own: hyperparameters, metrics, files, the local tracking store, the bundle."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import workloads
from workloads import build_features, score_model, train_model
from workloads.errors import TrainingError, WorkloadError
from workloads.metrics import forecast_naively, measure
from workloads.paths import FileArea, split_path
from workloads.regression import fit, parse_hyperparams, predict
from workloads.tracking import prepare_local_store
from workloads.training_data import DataCard, Split


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '{"learning_rte": 0.1, "depth": 3}',
            "unknown hyperparams: depth, learning_rte; valid are learning_rate, max_",
        ),
        ('{"learning_rate": "fast"}', "hyperparam learning_rate must be a number from 0.0001 to 1, not 'fast'"),
        ('{"max_iter": 10.5}', "hyperparam max_iter must be a whole number from 1 to 5000, not 10.5"),
        ('{"max_iter": true}', "hyperparam max_iter must be a whole number from 1 to 5000, not True"),
        ('{"l2_regularization": NaN}', "hyperparam l2_regularization must be a number from 0 to 1e+06, not nan"),
        ('{"target_transform": "cube"}', "hyperparam target_transform must be one of sqrt, log, none, not 'cube'"),
        ("[1]", "hyperparams must be a JSON object such as {}, not '[1]'"),
        ("{", "hyperparams is not valid JSON"),
    ],
)
def test_bad_hyperparams_are_named(text: str, expected: str):
    with pytest.raises(WorkloadError, match=re.escape(expected)):
        parse_hyperparams(text)


def test_hyperparams_keep_their_types():
    given = parse_hyperparams('{"learning_rate": 1, "max_iter": 30.0, "target_transform": "none"}')
    assert (given.learning_rate, given.max_iter, given.target_transform) == (1.0, 30, "none")
    assert isinstance(given.learning_rate, float)
    assert isinstance(given.max_iter, int)
    assert parse_hyperparams("") == parse_hyperparams("{}")


def test_metrics_of_a_constant_are_not_nan():
    constant = measure(np.full(4, 2.0), np.array([1.0, 2.0, 3.0, 4.0]))
    assert constant == {"mae": 1.0, "rmse": pytest.approx(1.5**0.5), "r2": None, "bias": 0.5, "spearman": None}
    assert measure(np.array([1.0, 2.0, 3.0]), np.full(3, 2.0))["spearman"] is None


def make_split(name: str, rows: int, seed: int) -> Split:
    random = np.random.default_rng(seed)
    features = np.column_stack(
        [random.random(rows), np.where(random.random(rows) < 0.2, np.nan, 1.0), random.integers(0, 3, rows)]
    )
    label = np.where(features[:, 0] > 0.5, features[:, 0] * 100, 0.0)
    return Split(name, features, label, np.where(random.random(rows) < 0.3, np.nan, 50.0), name, name)


def test_naive_forecast_is_the_median_where_it_is_missing():
    train, test = make_split("train", 101, 0), make_split("test", 50, 1)
    card = DataCard("m", "1", "k", "t", "y", "naive", ("a", "b", "c"), "", {}, {})
    forecast = forecast_naively(train, test, card)["naive"]
    missing = np.isnan(test.baseline)
    assert missing.any()
    assert set(forecast[missing]) == {float(np.median(train.label))}
    assert set(forecast[~missing]) == {50.0}


def test_validation_alone_decides_how_many_trees():
    train, features = make_split("train", 600, 0), ("a", "b", "c")
    hyperparams = parse_hyperparams('{"max_iter": 80, "learning_rate": 0.3, "min_samples_leaf": 5}')
    validation = make_split("validation", 200, 1)
    fitted = fit(train, validation, features, hyperparams)
    unlike = Split("validation", validation.features, validation.label[::-1].copy(), validation.baseline, 0, 0)
    misled = fit(train, unlike, features, hyperparams)
    assert misled.iterations < fitted.iterations <= 80
    assert fitted.estimator.regressor_.n_iter_ == fitted.iterations
    # No other number of trees would have done better on the validation split.
    errors = []
    for trees in (1, fitted.iterations // 2, fitted.iterations - 1):
        other = fit(train, validation, features, replace(hyperparams, max_iter=trees))
        errors.append(np.abs(predict(other.estimator, validation.features, features) - validation.label).mean())
    own = np.abs(predict(fitted.estimator, validation.features, features) - validation.label).mean()
    assert own < min(errors)


def test_write_keeps_the_old_file_until_the_new_one_is_whole(tmp_path: Path):
    (tmp_path / "file").write_text("old", "utf-8")

    def die_while_writing(path: Path) -> None:
        path.write_text("half", "utf-8")
        raise RuntimeError("died here")

    with FileArea() as area:
        with pytest.raises(RuntimeError), area.write(str(tmp_path), "file") as path:
            die_while_writing(path)
        assert [(found.name, found.read_text("utf-8")) for found in tmp_path.iterdir()] == [("file", "old")]
        with (tmp_path / "file").open("rb") as reader:
            with area.write(str(tmp_path), "file") as path:
                path.write_text("new", "utf-8")
                assert (tmp_path / "file").read_text("utf-8") == "old"
            assert reader.read() == b"old"  # who had opened it goes on with the whole old file
    assert [(found.name, found.read_text("utf-8")) for found in tmp_path.iterdir()] == [("file", "new")]


def test_write_tidies_up_after_a_process_that_was_killed(tmp_path: Path):
    old, young = tmp_path / ".file.0123.tmp", tmp_path / ".file.4567.tmp"
    for leftover in (old, young):
        leftover.write_text("half", "utf-8")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    with FileArea() as area, area.write(str(tmp_path), "file") as path:
        path.write_text("whole", "utf-8")
    assert sorted(found.name for found in tmp_path.iterdir()) == [young.name, "file"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "abfss://ml@account.dfs.core.windows.net/a/b.parquet",
            ("abfss://ml@account.dfs.core.windows.net/a", "b.parquet"),
        ),
        ("/lake/b.parquet", ("/lake", "b.parquet")),
        ("/b.parquet", ("/", "b.parquet")),
        ("b.parquet", (".", "b.parquet")),
    ],
)
def test_split_path(path: str, expected: tuple[str, str]):
    assert split_path(path) == expected


def test_store_that_four_processes_wanted_to_create_is_whole(store: str):
    from mlflow import MlflowClient

    client = MlflowClient(store, store)
    assert "Default" in {experiment.name for experiment in client.search_experiments()}
    folder = Path(store.removeprefix("sqlite:///")).parent
    assert not (folder / "mlflow.db.new").exists()
    # What an unprotected creation leaves behind when it is disturbed.
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert not [name for name in tables if name.startswith("_alembic_tmp")]


def test_an_empty_file_is_no_store_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """As a process leaves it that opens the database before MLflow has made it."""
    monkeypatch.chdir(tmp_path)
    database = tmp_path / "mlflow.db"
    database.touch()
    prepare_local_store(f"sqlite:///{database}")
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)


def test_script_without_file_variable_fails_as_an_exception_on_databricks(tmp_path: Path):
    # Databricks runs a file's compiled source in a shell that knows no __file__, and shows the exception on the page.
    folder = tmp_path / "files"
    shutil.copytree(Path(workloads.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    command = (
        "import sys\n"
        "name = sys.argv[1]; sys.argv = [name]\n"
        "try:\n"
        "    exec(compile(open(name).read(), name, 'exec'), {'__name__': '__main__'})\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, '|', error, '|', sys.modules['workloads'].__file__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", command, str(folder / "train_model.py")],
        cwd=tmp_path,
        env={**os.environ, "DATABRICKS_RUNTIME_VERSION": "client.5.1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("TrainingError | missing or empty arguments: --training-data-path"), done.stderr
    assert done.stdout.strip().endswith(f"| {folder / '__init__.py'}")


def test_unknown_argument_is_an_error_of_the_job():
    with pytest.raises(
        TrainingError, match=r"unrecognized arguments: --stage production; arguments: usage: train_model"
    ):
        train_model.main(["--stage", "production"])


FOLDER = Path(workloads.__file__).parent
JOBS = {"adfml_features": build_features, "adfml_training": train_model, "adfml_scoring": score_model}


@pytest.fixture(scope="module")
def definition() -> dict:
    return yaml.safe_load((FOLDER / "databricks.yml").read_text("utf-8"))


@pytest.mark.parametrize("name", JOBS)
def test_bundle_has_jobs_the_jobs_api_understands(definition: dict, name: str):
    from databricks.sdk.service.jobs import JobSettings

    job = definition["resources"]["jobs"][name]
    assert JobSettings.from_dict(job).as_dict() == job  # a key the API does not know would be lost on the way
    assert job["name"] == name
    assert job["queue"] == {"enabled": True}


@pytest.mark.parametrize("name", JOBS)
def test_bundle_passes_each_job_parameter_to_the_script(definition: dict, name: str):
    job, script = definition["resources"]["jobs"][name], JOBS[name]
    (task,) = job["tasks"]
    assert (FOLDER / task["spark_python_task"]["python_file"]).name == Path(script.__file__).name
    passed = task["spark_python_task"]["parameters"]
    expected = [*script._REQUIRED, *script._OPTIONAL]
    assert passed[::2] == [f"--{parameter.replace('_', '-')}" for parameter in expected]
    assert passed[1::2] == [f"{{{{job.parameters.{parameter}}}}}" for parameter in expected]
    assert [parameter["name"] for parameter in job["parameters"]] == expected
    assert [environment["environment_key"] for environment in job["environments"]] == [task["environment_key"]]


def test_bundle_pins_what_the_project_is_tested_with(definition: dict):
    constraints = (FOLDER.parent / "constraints.txt").read_text("utf-8").splitlines()
    for job in definition["resources"]["jobs"].values():
        for environment in job["environments"]:
            assert set(environment["spec"]["dependencies"]) <= set(constraints)
