"""`drift` as it is declared: what it makes, and what cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from adfml_assets.components import ScoredModel
from adfml_assets.components.drift import Drift, Retrain
from adfml_assets.declarations import find_mistakes
from adfml_assets.errors import DeclarationInvalid
from tests.drift.conftest import DRIFT, build_defs


def test_only_retrain_makes_a_sensor_and_its_job() -> None:
    without = build_defs(Drift(), trained=False)
    assert [key for asset in without.assets or [] for key in asset.keys] == [DRIFT]  # type: ignore[union-attr]
    assert (list(without.sensors or []), list(without.jobs or [])) == ([], [])
    having = build_defs(Drift(retrain=Retrain()))
    repository = having.get_repository_def()
    assert [sensor.name for sensor in repository.sensor_defs] == ["retraining_of_spend"]
    assert repository.has_job("retrain_spend")
    checks = {key.name for key in repository.asset_graph.asset_check_keys}
    assert checks == {"feature_drift", "score_drift", "missing_values"}


def test_a_models_name_may_have_what_dagster_takes_in_no_name() -> None:
    built = Drift(retrain=Retrain()).build_defs("spend-forecast", lambda about, kinds: {})
    assert [sensor.name for sensor in built.sensors or []] == ["retraining_of_spend_forecast"]


@pytest.mark.parametrize(
    ("build", "field", "expected"),
    [
        (lambda: Drift(psi=0), "psi", "more than 0"),
        (lambda: Drift(missing=1.5), "missing", "a share from 0 to below 1"),
        (lambda: Drift(features=[]), "features", "at least one feature"),
        (lambda: Drift(features=["a", "b", "a"]), "features", "each feature once"),
        (lambda: Drift(features=["a"], leave_out=["b"]), "leave_out", "not both"),
        (lambda: Retrain(over=6), "over", "1 up to `of`, 5"),
        (lambda: Retrain(over=0, of=0), "of", "1 or more"),
        (lambda: Retrain(cooldown_days=-1), "cooldown_days", "0 or more"),
        (lambda: Retrain(deadline_hours=0), "deadline_hours", "more than 0"),
    ],
)
def test_what_cannot_be_is_refused_with_its_field(build: Any, field: str, expected: str) -> None:
    with pytest.raises(DeclarationInvalid) as caught:
        build()
    assert caught.value.field == field
    assert expected in caught.value.expected


def declare(drift: str, extra: str = "") -> str:
    """A defs.yaml of a scored model."""
    return f"""
type: adfml_assets.components.ScoredModel
attributes:
  name: spend
  from_features: customers
  engine: {{ service: databricks, job: scoring }}
  write_back: {{ table: shop.main.Predictions }}
  {extra}
  drift: {drift}
"""


@pytest.mark.parametrize(
    ("drift", "extra", "line", "said"),
    [
        ("{ psi: -1 }", "", 9, "attributes.drift.psi: expected more than 0"),
        ("{ retrain: { over: 9 } }", "", 9, "attributes.drift.retrain.over: expected 1 up to `of`, 5, found 9."),
        ("{ retrain: { ovre: 1 } }", "", 9, "there is no field 'ovre'."),
        ("{ retrain: {} }", "alias: challenger", 9, "expected none where another version than the champion scores"),
    ],
)
def test_mistakes_in_yaml_have_file_and_line(tmp_path: Path, drift: str, extra: str, line: int, said: str) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text(declare(drift, extra))
    (mistake,) = find_mistakes(file)
    assert said in mistake.describe()
    assert mistake.line == line


@pytest.mark.parametrize(
    "drift", ["{}", "{ psi: 0.1, features: [a], retrain: { over: 1, of: 1, cooldown_days: 0.5 } }"]
)
def test_what_can_be_declared_has_no_mistake(tmp_path: Path, drift: str) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text(declare(drift))
    assert list(find_mistakes(file)) == []


def test_a_defs_yaml_becomes_the_declaration() -> None:
    declared = yaml.safe_load(declare("{ psi: 0.1, features: [a], retrain: { over: 1, of: 2 } }"))["attributes"]
    context = dg.ComponentTree.for_test().load_context
    model = ScoredModel.get_model_cls()
    assert model is not None
    component = ScoredModel.resolve_from_model(context.resolution_context, model.model_validate(declared))
    assert component.drift == Drift(0.1, 0.05, ["a"], retrain=Retrain(1, 2))
    built = component.build_defs(context)
    assert [sensor.name for sensor in built.sensors or []] == ["retraining_of_spend"]
    assert DRIFT in {key for asset in built.assets or [] for key in asset.keys}  # type: ignore[union-attr]
