"""The SQL of a model is compared with the model, on rows of the table or made-up ones, before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from adfml_assets.in_database.compile import CompiledModel, compile_model
from adfml_assets.in_database.errors import ScoresDiffer, SqlRefused
from adfml_assets.in_database.made_up_rows import find_edges, make_up_rows
from adfml_assets.in_database.query import quote_table, to_sql
from adfml_assets.in_database.sql import Sql
from adfml_assets.in_database.verify import verify_compiled, verify_made_up
from tests.in_database.compiled_models import DIALECTS, Servers, list_rows, make_rows
from tests.postgresql_server import RunningPostgresql

ROWS = make_rows(200, 2, missing=0.1)
FEATURES = [*ROWS]
TREES = HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=5).fit(ROWS, ROWS.fillna(0).sum(axis=1))
COMPILED = compile_model(TREES, FEATURES)


def spoil(compiled: CompiledModel, leaf: float) -> CompiledModel:
    """The same model with a leaf changed."""

    def change(expression: Sql) -> Sql:
        return Sql(tuple(part + 1e-3 if part == leaf else part for part in expression.parts))  # type: ignore[operator]

    levels = tuple({name: change(expression) for name, expression in level.items()} for level in compiled.levels)
    return replace(compiled, levels=levels)


_NODES = TREES._predictors[0][0].nodes
SPOILED = spoil(COMPILED, float(_NODES["value"][_NODES["is_leaf"] == 1].max()))


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def table(servers: Servers) -> Iterator[str]:
    with servers.table(FEATURES, list_rows(ROWS), {}) as name:
        yield name


def test_rows_of_the_table(servers: Servers, table: str, dialect: str) -> None:
    found = verify_compiled(
        TREES, COMPILED, servers.connections[dialect], dialect, quote_table(dialect, table), keys=["row id"]
    )
    assert found.compared == 200
    assert found.without_score == 0
    assert found.largest_difference < 1e-12


def test_a_sample_of_the_rows_that_are_asked_for(servers: Servers, table: str, dialect: str) -> None:
    arguments: dict[str, Any] = {"keys": ["row id"], "where": '"row id" >= 50 -- the last ones'}
    source, connection = quote_table(dialect, table), servers.connections[dialect]
    assert verify_compiled(TREES, COMPILED, connection, dialect, source, **arguments).compared == 150
    assert verify_compiled(TREES, COMPILED, connection, dialect, source, **arguments, sample_rows=7).compared == 7
    drawn = [
        connection.execute(to_sql(COMPILED, dialect, source, keep=["row id"], sample=5)).fetchall() for _ in range(4)
    ]
    assert len({row for rows in drawn for row in rows}) > 5


def test_a_row_whose_scores_differ_is_named(servers: Servers, table: str, dialect: str) -> None:
    arguments = (servers.connections[dialect], dialect, quote_table(dialect, table))
    with pytest.raises(ScoresDiffer) as found:
        verify_compiled(TREES, SPOILED, *arguments, keys=["row id"])
    error = found.value
    assert isinstance(error.key, int)
    assert error.python == pytest.approx(TREES.predict(ROWS.iloc[[error.key]])[0])
    assert error.sql == pytest.approx(error.python + 1e-3)
    assert tuple(error.values.values()) == list_rows(ROWS)[error.key]
    assert 0 < error.differing < error.compared == 200
    message = f"gives the row with key {error.key} the score {error.sql!r}, the model itself {error.python!r}"
    assert message in str(error)
    assert "Nothing was written. Check that the table's columns have the types of the training data" in str(error)


def test_a_key_of_several_columns_is_named_whole(servers: Servers, table: str) -> None:
    source = f"(SELECT *, 'a' AS part FROM {quote_table('sqlite', table)})"
    with pytest.raises(ScoresDiffer, match=r"the row with key \(\d+, 'a'\)"):
        verify_compiled(TREES, SPOILED, servers.connections["sqlite"], "sqlite", source, keys=["row id", "part"])


def test_a_row_that_only_one_of_both_scores(servers: Servers, table: str) -> None:
    linear = LinearRegression().fit(ROWS.fillna(0), ROWS.fillna(0).sum(axis=1))
    compiled = compile_model(linear, FEATURES)
    connection, source = servers.connections["duckdb"], quote_table("duckdb", table)
    found = verify_compiled(linear, compiled, connection, "duckdb", source, keys=["row id"])
    assert found.without_score == int(ROWS.isna().any(axis=1).sum()) > 0
    with pytest.raises(ScoresDiffer, match=r"the score none \(the row cannot be scored\), the model itself -?\d"):
        verify_compiled(TREES, compiled, connection, "duckdb", source, keys=["row id"], where='"f 0" IS NULL')


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgresql"])
def test_a_connection_of_sqlalchemy(kind: str, postgresql: RunningPostgresql, tmp_path: Path) -> None:
    with postgresql.database() as url:
        engine = sa.create_engine(url if kind == "postgresql" else f"sqlite:///{tmp_path}/t.sqlite")
        columns = {"100%": [1.0, 2.0, 3.0, 4.0], ":x": [1.0, 0.0, 1.0, 0.0]}
        rows = pd.DataFrame(columns)
        model = LogisticRegression().fit(rows, [0, 0, 1, 1])
        with engine.connect() as connection:
            rows.to_sql("t % 1", connection, index_label="id")
            found = verify_compiled(
                model, compile_model(model, [*rows]), connection, kind, quote_table(kind, "t % 1"), keys=["id"]
            )
        engine.dispose()
    assert found.compared == 4


def test_sql_that_the_database_does_not_run(servers: Servers, table: str, dialect: str) -> None:
    source, connection = quote_table(dialect, table), servers.connections[dialect]
    other = replace(COMPILED, features=("f 0", "gone"))
    with pytest.raises(SqlRefused, match=f"{dialect} does not run the model's SQL .*gone.*Check the table"):
        verify_compiled(TREES, other, connection, dialect, source, keys=["row id"])


def test_made_up_rows_need_no_row_of_the_table(servers: Servers, dialect: str) -> None:
    connection = servers.connections[dialect]
    found = verify_made_up(TREES, COMPILED, connection, dialect, ranges={"f 0": (-50.0, 50.0)})
    assert found.compared == 500
    assert found.largest_difference < 1e-12
    with pytest.raises(ScoresDiffer, match="gives a made-up row the score"):
        verify_made_up(TREES, SPOILED, connection, dialect)


def test_made_up_rows_of_texts(servers: Servers, dialect: str) -> None:
    rows = pd.DataFrame({"city": ["Oslo", "O'Hare", None] * 20, "amount": np.arange(60.0)})
    columns = ColumnTransformer([("one", OneHotEncoder(handle_unknown="ignore"), ["city"])], remainder="passthrough")
    model = make_pipeline(columns, LinearRegression()).fit(rows, rows["amount"] * 2)
    compiled = compile_model(model, [*rows])
    found = verify_made_up(model, compiled, servers.connections[dialect], dialect, rows=100)
    assert 0 < found.without_score < 100


def test_made_up_rows_lie_on_the_edges_of_the_model() -> None:
    edges = find_edges(COMPILED)
    rows = make_up_rows(COMPILED, {}, 300, 0)
    assert rows == make_up_rows(COMPILED, {}, 300, 0)
    assert rows != make_up_rows(COMPILED, {}, 300, 1)
    for position, name in enumerate(FEATURES):
        values = [row[position] for row in rows]
        assert len(set(edges[name]) & set(values)) > len(edges[name]) / 2
        assert None in values
