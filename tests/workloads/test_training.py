"""What a training leaves behind: files, metadata, an MLflow run and version; and what it refuses."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import compute, parquet
from sklearn import metrics as sklearn_metrics

from tests.workloads.conftest import (
    EXPERIMENT,
    FEATURES,
    LABEL,
    PERIODS,
    REGISTERED_MODEL,
    Run,
    Trained,
    write_training_data,
)
from workloads.errors import TrainingError
from workloads.skops_files import TRUSTED_TYPES


def read(folder: Path, split: str):
    return parquet.read_table(folder / f"{split}.parquet").to_pandas()


def load_estimator(model_path: Path):
    from skops import io

    return io.load(model_path / "model.skops", trusted=list(TRUSTED_TYPES))


def find_run(store: str, run_id: str):
    from mlflow import MlflowClient

    return MlflowClient(store, store).get_run(run_id)


def find_registered_model(store: str):
    from mlflow import MlflowClient

    return MlflowClient(store, store).get_registered_model(REGISTERED_MODEL)


def find_versions(store: str) -> list:
    from mlflow import MlflowClient

    return MlflowClient(store, store).search_model_versions(f"name = '{REGISTERED_MODEL}'")


def test_files_are_whole_and_match(trained: Trained):
    assert sorted(path.name for path in trained.model_path.iterdir()) == ["metadata.json", "model.skops"]
    metadata = trained.metadata
    content = (trained.model_path / metadata["model_file"]).read_bytes()
    assert metadata["model_sha256"] == hashlib.sha256(content).hexdigest()
    assert (metadata["model"], metadata["version"]) == ("customer_spend", "1")
    assert metadata["features"] == FEATURES
    assert metadata["rows"] == {"train": 1500, "validation": 500, "test": 500}
    assert metadata["hyperparams"]["learning_rate"] == 0.1
    assert metadata["hyperparams"]["max_leaf_nodes"] == 15  # a default, recorded as well
    assert metadata["submission_key"] == "customer_spend|1|1"
    assert metadata["library_versions"]["scikit-learn"].startswith("1.9.")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_metrics_are_what_the_model_in_the_file_does(trained: Trained, split: str):
    data = read(trained.training_data, split)
    scores = load_estimator(trained.model_path).predict(data[FEATURES].astype(float))
    label = data[LABEL].to_numpy()
    reported = trained.metadata["metrics"][split]
    assert reported["mae"] == pytest.approx(sklearn_metrics.mean_absolute_error(label, scores))
    assert reported["rmse"] == pytest.approx(sklearn_metrics.mean_squared_error(label, scores) ** 0.5)
    assert reported["r2"] == pytest.approx(sklearn_metrics.r2_score(label, scores))
    assert reported["bias"] == pytest.approx(scores.mean() - label.mean())
    ranks = data.assign(score=scores)[["score", LABEL]].rank()
    assert reported["spearman"] == pytest.approx(ranks["score"].corr(ranks[LABEL]))
    assert scores.min() > 0  # a log link below the square: no score is negative


def test_baseline_is_the_best_of_three(trained: Trained):
    train_label, test = read(trained.training_data, "train")[LABEL], read(trained.training_data, "test")
    expected = {
        "spend_30": np.abs(test["spend_30"] - test[LABEL]).mean(),
        "train_median": np.abs(train_label.median() - test[LABEL]).mean(),
        "train_mean": np.abs(train_label.mean() - test[LABEL]).mean(),
    }
    baseline = trained.metadata["baseline"]
    assert baseline["name"] == min(expected, key=expected.__getitem__)
    assert baseline["test"]["mae"] == pytest.approx(min(expected.values()))
    found = {name: values["test"]["mae"] for name, values in baseline["candidates"].items()}
    assert found == pytest.approx(expected)
    assert trained.metadata["metrics"]["test"]["mae"] < baseline["test"]["mae"]


def test_run_and_version_are_in_mlflow(trained: Trained, store: str):
    from mlflow import MlflowClient

    noted = trained.metadata["mlflow"]
    run = find_run(store, noted["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["learning_rate"] == "0.1"
    assert run.data.metrics["test_mae"] == pytest.approx(trained.metadata["metrics"]["test"]["mae"])
    assert run.data.tags["submission_key"] == "customer_spend|1|1"
    assert run.data.tags["adfml_model_version"] == "customer_spend/1"
    assert run.data.tags["features_sha256"] == "f" * 64
    assert run.data.tags["training_data_path"] == str(trained.training_data)
    client = MlflowClient(store, store)
    assert client.get_experiment(run.info.experiment_id).name == noted["experiment_name"] == EXPERIMENT
    version = client.get_model_version(REGISTERED_MODEL, noted["registered_model_version"])
    assert version.run_id == noted["run_id"]
    assert version.tags["submission_key"] == "customer_spend|1|1"
    assert version.tags["adfml_model_version"] == "customer_spend/1"
    assert noted["experiment_id"] == run.info.experiment_id
    assert sorted(noted) == [
        "experiment_id",
        "experiment_name",
        "registered_model_name",
        "registered_model_version",
        "run_id",
    ]


def test_model_in_mlflow_is_no_pickle_and_scores_the_same(trained: Trained, store: str):
    import mlflow

    mlflow.set_tracking_uri(store)
    version = trained.metadata["mlflow"]["registered_model_version"]
    location = Path(mlflow.artifacts.download_artifacts(f"models:/{REGISTERED_MODEL}/{version}"))
    names = sorted(path.name for path in location.rglob("*"))
    assert "model.skops" in names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib"))]
    assert Path(store.removeprefix("sqlite:///")).parent / "artifacts" in location.parents  # not below the cwd
    data = read(trained.training_data, "test")[FEATURES].astype(float)
    logged = mlflow.pyfunc.load_model(f"models:/{REGISTERED_MODEL}/{version}")
    assert [column.name for column in logged.metadata.signature.inputs.inputs] == FEATURES
    np.testing.assert_array_equal(logged.predict(data), load_estimator(trained.model_path).predict(data))


def test_training_that_failed_after_registering_is_finished_by_its_rerun(trained: Trained, store: str):
    assert trained.first_failure.startswith(f"cannot write {trained.model_path}")
    versions = [found for found in find_versions(store) if found.tags["adfml_model_version"] == "customer_spend/1"]
    assert [str(found.version) for found in versions] == [trained.metadata["mlflow"]["registered_model_version"]]
    assert versions[0].run_id == trained.metadata["mlflow"]["run_id"]


def test_same_submission_key_for_another_model_is_refused(trained: Trained, train_here, store: str, tmp_path: Path):
    before = len(find_versions(store))
    with pytest.raises(
        TrainingError, match=r"^submission key customer_spend.* is already registered .* with a new key$"
    ):
        train_here(trained.training_data, tmp_path / "model", hyperparams='{"max_iter": 3}')
    assert not (tmp_path / "model").exists()
    assert len(find_versions(store)) == before


def test_training_registers_once_and_leaves_aliases_alone(trained: Trained, train_here, store: str, tmp_path: Path):
    from mlflow import MlflowClient

    client = MlflowClient(store, store)
    first = trained.metadata["mlflow"]["registered_model_version"]
    client.set_registered_model_alias(REGISTERED_MODEL, "champion", first)
    data = write_training_data(tmp_path / "5", "5")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    killed = client.create_run(experiment.experiment_id, tags={"submission_key": "customer_spend|5|1"})
    train_here(data, tmp_path / "model5", version="5")
    assert client.get_run(killed.info.run_id).info.status == "KILLED"
    versions = len(find_versions(store))
    train_here(data, tmp_path / "model5", version="5")
    assert len(find_versions(store)) == versions
    assert {alias: str(found) for alias, found in find_registered_model(store).aliases.items()} == {"champion": first}


def without(name: str):
    return lambda split, table: table.drop_columns([name]) if split == "validation" else table


def with_label(values):
    def change(split: str, table: pa.Table) -> pa.Table:
        return table.set_column(table.column_names.index(LABEL), LABEL, values(table)) if split == "train" else table

    return change


def as_text(split: str, table: pa.Table) -> pa.Table:
    position = table.column_names.index("is_foreign")
    return table.set_column(position, "is_foreign", compute.cast(table.column(position), pa.string()))


def emptied(split: str, table: pa.Table) -> pa.Table:
    return table.slice(0, 0) if split == "train" else table


def always_missing(split: str, table: pa.Table) -> pa.Table:
    empty = pa.nulls(table.num_rows, pa.float64())
    return table.set_column(table.column_names.index("average_invoice"), "average_invoice", empty)


def overlapping(split: str, table: pa.Table) -> pa.Table:
    dates = pa.array([PERIODS["train"]] * table.num_rows)
    return table.set_column(table.column_names.index("feature_date"), "feature_date", dates)


@pytest.mark.parametrize(
    ("change", "card", "expected"),
    [
        (without("purchases_90"), {}, "lacks the columns purchases_90; it has CustomerId, recency_days, spend_30"),
        (without("feature_date"), {}, "lacks the columns feature_date; it has CustomerId"),
        (emptied, {}, "the train split is empty"),
        (with_label(lambda table: pa.array([0.0] * table.num_rows)), {}, "is zero in all 1500 rows"),
        (with_label(lambda table: pa.nulls(table.num_rows)), {}, "is NULL or infinite in 1500 of 1500 rows"),
        (with_label(lambda table: pa.array([-5.0] * table.num_rows)), {}, "the label is negative in 1500 rows"),
        (as_text, {}, "not numeric: is_foreign (string)"),
        (always_missing, {}, "missing in every row: average_invoice"),
        (overlapping, {}, "begins at 2025-01-01, not after the end of the train split"),
        (lambda split, table: table, {"features": [*FEATURES, LABEL]}, f"has {LABEL} among the features"),
        (lambda split, table: table, {"label": ""}, "lacks label; a data card has model, version"),
        (
            lambda split, table: table,
            {"rows": {"train": 1501, "validation": 500, "test": 500}},
            "holds 1500 rows, the data card says 1501",
        ),
    ],
    ids=[
        "feature missing",
        "time missing",
        "empty",
        "all zero",
        "all NULL",
        "negative",
        "not numeric",
        "feature NULL",
        "overlap",
        "leak",
        "card",
        "rows",
    ],
)
def test_bad_data_is_named(train: Run, tmp_path: Path, change, card, expected: str):
    done = train(write_training_data(tmp_path / "data", change=change, **card), tmp_path / "model")
    assert done.code == 1
    assert done.last_line.startswith("TrainingError: ")
    assert expected in done.last_line
    assert "Traceback" in done.err
    assert not (tmp_path / "model").exists()


def test_missing_file_says_what_is_there(train: Run, tmp_path: Path):
    data = write_training_data(tmp_path / "data")
    (data / "test.parquet").unlink()
    done = train(data, tmp_path / "model")
    assert done.last_line == (
        f"TrainingError: no file test.parquet in {data}: "
        "the folder holds data_card.json, train.parquet, validation.parquet"
    )


def test_truncated_file_is_recognised(train: Run, tmp_path: Path):
    data = write_training_data(tmp_path / "data")
    content = (data / "train.parquet").read_bytes()
    (data / "train.parquet").write_bytes(content[: len(content) // 2])
    assert "train.parquet is not a whole Parquet file" in train(data, tmp_path / "model").last_line


def test_data_of_another_version_is_refused(trained: Trained, train: Run, tmp_path: Path):
    done = train(trained.training_data, tmp_path / "model", version="2")
    assert "is of customer_spend version 1, asked for was customer_spend version 2" in done.last_line


def test_arguments_that_databricks_left_empty_are_named(run: Run):
    done = run("train_model.py", training_data_path="", model_path="somewhere")
    assert done.code == 1
    assert done.last_line.startswith("TrainingError: missing or empty arguments: --training-data-path (folder with")
    assert "--model-path" not in done.last_line


def test_without_a_tracking_store_it_says_how_to_give_one(trained: Trained, train: Run, tmp_path: Path):
    done = train(trained.training_data, tmp_path / "model", environment={"MLFLOW_TRACKING_URI": ""})
    assert done.last_line.startswith("TrainingError: MLFLOW_TRACKING_URI is not set: give it an absolute sqlite:////")
