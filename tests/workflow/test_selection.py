"""What a database and a model select: their own assets and what these are made of, and nothing else."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from tests.workflow.conftest import DAY, Deployment, Told, build_small_definitions

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
