"""The asset: what is declared and what a run is told become training data with its card in the metadata."""

from __future__ import annotations

import sqlite3
from typing import Any

import dagster as dg
import pytest

from adfml_assets.components.training_source import FromFeatures, FromQuery, Label, LabelTable, choose_source
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.features.definition import TableRef
from adfml_assets.partitions import build_model_versions
from adfml_assets.training.errors import LabelWindowPastData
from adfml_assets.training.spec import Period
from adfml_assets.training_data_assets import (
    build_training_data_asset,
    describe_training_data,
    list_training_data_kinds,
)
from resources.control import ControlDatabase
from resources.database import Databases
from resources.model_registry import VersionRecord
from tests.training.conftest import SET, TABLE, World, day
from tests.training.test_from_features import iso

LABEL = Label(
    days=30, baseline="amount_30d", name="spend", function="tests.training.labels.add_up", tables={"events": TABLE}
)
COLUMN = Label(days=30, baseline="Amount30d", column="Spend")
QUERY = FromQuery("shop.main.TrainingFeatures", "CustomerId", "FeatureDate")


def materialise(
    world: World, source: FromFeatures | FromQuery, label: Label, control: ControlDatabase | None = None, **config: str
) -> dg.MaterializeResult[Any]:
    options = {"partitions_def": build_model_versions("m"), "description": describe_training_data(source, label).what}
    asset = build_training_data_asset("m", source, label, options)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("m_versions", ["7"])
        result = dg.materialize(
            [asset],
            partition_key="7",
            instance=instance,
            resources={"lake": world.lake, "databases": Databases(), "control": control or ControlDatabase()},
            run_config={"ops": {asset.op.name: {"config": config}}} if config else None,
        )
    (made,) = result.asset_materializations_for_node(asset.op.name)
    return made.metadata


def test_a_version_is_made_from_features_and_shows_its_card(one_snapshot: World) -> None:
    made = materialise(one_snapshot, FromFeatures(SET), LABEL)
    card: Any = made["data_card"].value
    assert card["version"] == "7"
    assert card["periods"]["test"] == iso(270)
    assert made["dagster/row_count"].value == sum(card["rows"].values())
    assert set(made) >= {"splits", "label_distribution", "features", "features_sha256", "dates_left_out"}


def test_what_a_run_is_told_goes_before_the_declaration(world: World, table: sqlite3.Connection) -> None:
    source = FromQuery("shop.main.TrainingFeatures", "CustomerId", "FeatureDate", end_date=iso(200)[0])
    made = materialise(world, source, COLUMN, start_date=iso(50)[0])
    found = {name: made[name].value for name in ("start_date", "end_date")}
    assert found == {"start_date": iso(50)[0], "end_date": iso(200)[0]}


def test_the_training_data_of_a_champion_stays_what_the_model_was_trained_on(
    one_snapshot: World, control: ControlDatabase
) -> None:
    def make(source: FromFeatures, **config: str) -> Any:
        return materialise(one_snapshot, source, LABEL, control, **config)["data_card"].value

    made = make(FromFeatures(SET), end_date=iso(270)[0])
    control.models.register(VersionRecord("m", "7", "r", "model.skops", "0" * 64, "f" * 64))
    control.models.promote("m", "7", "somebody", "better", force=True)
    assert make(FromFeatures(SET)) == made
    assert make(FromFeatures(SET), end_date=iso(270)[0]) == made
    for source, config in ((FromFeatures(SET), {"end_date": iso(240)[0]}), (FromFeatures(SET, "each"), {})):
        with pytest.raises(dg.Failure, match="Version 7 of model m is or was champion"):
            make(source, **config)
    assert make(FromFeatures(SET)) == made


def test_bad_input_fails_the_run_with_its_own_error(one_snapshot: World) -> None:
    with pytest.raises(dg.Failure) as failed:
        materialise(one_snapshot, FromFeatures(SET), LABEL, end_date=iso(300)[0])
    assert isinstance(failed.value.__cause__, LabelWindowPastData)


def test_upstream_are_the_features_and_the_tables_that_the_label_is_made_of() -> None:
    label = Label(30, "b", "n", "f", {"events": TABLE, "returns": LabelTable("shop.main.Returns", "current")})
    assert label.build_spec().tables["returns"] == TableRef("shop.main.Returns", state="current")
    asset = build_training_data_asset("m", FromFeatures(SET), label, {"partitions_def": build_model_versions("m")})
    assert {key.to_user_string() for key in asset.dependency_keys} == {
        "feature_store/spending",
        "archive/shop/main/Events",
        "current/shop/main/Returns",
    }
    query = build_training_data_asset("m", QUERY, COLUMN, {"partitions_def": build_model_versions("m")})
    assert [key.to_user_string() for key in query.dependency_keys] == ["database/shop/main/TrainingFeatures"]
    assert list_training_data_kinds(QUERY) == {"duckdb", "parquet", "sqlite"}
    assert "every snapshot of `spending`" in describe_training_data(FromFeatures(SET, "each"), label).what


def test_a_feature_set_may_be_declared_by_its_name_alone() -> None:
    assert choose_source("Model m", SET, None, LABEL) == FromFeatures(SET)
    declared = FromFeatures(SET, "each", start_date=iso(1)[0])
    assert choose_source("Model m", declared, None, LABEL) is declared
    assert choose_source("Model m", None, QUERY, COLUMN) is QUERY
    assert declared.build_spec().period == Period(day(1), None)


@pytest.mark.parametrize(
    ("declare", "field"),
    [
        (lambda: FromFeatures(SET, start_date="1.1.2025"), "start_date"),
        (lambda: FromFeatures(SET, start_date="2025-02-01", end_date="2025-01-01"), "start_date"),
        (lambda: FromFeatures(SET, most_categories=0), "most_categories"),
        (lambda: FromQuery("main.Rows", "k", "t"), "table"),
        (lambda: FromQuery("shop.main.Rows", "k", "t", features=["a", "a"]), "features"),
        (lambda: FromQuery("shop.main.Rows", "k", "t", features=["a", "k"]), "features"),
        (lambda: FromQuery("shop.main.Rows", "k", "t", test_dates=0), "test_dates"),
        (lambda: Label(-1, "b", column="c"), "days"),
        (lambda: Label(10**9, "b", column="c"), "days"),
        (lambda: Label(30, "b"), "column"),
        (lambda: Label(30, "b", "n", "f", column="c"), "column"),
        (lambda: Label(30, "b", function="f"), "name"),
        (lambda: Label(30, "b", name="n", column="c"), "column"),
        (lambda: Label(30, "b", "n", "f", {"events": "Events"}), "tables.events"),
        (lambda: choose_source("Model m", None, None, LABEL), "from_features"),
        (lambda: choose_source("Model m", SET, QUERY, LABEL), "from_features"),
        (lambda: choose_source("Model m", SET, None, COLUMN), "label.column"),
        (lambda: choose_source("Model m", None, QUERY, LABEL), "label.function"),
        (lambda: choose_source("Model m", None, QUERY, Label(30, "b", column="FeatureDate")), "label.column"),
    ],
)
def test_declarations_that_cannot_be_say_which_field(declare: Any, field: str) -> None:
    with pytest.raises(DeclarationInvalid) as refused:
        declare()
    assert refused.value.field == field
