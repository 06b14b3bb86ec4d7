"""Sources and labels as they are written in YAML; mistakes are said with their line."""

from __future__ import annotations

from pathlib import Path

import pytest

from adfml_assets.components import TrainedModel
from adfml_assets.components.training_source import FromFeatures, FromQuery
from adfml_assets.declarations import find_mistakes
from adfml_assets.features.definition import TableRef

MODEL = """\
name: m
{source}
label: {label}
engine: {{service: databricks, job: adfml_training, deadline_hours: 12, max_tries: 2}}
registered_model: main.ml.m
experiment: /Shared/m
"""
FUNCTION = "{name: s, function: f.g, tables: {events: shop.main.Events}, days: 30, baseline: b}"
COLUMN = "{column: Spend, days: 30, baseline: b}"


def test_features_are_declared_by_name_or_with_their_snapshots_and_dates() -> None:
    short = TrainedModel.resolve_from_yaml(MODEL.format(source="from_features: customers", label=FUNCTION))
    assert short.from_features == "customers"
    source = "from_features: {feature_set: customers, snapshots: each, start_date: 2025-01-01}"
    long = TrainedModel.resolve_from_yaml(MODEL.format(source=source, label=FUNCTION))
    assert long.from_features == FromFeatures("customers", "each", start_date="2025-01-01")


def test_a_label_is_made_of_snapshots_or_of_a_current_state() -> None:
    label = FUNCTION.replace("shop.main.Events", "shop.main.Events, returns: {table: shop.main.R, state: current}")
    model = TrainedModel.resolve_from_yaml(MODEL.format(source="from_features: customers", label=label))
    assert model.label.build_spec().tables == {
        "events": TableRef("shop.main.Events"),
        "returns": TableRef("shop.main.R", state="current"),
    }


def test_a_query_is_declared_with_its_columns() -> None:
    source = (
        "from_query: {table: shop.dbo.T, key: Id, time: At, where: Kind = 1, features: [a, b], end_date: 2025-12-31}"
    )
    model = TrainedModel.resolve_from_yaml(MODEL.format(source=source, label=COLUMN))
    assert model.from_query == FromQuery("shop.dbo.T", "Id", "At", "Kind = 1", ["a", "b"], end_date="2025-12-31")


@pytest.mark.parametrize(
    ("source", "label", "expected"),
    [
        ("from_features: {feature_st: c}", FUNCTION, "4: attributes.from_features.feature_st: there is no field"),
        ("from_query: {table: shop.T, key: k, time: t}", COLUMN, "expected database.schema.table, such as"),
        (
            "from_query: {table: shop.dbo.T, key: k, time: t, start_date: 2025-13-01}",
            COLUMN,
            "4: attributes.from_query.start_date: expected a date, YYYY-MM-DD, found '2025-13-01'",
        ),
        (
            "from_query: {table: shop.dbo.T, key: k, time: t}",
            FUNCTION,
            "5: attributes.label.function: expected label.column: from_query reads the label, found 'f.g'",
        ),
        ("owners: []", FUNCTION, "attributes.from_features: expected from_features or from_query, one of both"),
        ("from_features: c", COLUMN, "5: attributes.label.column: expected label.function and label.name"),
        ("from_features: c", FUNCTION.replace("30", "-1"), "5: attributes.label.days: expected a number of days"),
    ],
)
def test_a_mistake_is_said_with_its_line(tmp_path: Path, source: str, label: str, expected: str) -> None:
    attributes = MODEL.format(source=source, label=label).replace("\n", "\n  ")
    file = tmp_path / "defs.yaml"
    file.write_text(f"type: adfml_assets.components.TrainedModel\nattributes:\n  {attributes}")
    assert expected in "\n".join(mistake.describe() for mistake in find_mistakes(file))
