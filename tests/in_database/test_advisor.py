"""Where a model should run: the patterns' table applied to real models and real tables."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
import sqlglot
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPRegressor
from skops import io
from sqlalchemy.dialects import mssql
from typer.testing import CliRunner

from adfml_assets.errors import WrongResult
from adfml_assets.in_database.advisor import MANY_TREES, Advice, Needs, advise
from adfml_assets.in_database.estimators import load_estimator
from adfml_assets.in_database.facts import (
    ESTIMATES,
    MANY_ROWS,
    ModelFacts,
    TableFacts,
    build_count,
    read_model_facts,
    read_table_facts,
)
from adfml_assets.in_database.platform import describe_dialect, describe_sql_server
from adfml_assets.in_database.server_errors import CannotLoad, WrongModelBytes
from resources.database import Databases
from resources.errors import NotFound
from resources.lake import Lake
from tests.in_database.lake_models import BOOSTING, FEATURES, put_model
from tests.in_database.shops import open_customers, schema_of

MODEL = ModelFacts("churn", "3", "HistGradientBoostingRegressor", "skops", 90_000, 14, trees=73)
TABLE = TableFacts("shop.dbo.Customers", 4_338, False, describe_dialect("postgresql", "16.2"))
AZURE_SQL = replace(TABLE, platform=describe_sql_server(5, "12.0", installed=False, enabled=False))
NO_SQL = "the model: MLPRegressor cannot be compiled to SQL"


def points_to(advice: Advice) -> dict[str, str]:
    return {reason.topic: reason.points_to for reason in advice.reasons}


def test_few_rows_and_a_model_with_sql_stay_in_the_database() -> None:
    advice = advise(MODEL, TABLE)
    assert (advice.where, advice.engine, advice.way) == ("in_database", "in_database", "compiled")
    assert advice.decided_by.text == "shop.dbo.Customers has 4,338 rows: not more than 1,000,000."
    assert [reason.topic for reason in advice.reasons] == [
        "data movement",
        "server",
        "compute",
        "model",
        "latency",
        "rows",
    ]


def test_exactly_one_reason_decides() -> None:
    assert [reason.topic for reason in advise(MODEL, TABLE).reasons if reason.decided] == ["rows"]


@pytest.mark.parametrize(
    ("model", "table", "needs", "decided_by", "engine"),
    [
        ({}, {"rows": MANY_ROWS}, {}, "rows", "in_database"),
        ({}, {"rows": MANY_ROWS + 1}, {}, "rows", "databricks"),
        ({}, {"rows": 5_000_000}, {"latency": "realtime"}, "latency", "in_database"),
        ({}, {}, {"compute": "gpu"}, "compute", "azure_ml_batch"),
        ({}, {}, {"compute": "distributed"}, "compute", "databricks"),
        ({}, {}, {"compute": "gpu", "latency": "realtime"}, "compute", "azure_ml_online"),
        ({"trees": MANY_TREES + 1}, {}, {}, "model", "azure_ml_batch"),
        ({"trees": MANY_TREES}, {}, {}, "rows", "in_database"),
        ({"algorithm": "LinearRegression"}, {}, {}, "rows", "in_database"),
        ({"algorithm": "MLPRegressor", "cannot_compile": NO_SQL}, {}, {}, "server", "azure_ml_batch"),
        ({"kind": "onnx", "algorithm": ""}, {}, {"latency": "realtime"}, "server", "azure_ml_online"),
        ({"algorithm": "MLPRegressor", "cannot_compile": NO_SQL}, {"rows": 9**9}, {}, "server", "azure_ml_batch"),
    ],
)
def test_the_first_row_of_the_table_that_points_somewhere_decides(
    model: dict[str, Any], table: dict[str, Any], needs: dict[str, Any], decided_by: str, engine: str
) -> None:
    advice = advise(replace(MODEL, **model), replace(TABLE, **table), Needs(**needs))
    assert (advice.decided_by.topic, advice.engine) == (decided_by, engine)
    assert advice.where == ("in_database" if engine == "in_database" else "external")
    assert (advice.way is None) == (engine != "in_database")


def test_a_model_by_a_script_of_the_server_is_still_an_ensemble_or_deep() -> None:
    box = replace(TABLE, platform=describe_sql_server(3, "16.0", installed=True, enabled=True))
    deep = replace(MODEL, algorithm="KerasRegressor", kind="onnx", trees=None)
    assert advise(deep, box).decided_by.text.endswith("is a deep model.")
    ensemble = replace(MODEL, algorithm="LGBMRegressor", kind="onnx", trees=None)
    assert advise(ensemble, box).decided_by.text.endswith("is an ensemble, and has no SQL.")
    simple = replace(MODEL, algorithm="Ridge", kind="onnx", trees=None)
    assert advise(simple, box).way == "external_script"


def test_data_that_may_not_leave_wins_over_everything() -> None:
    needs = Needs(data_may_leave=False, compute="gpu")
    advice = advise(replace(MODEL, trees=9_999), replace(TABLE, rows=50_000_000), needs)
    assert (advice.where, advice.way, advice.problem) == ("in_database", "compiled", None)
    assert advice.decided_by.topic == "data movement"
    # What speaks against it is still said.
    assert points_to(advice) == {
        "data movement": "in_database",
        "server": "either",
        "compute": "external",
        "model": "external",
        "latency": "either",
        "rows": "external",
    }


def test_data_that_may_not_leave_and_a_server_that_cannot_is_a_problem() -> None:
    advice = advise(replace(MODEL, cannot_compile=NO_SQL), AZURE_SQL, Needs(data_may_leave=False))
    assert (advice.where, advice.engine, advice.way) == ("in_database", None, None)
    assert advice.problem is not None
    assert advice.problem.startswith("The data may not leave the database, and nothing there can score this model.")
    assert "PREDICT does not exist on Azure SQL Database" in advice.problem


def test_in_place_of_a_declared_way_that_is_not_possible_another_is_advised() -> None:
    advice = advise(MODEL, AZURE_SQL, Needs(way="predict"))
    assert (advice.where, advice.way) == ("in_database", "compiled")
    server = next(reason for reason in advice.reasons if reason.topic == "server")
    assert server.text.startswith("PREDICT does not exist on Azure SQL Database: use compiled SQL (way: compiled)")
    nowhere = advise(replace(MODEL, cannot_compile=NO_SQL), AZURE_SQL, Needs(way="predict"))
    assert (nowhere.where, nowhere.decided_by.topic) == ("external", "server")
    box = replace(TABLE, platform=describe_sql_server(3, "16.0", installed=True, enabled=True))
    assert advise(MODEL, box, Needs(way="external_script")).way == "external_script"


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("HistGradientBoostingRegressor(loss=poisson) in TransformedTargetRegressor", "ensemble"),
        ("RandomForestClassifier", "ensemble"),
        ("rx_btrees", "ensemble"),
        ("DecisionTreeRegressor", "simple"),
        ("StandardScaler, LogisticRegression", "simple"),
        ("rx_lin_mod", "simple"),
        ("MLPRegressor", "deep"),
        ("pytorch", "deep"),
        ("", "unknown"),
    ],
)
def test_a_models_class_is_read_from_its_algorithm(algorithm: str, expected: str) -> None:
    assert replace(MODEL, algorithm=algorithm).model_class == expected


@pytest.mark.parametrize(
    ("estimator", "algorithm", "obstacle"),
    [
        (HistGradientBoostingRegressor(**BOOSTING), "HistGradientBoostingRegressor", None),
        (RandomForestRegressor(3), "RandomForestRegressor", None),
        (LinearRegression(), "LinearRegression", None),
        (
            MLPRegressor(hidden_layer_sizes=(2,), max_iter=1),
            "MLPRegressor",
            "the model: MLPRegressor cannot be compiled to SQL",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_the_facts_of_a_model_are_those_of_its_files(
    lake: Lake, estimator: Any, algorithm: str, obstacle: str | None
) -> None:
    content = put_model(lake, "1", estimator, algorithm, iterations=7)
    facts = read_model_facts(lake, "churn", "1", "sqlite")
    assert facts == ModelFacts("churn", "1", algorithm, "skops", len(content), 2, 7, facts.cannot_compile)
    if obstacle is None:
        assert facts.cannot_compile is None
    else:
        assert facts.cannot_compile is not None
        assert facts.cannot_compile.startswith(obstacle)


def test_a_database_that_has_no_sql_for_a_model_is_an_obstacle(lake: Lake) -> None:
    put_model(lake, "1", LinearRegression(), "LinearRegression")
    assert "a model for oracle" in str(read_model_facts(lake, "churn", "1", "oracle").cannot_compile)


def test_a_file_that_is_not_the_registered_one_is_not_loaded(lake: Lake) -> None:
    put_model(lake, "1", LinearRegression(), "LinearRegression")
    with pytest.raises(WrongModelBytes, match=r"model\.skops: its SHA-256 is .* recorded was 0000"):
        read_model_facts(lake, "churn", "1", "sqlite", "0" * 64)


def test_what_cannot_be_loaded_is_an_obstacle_and_not_used(lake: Lake) -> None:
    put_model(lake, "1", LinearRegression(), "LinearRegression", library_versions={"scikit-learn": "0.24.2"})
    obstacle = read_model_facts(lake, "churn", "1", "sqlite").cannot_compile
    assert "it was trained with scikit-learn 0.24.2" in str(obstacle)
    foreign = io.dumps({"model": CliRunner()})
    with pytest.raises(CannotLoad, match=r"it holds types that are not trusted: typer\.testing\.CliRunner"):
        load_estimator(foreign, "model.skops", hashlib.sha256(foreign).hexdigest())
    broken = b"no zip file"
    with pytest.raises(CannotLoad, match="is refused: it is not a whole model"):
        load_estimator(broken, "model.skops", hashlib.sha256(broken).hexdigest())


def test_a_tree_that_points_outside_itself_is_refused() -> None:
    rows = pd.DataFrame(np.random.default_rng(1).normal(size=(80, 2)), columns=FEATURES)
    model = HistGradientBoostingRegressor(**BOOSTING).fit(rows, rows["recency"])
    model._predictors[0][0].nodes["left"][0] = 0
    content = io.dumps(model)
    with pytest.raises(CannotLoad, match="one of its trees points outside itself"):
        load_estimator(content, "model.skops", hashlib.sha256(content).hexdigest())


def test_a_version_that_is_not_there_or_not_whole_is_said(lake: Lake) -> None:
    put_model(lake, "1", LinearRegression(), "LinearRegression", model_file="model.bin")
    with pytest.raises(NotFound, match="no version '9' in model churn"):
        read_model_facts(lake, "churn", "9", "sqlite")
    with pytest.raises(WrongResult, match=r"expected a model_file \.skops, \.onnx or \.pkl"):
        read_model_facts(lake, "churn", "1", "sqlite")


@pytest.fixture(params=["sqlite", "duckdb", "postgresql"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    with open_customers(request.param, request, monkeypatch) as opened:
        yield opened


def test_rows_of_tables_and_views_are_counted(databases: Databases, engine: sa.Engine) -> None:
    schema = schema_of(engine)
    facts = read_table_facts(databases, "shop", schema, "Customers")
    assert (facts.table, facts.rows, facts.is_estimate) == (f"shop.{schema}.Customers", 30, False)
    assert facts.platform.compiled
    assert read_table_facts(databases, "shop", schema, "waiting").rows == 10
    condition = "\"Country\" = 'a:b%' -- the rest"
    assert read_table_facts(databases, "shop", schema, "Customers", condition).rows == 15
    with pytest.raises(NotFound, match="Did you mean 'Customers'"):
        read_table_facts(databases, "shop", schema, "Customer")


def test_what_a_server_estimates_far_above_a_million_is_not_counted(databases: Databases, engine: sa.Engine) -> None:
    if engine.dialect.name != "postgresql":
        # It has no estimate: it always counts.
        assert not read_table_facts(databases, "shop", "main", "Customers").is_estimate
        return
    for estimated, expected in ((3_000_000, (3_000_000, True)), (1_500_000, (30, False)), (-1, (30, False))):
        with engine.begin() as connection:
            connection.execute(sa.text(f"UPDATE pg_class SET reltuples = {estimated} WHERE relname = 'Customers'"))
        facts = read_table_facts(databases, "shop", "public", "Customers")
        assert (facts.rows, facts.is_estimate) == expected


def test_on_sql_server_more_than_two_billion_rows_are_counted() -> None:
    text = str(build_count("mssql", "dbo", "Or]ders", "a = 1 -- all").compile(dialect=mssql.dialect()))
    tree = sqlglot.parse_one(text, read="tsql")
    assert tree.find(sqlglot.exp.Count).args["big_int"] is True
    assert tree.find(sqlglot.exp.Table).name == "Or]ders"


def test_what_sql_server_is_asked_for_its_estimate_is_tsql() -> None:
    tree = sqlglot.parse_one(ESTIMATES["mssql"].replace(":name", "@name"), read="tsql")
    assert isinstance(tree, sqlglot.exp.Select)
    assert tree.find(sqlglot.exp.Table).sql("tsql") == "sys.partitions"
