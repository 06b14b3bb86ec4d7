"""A model trained and scored by Azure ML batch endpoints, from the declaration to the scores back in SQL."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import sqlite3
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adfml_assets import lake_layout
from adfml_assets.components.batch_endpoint import BatchEndpoint, BatchEndpointInvalid
from adfml_assets.components.scored_model import ScoredModel, WriteBack
from adfml_assets.components.trained_model import TrainedModel
from adfml_assets.components.training_source import Label
from adfml_assets.errors import WrongResult
from adfml_assets.scoring.batch_results import collect_scores
from resources.azure_ml_uris import output_folder
from resources.completion_log import CompletionLog
from resources.control import ControlDatabase, utc_now
from resources.database import Databases
from resources.lake import Lake
from resources.manifest import build_manifest, commit_manifest, read_manifest
from resources.model_registry import VersionRecord
from resources.remote_jobs import RemoteJob
from sensors.polling import advance_jobs
from tests.azure_ml_batch.conftest import Bench
from tests.workloads.conftest import FEATURES, HYPERPARAMS, make_scoring_input, write_training_data

DAY = "2026-03-10"
MODEL = "customer_spend"
EXPECTED = {"model": MODEL, "version": "1", "alias": "champion", "feature_snapshot": DAY}
NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)


class Workflow:
    """The assets of a declaration, materialised one by one as Dagster's daemon would."""

    def __init__(self, bench: Bench, component: ScoredModel | TrainedModel, partition: str) -> None:
        self.bench = bench
        self.assets = list(component.build_defs(None).assets or [])  # type: ignore[arg-type]
        self.partition = partition
        self.instance = dg.DagsterInstance.ephemeral()
        self.lake, self.control = Lake(), ControlDatabase()

    def run(self, *names: str, fails: bool = False) -> dg.ExecuteInProcessResult:
        keys = [asset.key for asset in self.assets if asset.key.path[-1] in names or "/".join(asset.key.path) in names]
        assert len(keys) == len(names), [asset.key for asset in self.assets]
        result = dg.materialize(
            self.assets,
            selection=keys,
            partition_key=self.partition,
            instance=self.instance,
            resources={
                "lake": self.lake,
                "control": self.control,
                "databases": Databases(),
                "azure_ml_batch": self.bench.service,
                "completion_log": CompletionLog(),
            },
            raise_on_error=not fails,
        )
        assert result.success is not fails
        return result

    def wait(self) -> RemoteJob:
        stop_at = time.monotonic() + 60
        ledger = self.control.ledger
        while ledger.list_outstanding():
            assert time.monotonic() < stop_at, ledger.list_jobs()
            advance_jobs(ledger, self.bench.service, now=utc_now(), budget_seconds=20, log=logging.getLogger("test"))
            time.sleep(0.1)
        return ledger.list_jobs()[0]


def engine(**values: Any) -> BatchEndpoint:
    return BatchEndpoint(service="azure_ml_batch", **{"endpoint": "adfml-scoring", **values})


def scored(**values: Any) -> ScoredModel:
    return ScoredModel(MODEL, engine(**values), WriteBack("shop.main.Predictions"), from_features="customers")


def put_features(lake: Lake, rows: int) -> None:
    table = make_scoring_input(rows)
    table = table.rename_columns({name: "CustomerId" if name == "RecordId" else name for name in table.column_names})
    table = table.append_column("feature_date", pa.array([date(2026, 3, 9)] * rows, pa.date32()))
    folder = lake_layout.features_folder("customers", DAY)
    written = lake.write_table(f"{folder}/features.parquet", table)
    facts = {"key": "CustomerId", "feature_date": "2026-03-09"}
    manifest = build_manifest(
        asset="features", partition=DAY, files=[written], schema=table.schema, written_at=NOW, run_id="r", facts=facts
    )
    commit_manifest(lake, folder, manifest)


def put_model(lake: Lake, control: ControlDatabase, model: Path, version: str = "1") -> None:
    folder = lake_layout.model_folder(MODEL, version)
    for path in model.iterdir():
        lake.write_bytes(f"{folder}/{path.name}", path.read_bytes())
    control.models.register(
        VersionRecord(
            model=MODEL,
            version=version,
            run_id="r",
            model_file="model.skops",
            model_sha256=hashlib.sha256((model / "model.skops").read_bytes()).hexdigest(),
            features_sha256="f",
        )
    )
    control.models.point(MODEL, "champion", version, "r", "tests")


@pytest.mark.parametrize("values", [{}, {"kind": "model", "deployment": "score-model"}], ids=["pipeline", "model"])
def test_scores_by_a_batch_endpoint(
    bench: Bench, model: Path, shop: sqlite3.Connection, values: dict[str, str]
) -> None:
    workflow = Workflow(bench, scored(**values), DAY)
    put_features(workflow.lake, 3000)
    put_model(workflow.lake, workflow.control, model)
    workflow.run(find_input(workflow), f"{MODEL}_job")
    job = workflow.wait()
    assert (job.state, job.service, job.asset) == ("succeeded", "azure_ml_batch", f"ml/scores/{MODEL}_job"), job.message
    result = workflow.run(f"ml/scores/{MODEL}", "Predictions")
    assert result.success
    scores = workflow.lake.read_table(f"{lake_layout.scores_folder(MODEL, DAY)}/predictions.parquet")
    records = make_scoring_input(3000)
    assert sorted(scores["RecordId"].to_pylist()) == sorted(records["RecordId"].to_pylist())
    assert {
        tuple(row)
        for row in zip(*(scores[c].to_pylist() for c in ("model", "version", "alias", "feature_snapshot")), strict=True)
    } == {(MODEL, "1", "champion", date.fromisoformat(DAY))}
    manifest = read_manifest(workflow.lake, lake_layout.scores_folder(MODEL, DAY))
    assert manifest is not None
    assert (manifest.rows, manifest.source["submission_key"]) == (3000, job.submission_key)
    written = shop.execute("SELECT count(*), min(ModelAlias), min(FeatureSnapshot) FROM Predictions").fetchone()
    assert written == (3000, "champion", DAY)


def test_a_version_that_is_asked_for_scores_without_an_alias(bench: Bench, model: Path) -> None:
    component = dataclasses.replace(scored(), version="1")
    workflow = Workflow(bench, component, DAY)
    put_features(workflow.lake, 10)
    put_model(workflow.lake, workflow.control, model)
    workflow.run(find_input(workflow), f"{MODEL}_job")
    job = workflow.wait()
    assert job.state == "succeeded", job.message
    assert "model_alias" not in job.request["input_data"]
    workflow.run(f"ml/scores/{MODEL}")
    scores = workflow.lake.read_table(f"{lake_layout.scores_folder(MODEL, DAY)}/predictions.parquet")
    said = scores.select(["version", "alias"]).group_by(["version", "alias"]).aggregate([]).to_pylist()
    assert said == [{"version": "1", "alias": ""}]


def find_input(workflow: Workflow) -> str:
    (key,) = [asset.key for asset in workflow.assets if "input" in "/".join(asset.key.path)]
    return "/".join(key.path)


def test_nothing_to_score_submits_no_job(bench: Bench, model: Path) -> None:
    workflow = Workflow(bench, scored(), DAY)
    put_features(workflow.lake, 0)
    put_model(workflow.lake, workflow.control, model)
    workflow.run(find_input(workflow), f"{MODEL}_job")
    assert workflow.control.ledger.list_jobs() == []
    workflow.run(f"ml/scores/{MODEL}")
    scores = workflow.lake.read_table(f"{lake_layout.scores_folder(MODEL, DAY)}/predictions.parquet")
    assert scores.num_rows == 0


def test_a_deployment_of_another_version_is_found_out(bench: Bench, model: Path) -> None:
    """A model deployment scores with the version it was made with, whatever was asked for."""
    workflow = Workflow(bench, scored(kind="model", deployment="score-model"), DAY)
    put_features(workflow.lake, 10)
    put_model(workflow.lake, workflow.control, model, "2")
    workflow.run(find_input(workflow), f"{MODEL}_job")
    assert workflow.wait().state == "succeeded"
    result = workflow.run(f"ml/scores/{MODEL}", fails=True)
    failure = result.get_step_failure_events()[0].step_failure_data.error
    assert "version: expected '2', found '1'" in str(failure)
    assert read_manifest(workflow.lake, lake_layout.scores_folder(MODEL, DAY)) is None


def test_a_failed_job_fails_the_collecting_run_with_the_models_words(bench: Bench, model: Path) -> None:
    workflow = Workflow(bench, scored(), DAY)
    put_features(workflow.lake, 10)
    put_model(workflow.lake, workflow.control, model)
    path = f"{lake_layout.model_folder(MODEL, '1')}/model.skops"
    workflow.lake.write_bytes(path, workflow.lake.read_bytes(path) + b"x")
    workflow.run(find_input(workflow), f"{MODEL}_job")
    assert workflow.wait().state == "failed"
    result = workflow.run(f"ml/scores/{MODEL}", fails=True)
    failure = str(result.get_step_failure_events()[0].step_failure_data.error)
    assert "failed on azure_ml_batch (Failed/UserError)" in failure
    assert "model.skops is refused: its SHA-256 is" in failure


def test_a_model_trained_by_a_pipeline_component(bench: Bench) -> None:
    component = TrainedModel(
        name=MODEL,
        from_features="customers",
        label=Label(30, "spend_30", "spend_next_30_days", "a.b.c", {"t": "shop.main.T"}),
        engine=engine(endpoint="adfml-training", experiment_name="nightly"),
        registered_model="main.ml.customer_spend",
        experiment="/Shared/customer's spend",
        hyperparameters=HYPERPARAMS,
    )
    workflow = Workflow(bench, component, "1")
    workflow.instance.add_dynamic_partitions(component_partitions(workflow), ["1"])
    lake = workflow.lake
    folder = lake_layout.training_data_folder(MODEL, "1")
    write_training_data(Path(lake.uri(folder)))
    written = [lake.describe_file(path) for path in lake.list_files(folder) if path.endswith(".parquet")]
    manifest = build_manifest(asset="t", partition="1", files=written, schema=pa.schema([]), written_at=NOW, run_id="r")
    commit_manifest(lake, folder, manifest)
    workflow.run(f"{MODEL}_job")
    job = workflow.wait()
    assert job.state == "succeeded", job.message
    workflow.run(f"ml/models/{MODEL}")
    metadata = json.loads(lake.read_bytes(f"{lake_layout.model_folder(MODEL, '1')}/metadata.json"))
    assert (metadata["submission_key"], metadata["features"]) == (job.remote_key, FEATURES)
    assert workflow.control.models.aliases(MODEL)["challenger"] == "1"
    assert read_manifest(lake, lake_layout.model_folder(MODEL, "1")) is not None


def component_partitions(workflow: Workflow) -> str:
    definition = workflow.assets[0].partitions_def
    assert isinstance(definition, dg.DynamicPartitionsDefinition)
    return str(definition.name)


def put_answer(lake: Lake, job: RemoteJob, change: Any) -> None:
    table = make_scoring_input(20).select(["RecordId"])
    rows = table.num_rows
    for name, values in {
        "score": pa.array([1.0] * rows),
        "model": pa.array([MODEL] * rows),
        "version": pa.array(["1"] * rows),
        "scored_at": pa.array([NOW] * rows, pa.timestamp("us", tz="UTC")),
    }.items():
        table = table.append_column(name, values)
    folder = Path(lake.uri(output_folder(lake_layout.batch_output_folder(MODEL, DAY), job.token)))
    folder.mkdir(parents=True)
    for index, part in enumerate(change(table)):
        pq.write_table(part, folder / f"part-{index}.parquet")


WRONG = {
    "nothing": (lambda t: [], "the scores as Parquet files"),
    "missing rows": (lambda t: [t.slice(1)], "expected 20 scores, one a record of the input, found 19"),
    "rows twice": (lambda t: [t, t.slice(0, 1)], "found 21"),
    "one doubled, one missing": (lambda t: [t.slice(1), t.slice(1, 1)], "none for 1 of them"),
    "no column": (lambda t: [t.drop_columns(["score"])], "none named score"),
    "NaN": (
        lambda t: [t.set_column(1, "score", pa.array([float("nan")] * 20))],
        "a finite score in every row",
    ),
    "text": (lambda t: [t.set_column(1, "score", pa.array(["high"] * 20))], "score: expected double"),
    "another model": (
        lambda t: [t.set_column(2, "model", pa.array(["other"] * 20))],
        "model: expected 'customer_spend'",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_answer_leaves_the_scores_as_they_were(bench: Bench, lake: Lake, case: str) -> None:
    change, message = WRONG[case]
    job = bench.open()
    folder = lake_layout.scoring_input_folder(MODEL, DAY)
    lake.write_table(f"{folder}/scoring_input.parquet", make_scoring_input(20))
    before = f"{lake_layout.scores_folder(MODEL, DAY)}/predictions.parquet"
    lake.write_bytes(before, b"yesterday's")
    put_answer(lake, job, change)
    with pytest.raises(WrongResult, match=message):
        collect_scores(lake, MODEL, DAY, job, EXPECTED)
    assert lake.read_bytes(before) == b"yesterday's"


def test_an_answer_in_several_files_and_any_order_is_one_file(bench: Bench, lake: Lake) -> None:
    job = bench.open()
    folder = lake_layout.scoring_input_folder(MODEL, DAY)
    lake.write_table(f"{folder}/scoring_input.parquet", make_scoring_input(20))
    put_answer(lake, job, lambda t: [t.slice(15), t.slice(0, 15)])
    collect_scores(lake, MODEL, DAY, job, EXPECTED)
    found = lake.read_table(f"{lake_layout.scores_folder(MODEL, DAY)}/predictions.parquet")
    assert (found.num_rows, found["alias"].unique().to_pylist()) == (20, ["champion"])
    assert found["feature_snapshot"].unique().to_pylist() == [date.fromisoformat(DAY)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"endpoint": "https://x/jobs"}, "endpoint is 'https://x/jobs'; expected 3 to 32 letters"),
        (
            {"pipeline_parameters": {"a": [1]}},
            "pipeline_parameters.a is .1.; expected text, true or false, or a number",
        ),
        ({"kind": "model", "pipeline_parameters": {"a": 1}}, "model deployments have one data input"),
        ({"kind": "model", "experiment_name": "e"}, "experiment_name is 'e'"),
        ({"kind": "model", "inputs": {"input_path": "a", "model_path": "b"}}, "takes one data input"),
    ],
)
def test_what_no_endpoint_takes_is_refused_when_it_is_declared(values: dict[str, Any], message: str) -> None:
    with pytest.raises(BatchEndpointInvalid, match=message):
        engine(**values)
