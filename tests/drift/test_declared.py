"""`drift` as it is declared: what it makes, and what cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from adfml_assets.components.drift import Drift, Retrain
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


@pytest.mark.parametrize(
    ("build", "field", "expected"),
    [
        (lambda: Drift(psi=0), "psi", "more than 0"),
        (lambda: Drift(missing=1.5), "missing", "a share from 0 to below 1"),
        (lambda: Drift(features=[]), "features", "at least one feature"),
        (lambda: Drift(features=["a", "b", "a"]), "features", "each feature once"),
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
