"""What may be declared of a model, and what is refused where it is declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from adfml_assets.asset_keys import champion_key, job_key, model_key, training_data_key
from adfml_assets.components.batch_endpoint import BatchEndpoint
from adfml_assets.components.remote_engine import RemoteEngine
from adfml_assets.components.trained_model import TrainedModel
from adfml_assets.components.training_source import Label
from adfml_assets.declarations import find_mistakes
from adfml_assets.errors import DeclarationInvalid

DECLARED: dict[str, Any] = {
    "name": "sales",
    "from_features": "customers",
    "label": {"name": "spend", "function": "a.b.c", "tables": {"t": "shop.main.T"}, "days": 30, "baseline": "last"},
    "engine": {"service": "databricks", "job": "training"},
    "registered_model": "main.ml.sales",
    "experiment": "/Shared/sales",
}


def declare(**changes: Any) -> TrainedModel:
    label = Label(days=30, baseline="last", name="spend", function="a.b.c", tables={"t": "shop.main.T"})
    values: dict[str, Any] = {**DECLARED, "label": label, "engine": RemoteEngine(job="training"), **changes}
    return TrainedModel(**values)


def test_a_model_is_four_assets_and_two_checks_that_block() -> None:
    built = declare().build_defs(None)  # type: ignore[arg-type]
    keys = [asset.key for asset in built.assets or [] if isinstance(asset, dg.AssetsDefinition)]
    assert keys == [training_data_key("sales"), job_key(model_key("sales")), model_key("sales"), champion_key("sales")]
    (first, second) = built.asset_checks or []
    specs = {spec.name: spec for check in (first, second) for spec in check.check_specs}
    assert {name: (spec.asset_key, spec.blocking) for name, spec in specs.items()} == {
        "beats_baseline": (model_key("sales"), True),
        "beats_champion": (model_key("sales"), True),
    }


@pytest.mark.parametrize("value", [{"max_iter": 10}, '{"max_iter": 10}', "{}"])
def test_hyperparameters_may_be_a_mapping_or_json(value: Any) -> None:
    assert declare(hyperparameters=value).build_defs(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"from_features": None}, "from_features is 'neither'; expected from_features or from_query"),
        ({"registered_model": "ml.sales"}, "registered_model is 'ml.sales'; expected catalog.schema.model"),
        ({"registered_model": "main.ml.my sales"}, "without dots, spaces and slashes"),
        ({"hyperparameters": "max_iter: 10"}, "expected a JSON object, such as"),
        ({"hyperparameters": {"x": float("nan")}}, "hyperparameters is .*expected a JSON object"),
        (
            {"engine": BatchEndpoint(service="azure_ml_batch", endpoint="adfml-scoring", kind="model")},
            "engine.kind is 'model'; expected pipeline: a model deployment cannot train",
        ),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationInvalid, match=message):
        declare(**changes)


def write(folder: Path, **changes: Any) -> Path:
    file = folder / "defs.yaml"
    declared = {"type": "adfml_assets.components.TrainedModel", "attributes": {**DECLARED, **changes}}
    file.write_text(yaml.safe_dump(declared, sort_keys=False))
    return file


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gate": {"metric": "gini", "direction": "higher", "tolerance": 0.1, "confidence": 0.9}},
        {"hyperparameters": '{"max_iter": 10}'},
        {"hyperparameters": {"max_iter": 10}},
        {"from_features": {"feature_set": "customers", "snapshots": "each"}},
    ],
)
def test_declarations_that_are_right(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert list(find_mistakes(write(tmp_path, **changes))) == []


@pytest.mark.parametrize(
    ("changes", "field", "expected"),
    [
        ({"gate": {"metric": "gini"}}, "attributes.gate.direction", "expected lower or higher"),
        ({"gate": {"confidence": 95}}, "attributes.gate.confidence", "a number from 0.5 to 0.999, found 95"),
        ({"gate": {"tolerence": 0.1}}, "attributes.gate.tolerence", "Did you mean 'tolerance'?"),
        ({"registered_model": "a.b"}, "attributes.registered_model", "found 'a.b'"),
        ({"feature_set": "customers"}, "attributes.feature_set", "there is no field 'feature_set'"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, changes: dict[str, Any], field: str, expected: str) -> None:
    found = [(mistake.field, mistake.expected) for mistake in find_mistakes(write(tmp_path, **changes))]
    assert [name for name, _ in found] == [field]
    assert expected in found[0][1]
