"""What a database and a model select: their own assets and what these are made of, and nothing else."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from adfml_assets.partitions import build_daily_partitions
from tests.workflow.conftest import DAY, Deployment, Told, build_asset, build_small_definitions
from tests.workflow.conftest import ScoringInputConfig as Chosen

SHOP = {"archive/shop/main/Sales", "archive/shop/main/Staff", "incremental/shop/main/Sales", "current/shop/main/Sales"}
CRM = {"archive/crm/dbo/Calls"}
USED = SHOP - {"archive/shop/main/Staff"}


def trained(model: str) -> set[str]:
    return {f"ml/training_data/{model}", f"ml/models/{model}_job", f"ml/models/{model}", f"ml/champions/{model}"}


def scored(model: str) -> set[str]:
    scores = f"ml/scores/{model}"
    return {f"ml/scoring_input/{model}", f"{scores}_job", scores, f"database/shop/main/{model}", f"ml/drift/{model}"}


BUYERS, CALLERS = {"feature_store/buyers"}, {"feature_store/callers"}
BOTH = SHOP | CRM | BUYERS | CALLERS


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"mode": "train"}, BOTH | trained("sales") | trained("churn")),
        ({"mode": "score"}, BOTH | scored("sales") | scored("churn")),
        ({"mode": "train", "model_name": "sales"}, USED | BUYERS | trained("sales")),
        ({"mode": "score", "model_name": "churn"}, CRM | CALLERS | scored("churn")),
        ({"mode": "train", "source_database": "shop"}, SHOP | BUYERS | trained("sales")),
        ({"mode": "score", "source_database": "crm"}, CRM | CALLERS | scored("churn")),
        ({"mode": "score", "source_database": "shop", "model_name": "sales"}, SHOP | BUYERS | scored("sales")),
        ({"mode": "train", "source_database": "crm", "model_name": "sales"}, CRM | BUYERS | trained("sales")),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_only_what_is_asked_for_is_launched(
    deployment: Deployment, parameters: dict[str, Any], expected: set[str]
) -> None:
    launched = deployment.launch(snapshot_date=DAY, **parameters)
    assert launched.failure == ""
    targets = deployment.list_targets(deployment.require_backfill())
    assert set(targets) == expected
    of_versions = trained("sales") | trained("churn")
    assert targets == {name: ["1"] if name in of_versions else [DAY] for name in expected}


def test_a_model_without_a_job_takes_none(instance: dg.DagsterInstance) -> None:
    told = Told()
    deployment = Deployment(told, build_small_definitions(told, online=True), instance)
    launched = deployment.launch(mode="score", model_name="sales", databricks_job_id="7")
    assert "databricks_job_id is '7'; expected none: there is no ml/scores/sales_job" in launched.failure
    assert deployment.list_backfills() == []
    assert deployment.launch(mode="score", model_name="sales", model_version="2").failure == ""


def test_a_model_that_scores_inside_the_database_has_its_table_alone(instance: dg.DagsterInstance) -> None:
    told, days = Told(), build_daily_partitions()
    table = build_asset(
        told, "database/crm/dbo/Inside", "scoring", days, ["ml/champions/sales", "database/crm/dbo/Waiting"], Chosen
    )
    defs = dg.Definitions.merge(build_small_definitions(told), dg.Definitions(assets=[table]))
    deployment = Deployment(told, defs, instance)
    deployment.launch(mode="score", snapshot_date=DAY, model_name="sales", alias="challenger")
    found = deployment.require_backfill()
    assert set(deployment.list_targets(found)) == USED | BUYERS | scored("sales") | {"database/crm/dbo/Inside"}
    assert found.run_config == {
        "ops": {
            "ml__scoring_input__sales": {"config": {"alias": "challenger"}},
            "database__crm__dbo__Inside": {"config": {"alias": "challenger"}},
        }
    }


def test_a_model_that_only_scores_inside_takes_a_version_but_no_job(instance: dg.DagsterInstance) -> None:
    told = Told()
    days = build_daily_partitions()
    table = build_asset(told, "database/crm/dbo/Inside", "scoring", days, ["ml/models/elsewhere"], Chosen)
    defs = dg.Definitions.merge(build_small_definitions(told), dg.Definitions(assets=[table]))
    deployment = Deployment(told, defs, instance)
    launched = deployment.launch(mode="score", model_name="elsewhere", databricks_job_id="7")
    assert "databricks_job_id is '7'; expected none: there is no ml/scores/elsewhere_job" in launched.failure
    deployment.launch(mode="score", snapshot_date=DAY, model_name="elsewhere", model_version="2")
    found = deployment.require_backfill()
    assert deployment.list_targets(found) == {"database/crm/dbo/Inside": [DAY]}
    assert found.run_config == {"ops": {"database__crm__dbo__Inside": {"config": {"version": "2"}}}}
