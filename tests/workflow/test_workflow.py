"""The workflow hands its parameters on whole, launches what is missing, and trains no refused version again."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from adfml_assets.workflow import find_missing, launch_backfill
from resources.control import ControlDatabase
from tests.workflow.conftest import DAY, Deployment, key, register

TRAINED = ["ml/training_data/sales", "ml/models/sales_job", "ml/models/sales", "ml/champions/sales"]


def test_every_parameter_of_a_training_arrives_in_the_runs(deployment: Deployment) -> None:
    hyperparameters = '{"max_iter": 50, "note": "ä \\"quoted\\" {{ text }}"}'
    launched = deployment.launch(
        mode="train",
        source_database="shop",
        model_name="sales",
        model_version="7",
        databricks_job_id="4711",
        start_date="2026-01-05",
        end_date="2026-02-28",
        snapshot_date=DAY,
        hyperparameters=hyperparameters,
    )
    assert launched.failure == ""
    backfill = deployment.require_backfill()
    assert (backfill.tags or {})["adfml/launched_by"] == launched.run_id
    assert (backfill.tags or {})["adfml/mode"] == "train"
    dates = {"snapshot_date": DAY, "start_date": "2026-01-05", "end_date": "2026-02-28"}
    assert backfill.run_config == {
        "ops": {
            "ml__training_data__sales": {"config": dates},
            "ml__models__sales_job": {"config": {"hyperparameters": hyperparameters, "job": "4711"}},
        }
    }
    deployment.run(backfill, "feature_store/buyers", "ml/training_data/sales", "ml/models/sales_job")
    assert deployment.told.config["ml/training_data/sales"] == dates
    assert deployment.told.config["ml/models/sales_job"] == {"hyperparameters": hyperparameters, "job": "4711"}
    assert deployment.told.config["feature_store/buyers"] == {}


@pytest.mark.parametrize("chosen", [{"alias": "challenger"}, {"model_version": "7"}])
def test_every_parameter_of_a_scoring_arrives_in_the_runs(deployment: Deployment, chosen: dict[str, Any]) -> None:
    parameters = {"model_name": "sales", "databricks_job_id": "score-it", "snapshot_date": DAY}
    assert deployment.launch(mode="score", **parameters, **chosen).failure == ""
    deployment.run(deployment.require_backfill(), "ml/scoring_input/sales", "ml/scores/sales_job")
    expected = {"version": "7"} if "model_version" in chosen else chosen
    assert deployment.told.config["ml/scoring_input/sales"] == expected
    assert deployment.told.config["ml/scores/sales_job"] == {"job": "score-it"}


@pytest.mark.parametrize("mode", ["train", "score"])
def test_what_is_not_given_is_not_said(deployment: Deployment, mode: str) -> None:
    assert deployment.launch(mode=mode).failure == ""
    assert deployment.require_backfill().run_config == {}


def test_what_is_there_is_not_made_again_and_parameters_that_come_too_late_are_told(deployment: Deployment) -> None:
    parameters: dict[str, Any] = {"mode": "train", "model_name": "sales", "snapshot_date": DAY}
    deployment.launch(**parameters)
    deployment.finish(deployment.require_backfill())
    again = deployment.launch(**parameters)
    assert again.said[0] == f"Nothing to launch for train {DAY}, sales, version 1: everything is there."
    late = deployment.launch(**parameters, hyperparameters='{"a": 1}')
    assert late.said[0].endswith("with these parameters (refresh does that): ml/models/sales_job")
    assert len(deployment.list_backfills()) == 1
    deployment.launch(**parameters, refresh=True)
    first, second = (deployment.list_targets(one) for one in deployment.list_backfills())
    assert first == second


def test_a_new_day_makes_no_version_anew(deployment: Deployment) -> None:
    deployment.launch(mode="train", model_name="sales", snapshot_date=DAY)
    deployment.finish(deployment.require_backfill())
    deployment.launch(mode="train", model_name="sales", snapshot_date="2026-03-02")
    newest = max(deployment.list_backfills(), key=lambda backfill: backfill.backfill_timestamp)
    targets = deployment.list_targets(newest)
    assert targets["feature_store/buyers"] == ["2026-03-02"]
    assert set(targets) & set(TRAINED) == set()


def test_a_refused_version_is_not_trained_again_and_the_reason_is_said(
    deployment: Deployment, control: ControlDatabase
) -> None:
    parameters: dict[str, Any] = {"mode": "train", "model_name": "sales", "model_version": "2", "snapshot_date": DAY}
    deployment.launch(**parameters)
    deployment.finish(deployment.require_backfill(), without=["ml/champions/sales"])
    register(control, "sales", "2", "refused")
    again = deployment.launch(**parameters)
    assert again.failure == ""
    assert again.said == [
        "Model sales version 2 is not trained again: it was refused (mae of version 2 against the baseline's). Train "
        "another version, or refresh to train this one anew.",
        f"Nothing to launch for train {DAY}, sales, version 2: of the rest nothing is missing.",
    ]
    assert len(deployment.list_backfills()) == 1
    deployment.launch(**parameters, refresh=True)
    assert len(deployment.list_backfills()) == 2


def test_a_refused_version_holds_up_nothing_else(deployment: Deployment, control: ControlDatabase) -> None:
    register(control, "sales", "1", "refused")
    deployment.launch(mode="train", snapshot_date=DAY)
    targets = deployment.list_targets(deployment.require_backfill())
    assert set(targets) & set(TRAINED) == set()
    assert targets["ml/champions/churn"] == ["1"]
    assert targets["feature_store/buyers"] == [DAY]


def test_a_passed_version_without_its_promotion_gets_that_alone(
    deployment: Deployment, control: ControlDatabase
) -> None:
    deployment.launch(mode="train", model_name="sales", snapshot_date=DAY)
    deployment.finish(deployment.require_backfill(), without=["ml/champions/sales"])
    register(control, "sales", "1")
    deployment.launch(mode="train", model_name="sales", snapshot_date=DAY)
    newest = max(deployment.list_backfills(), key=lambda backfill: backfill.backfill_timestamp)
    assert deployment.list_targets(newest) == {"ml/champions/sales": ["1"]}


def test_a_job_whose_result_is_missing_is_submitted_again(deployment: Deployment) -> None:
    graph = deployment.definitions.get_repository_def().asset_graph
    deployment.instance.add_dynamic_partitions("sales_versions", ["1"])
    for name in TRAINED[:2]:
        deployment.instance.report_runless_asset_event(dg.AssetMaterialization(key(name), partition="1"))
    partitions = {key(name): "1" for name in TRAINED}
    missing = find_missing(deployment.instance, graph, partitions, refresh=False)
    assert {asset.to_user_string() for asset in missing} == set(TRAINED[1:])


def test_a_backfill_without_config_is_as_it_was(deployment: Deployment) -> None:
    graph = deployment.definitions.get_repository_def().asset_graph
    wanted = {dg.AssetKey(["ml", "models", "sales_job"]): ["1", "2"]}
    backfill_id = launch_backfill(deployment.instance, graph, wanted, title="t", tags={"a": "b"})
    backfill = deployment.require_backfill()
    assert (backfill.backfill_id, backfill.run_config, dict(backfill.tags or {})) == (backfill_id, {}, {"a": "b"})
    assert deployment.list_targets(backfill) == {"ml/models/sales_job": ["1", "2"]}
