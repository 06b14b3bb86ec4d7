"""What Dagster's UI shows of the demo's partitions: schema, lineage, rows, samples, links and plots of every asset."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from adfml_assets.definitions import defs

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MOST_BYTES = 100_000
"""Of an event: Dagster keeps one a partition, for ever."""

PREDICTIONS = "database/shop/main/Predictions"
Shown = Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def shown(home: Path) -> Iterator[Shown]:
    """Asset -> metadata of its newest materialisation."""
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        keys = defs().get_repository_def().asset_graph.materializable_asset_keys
        events = {key.to_user_string(): instance.get_latest_materialization_event(key) for key in keys}
        assert [key for key, event in events.items() if event is None] == []
        yield {
            key: event.asset_materialization.metadata
            for key, event in events.items()
            if event is not None and event.asset_materialization is not None
        }


def is_table(key: str) -> bool:
    parts = key.split("/")
    return not (key.endswith("_job") or parts[1] in ("models", "champions"))


def list_tables(shown: Shown) -> list[str]:
    found = [key for key in shown if is_table(key)]
    assert len(found) == 18
    return found


def test_every_table_has_a_schema_a_row_count_and_a_sample(shown: Shown) -> None:
    for key in list_tables(shown):
        metadata = shown[key]
        columns = metadata["dagster/column_schema"].value.columns
        assert columns, key
        assert all(column.type for column in columns), key
        rows = metadata["dagster/row_count"].value
        if rows or key == "database/shop/main/Feedback/feedback_sentiment":
            assert metadata["sample"].value.count("\n") >= 2, key
        if not key.startswith("database/"):
            assert metadata["dagster/uri"].value, key
            assert Path(metadata["file"].value).is_file(), key


def test_every_table_says_what_its_columns_are_made_of(shown: Shown) -> None:
    for key in list_tables(shown):
        if key.split("/")[0] in ("archive", "incremental"):
            continue  # of the source, which is no asset
        lineage = shown[key]["dagster/column_lineage"].value.deps_by_column
        own = {column.name for column in shown[key]["dagster/column_schema"].value.columns}
        assert set(lineage) <= own, key
        for deps in lineage.values():
            for dep in deps:
                upstream = shown[dep.asset_key.to_user_string()]["dagster/column_schema"].value.columns
                assert dep.column_name in {column.name for column in upstream}, (key, dep)


def test_a_prediction_leads_back_to_the_columns_of_the_archive(shown: Shown) -> None:
    todo, seen = [(PREDICTIONS, "Score")], set()
    while todo:
        key, column = todo.pop()
        if (key, column) not in seen:
            seen.add((key, column))
            lineage = shown[key].get("dagster/column_lineage")
            deps = lineage.value.deps_by_column.get(column, []) if lineage else []
            todo += [(dep.asset_key.to_user_string(), dep.column_name) for dep in deps]
    archived = {(key, column) for key, column in seen if key.startswith("archive/")}
    lines = "archive/shop/main/Transactions"
    assert archived == {
        *((lines, name) for name in ("CustomerId", "Quantity", "UnitPrice", "TransactionDate")),
        ("archive/shop/main/Products", "Category"),
    }


def test_no_personal_data_is_in_any_event(home: Path, shown: Shown) -> None:
    with closing(sqlite3.connect(home / "shop.sqlite")) as shop:
        names = {name for (name,) in shop.execute("SELECT Name FROM Customers WHERE Name IS NOT NULL")}
    assert len(names) > 100
    schema = shown["archive/shop/main/Customers"]["dagster/column_schema"].value
    assert "Name" in {column.name for column in schema.columns}
    for key, metadata in shown.items():
        text = json.dumps({name: str(value) for name, value in metadata.items()})
        assert not [name for name in names if name in text], key


def test_models_and_jobs_lead_to_their_pages_and_their_experiment(shown: Shown) -> None:
    for key in ("ml/models/sales_forecast_job", "ml/models/sales_forecast", "ml/scores/sales_forecast_job"):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/jobs/\d+/runs/\d+", shown[key]["page"].value), key
    model = shown["ml/models/sales_forecast"]
    run = model["mlflow_run_id"].value
    assert re.fullmatch(rf"http://127\.0\.0\.1:\d+/ml/experiments/\d+/runs/{run}", model["mlflow_run"].value)
    assert model["mlflow_experiment"].value == "/Shared/experiments/sales_forecast"


def test_plots_are_where_people_would_rather_look(shown: Shown) -> None:
    for key, name in (
        ("ml/scores/sales_forecast", "score_distribution"),
        ("ml/drift/sales_forecast", "psi"),
        ("ml/models/sales_forecast", "metric_over_versions"),
        ("ml/champions/sales_forecast", "metric_over_versions"),
        ("ml/training_data/sales_forecast", "label_distribution"),
        ("ml/anomalies/sensor_readings", "scores"),
    ):
        assert "](data:image/png;base64," in shown[key][name].value, key


def test_no_event_fills_the_event_log(shown: Shown) -> None:
    sizes = {key: len(dg.serialize_value(dict(metadata))) for key, metadata in shown.items()}
    assert {key: size for key, size in sizes.items() if size > MOST_BYTES} == {}
