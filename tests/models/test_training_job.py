"""What a training job is told: the champion to compare with, hyperparameters, and what is refused before it is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from adfml_assets import lake_layout
from adfml_assets.components.batch_endpoint import BatchEndpoint
from adfml_assets.components.remote_engine import JobParts
from adfml_assets.models.hyperparameters import NoObject, format_hyperparameters
from resources.control import begin
from resources.control_tables import model_aliases
from resources.lake import Lake
from tests.models.bench import NOW, ModelBench, describe_failures
from tests.models.conftest import MODEL


@pytest.fixture
def bench() -> ModelBench:
    return ModelBench()


def read_parameters(bench: ModelBench) -> dict[str, str]:
    return dict(bench.databricks.submitted[-1].request["parameters"])


def test_the_first_version_has_nothing_to_compare_with(bench: ModelBench) -> None:
    bench.submit("1")
    told = read_parameters(bench)
    assert {name: told[name] for name in told if name.startswith("champion")} == {
        "champion_path": "",
        "champion_version": "",
        "champion_sha256": "",
    }
    assert (told["hyperparams"], told["registered_model_name"]) == ('{"max_iter": 60}', "main.ml.sales")


def test_a_later_version_is_told_of_the_champion(bench: ModelBench, lake: Lake) -> None:
    bench.train("1")
    bench.submit("2")
    told = read_parameters(bench)
    assert told["champion_path"] == lake.uri(lake_layout.model_folder(MODEL, "1"))
    assert (told["champion_version"], told["champion_sha256"]) == ("1", bench.models.get(MODEL, "1").model_sha256)


def test_of_a_champion_that_is_older_than_the_registry_no_hash_from_beside_its_file_is_passed_on(
    bench: ModelBench, lake: Lake
) -> None:
    with begin(bench.control.engine) as connection:
        values = {"version": "4", "set_at": NOW, "run_id": "old"}
        connection.execute(model_aliases.insert().values(model=MODEL, alias="champion", **values))
    path = f"{lake_layout.model_folder(MODEL, '4')}/metadata.json"
    lake.write_bytes(path, json.dumps({"model_sha256": "a" * 64}).encode())
    bench.submit("5")
    told = read_parameters(bench)
    assert told["champion_path"] == lake.uri(lake_layout.model_folder(MODEL, "4"))
    assert (told["champion_version"], told["champion_sha256"]) == ("4", "")


def test_a_run_may_choose_job_and_hyperparameters(bench: ModelBench) -> None:
    bench.submit("1", job="other_training", hyperparameters='{"learning_rate": 0.2, "note": "it\'s"}')
    assert bench.databricks.submitted[-1].request["job"] == "other_training"
    told = read_parameters(bench)["hyperparams"]
    assert json.loads(told) == {"learning_rate": 0.2, "note": "it's"}
    assert "'" not in told


@pytest.mark.parametrize("text", ["", "{", "[1]", "0.1", '{"a": NaN}', '{"a": 1, "a": 2}', "learning_rate: 0.1"])
def test_hyperparameters_that_are_no_object_are_refused_before_a_job_is_sent(bench: ModelBench, text: str) -> None:
    result = bench.submit("1", fails=True, hyperparameters=text)
    assert f"Model {MODEL}: hyperparameters is" in describe_failures(result)
    assert 'expected a JSON object, such as {"learning_rate": 0.1}. No job was submitted.' in describe_failures(result)
    assert bench.databricks.submitted == []
    assert bench.control.ledger.list_jobs() == []


def test_declared_hyperparameters_may_be_a_mapping_or_a_text() -> None:
    assert format_hyperparameters({"b": 1, "a": [True, None]}) == '{"a": [true, null], "b": 1}'
    assert format_hyperparameters('{"b": 1, "a": 0.5}') == '{"a": 0.5, "b": 1}'
    for wrong in ({"since": NOW}, {"rate": float("nan")}):
        with pytest.raises(NoObject):
            format_hyperparameters(wrong)


def test_a_champion_is_not_trained_again_under_its_number(bench: ModelBench) -> None:
    bench.train("1")
    result = bench.submit("1", fails=True)
    assert "Version 1 of model sales is or was champion" in describe_failures(result)
    assert len(bench.databricks.submitted) == 1


def test_a_version_that_was_refused_may_be_trained_again(bench: ModelBench) -> None:
    bench.train("1", fails=True, references={})
    bench.train("1")
    assert bench.models.aliases(MODEL) == {"champion": "1"}
    assert len(bench.databricks.submitted) == 2


def make_parts(**values: Any) -> JobParts:
    folders = {"training_data_path": "ml/training-data/m/version=2", "champion_path": values.get("path", "")}
    return JobParts(
        partition="2",
        hashes={},
        files={},
        folders=folders,
        values={"model_version": "2", "champion_version": values.get("version", ""), "note": ""},
        outputs={"model_path": "ml/models/m/version=2"},
        staging="ml/batch-output/m/2",
        optional=frozenset({"champion_path", "champion_version"}),
    )


def test_an_endpoint_is_sent_no_champion_where_there_is_none(lake: Lake) -> None:
    engine = BatchEndpoint(service="azure_ml_batch", endpoint="adfml-training")
    sent = engine.build_request(lake, make_parts())["input_data"]
    assert set(sent) == {"training_data_path", "model_version", "note"}
    sent = engine.build_request(lake, make_parts(path="ml/models/m/version=1", version="1"))["input_data"]
    assert sent["champion_path"]["JobInputType"] == "UriFolder"
    assert sent["champion_version"] == {"JobInputType": "Literal", "Value": "1"}


def test_a_job_is_chosen_for_databricks_only() -> None:
    bench = ModelBench(engine=BatchEndpoint(service="azure_ml_batch", endpoint="adfml-training"))
    bench.put_training_data("1")
    from adfml_assets.models.errors import TrainingConfigInvalid
    from adfml_assets.training_job import TrainingJobConfig, choose_engine

    with pytest.raises(TrainingConfigInvalid, match="it is trained by Azure ML batch endpoint `adfml-training`"):
        choose_engine(bench.spec, TrainingJobConfig(job="other"))
