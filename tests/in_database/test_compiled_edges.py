"""Where SQL and Python could part: thresholds to the last bit, types of columns, deep trees, literals."""

from __future__ import annotations

import itertools
import math
import re
import sqlite3
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor

from adfml_assets.in_database.compile import compile_model
from adfml_assets.in_database.dialects import find_dialect
from adfml_assets.in_database.errors import CannotCompile
from adfml_assets.in_database.query import to_sql
from adfml_assets.in_database.sql import Name, build
from adfml_assets.in_database.trees import Tree, round_down_to_float32, write_tree
from tests.in_database.compiled_models import Servers, assert_same_scores, find_edges, list_rows, make_rows

FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    "model",
    [
        DecisionTreeRegressor(max_leaf_nodes=30),
        RandomForestRegressor(4, max_leaf_nodes=10, random_state=0),
        ExtraTreesRegressor(4, max_leaf_nodes=10, random_state=0),
        GradientBoostingRegressor(n_estimators=6, max_leaf_nodes=6, random_state=0),
        make_pipeline(StandardScaler(), DecisionTreeRegressor(max_leaf_nodes=30)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_classical_trees_on_their_thresholds_and_beside_them(servers: Servers, model: Any) -> None:
    rows = make_rows(100, 1)
    model.fit(rows, rows["f 0"])
    last = model[-1] if hasattr(model, "steps") else model
    trees = [one.tree_ for one in np.ravel(getattr(last, "estimators_", [last]))]
    edges = find_edges([float(edge) for tree in trees for edge in tree.threshold[tree.children_left > 0]])
    if hasattr(model, "steps"):
        scaler = model[0]
        edges += [edge * scaler.scale_[0] + scaler.mean_[0] for edge in edges]
    assert_same_scores(servers, model, [(edge,) for edge in edges], ["f 0"])


def test_histogram_trees_on_their_thresholds_and_beside_them(servers: Servers) -> None:
    rows = make_rows(200, 1)
    model = HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=2).fit(rows, rows["f 0"])
    nodes = np.concatenate([predictor.nodes for (predictor,) in model._predictors])
    edges = find_edges(nodes["num_threshold"][nodes["is_leaf"] == 0].tolist())
    assert_same_scores(servers, model, [(edge,) for edge in edges], ["f 0"])


@settings(max_examples=30, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=20), st.lists(FLOATS, max_size=20))
def test_a_threshold_decides_as_if_the_value_were_rounded(thresholds: list[float], others: list[float]) -> None:
    moved = round_down_to_float32(np.array(thresholds))
    values = np.array([*others, *find_edges([edge for edge in thresholds if abs(edge) < 3e38]), *moved, *thresholds])
    values = values[np.abs(values) < 3.4028235677973366e38]
    with np.errstate(over="ignore"):
        rounded = values.astype(np.float32).astype(np.float64)
    for threshold, edge in zip(thresholds, moved, strict=True):
        assert ((values <= edge) == (rounded <= threshold)).all()


def test_rows_that_differ_only_in_what_is_missing(servers: Servers) -> None:
    rows = pd.DataFrame({"f 0": [None, 1.0] * 40, "f 1": [1.0] * 80}, dtype=float)
    for model in (HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=2), DecisionTreeRegressor()):
        model.fit(rows, rows["f 0"].isna() * 5.0)
        given_rows = [(None, 1.0), (1.0, None), (1e308, 1.0) if "Hist" in str(model) else (1e30, 1.0), (None, None)]
        scores = assert_same_scores(servers, model, given_rows, ["f 0", "f 1"])
        assert scores[0] != scores[2]


def test_columns_of_every_type_of_number(servers: Servers) -> None:
    types = {"whole": "BIGINT", "flag": "BOOLEAN", "price": "NUMERIC(12, 3)", "short": "REAL", "small": "SMALLINT"}
    random = np.random.default_rng(0)
    rows = [
        (
            None if number % 7 == 0 else int(random.integers(-(2**62), 2**62)),
            bool(number % 2),
            None if number % 5 == 0 else float(Decimal(int(random.integers(-(10**6), 10**6))) / 1000),
            float(np.float32(random.normal())),
            int(random.integers(-9, 9)),
        )
        for number in range(80)
    ]
    frame = pd.DataFrame(rows, columns=[*types]).astype(float)
    model = HistGradientBoostingRegressor(max_iter=10, min_samples_leaf=2).fit(frame, frame.sum(axis=1) / 1e18)
    assert_same_scores(servers, model, rows, [*types], types=types)
    linear = Ridge().fit(frame.fillna(0), np.arange(80.0))
    scores = assert_same_scores(servers, linear, rows, [*types], types=types, relative=1e-9)
    assert {None} < set(scores)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_finite_number_is_missing(servers: Servers, value: str) -> None:
    rows = make_rows(50, 1, missing=0.2)
    model = HistGradientBoostingRegressor(max_iter=3, min_samples_leaf=2).fit(rows, rows["f 0"].fillna(99.0))
    expected = float(model.predict(pd.DataFrame({"f 0": [np.nan]}))[0])
    for dialect in ("duckdb", "postgresql"):
        source = f"(SELECT CAST('{value}' AS DOUBLE PRECISION) AS \"f 0\")"
        sql = to_sql(compile_model(model, ["f 0"]), dialect, source)
        ((score,),) = servers.connections[dialect].execute(sql).fetchall()
        assert score == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("value", ["'much'", "x'00'", "'1.5'"])
def test_sqlite_may_hold_a_text_in_a_column_of_numbers(value: str) -> None:
    rows = make_rows(50, 2)
    sql = to_sql(
        compile_model(DecisionTreeRegressor(max_depth=2).fit(rows, rows["f 0"]), [*rows]),
        "sqlite",
        f'(SELECT 1.0 AS "f 0", 1.0 AS "f 1" UNION ALL SELECT 1.0, {value})',
    )
    (first,), (second,) = sqlite3.connect(":memory:").execute(sql).fetchall()
    assert first is not None
    assert second is None


def test_trees_deeper_than_case_may_lie_in_case(servers: Servers) -> None:
    random = np.random.default_rng(0)
    rows = pd.DataFrame(random.permutation(4096).reshape(-1, 1).astype(float), columns=["f 0"])
    balanced = DecisionTreeRegressor().fit(rows, random.normal(size=4096))
    steps = pd.DataFrame({"f 0": np.arange(90.0)})
    assert balanced.get_depth() > 11
    assert_same_scores(servers, balanced, list_rows(rows)[:300], ["f 0"])
    for label in (3.0 ** np.arange(90), 3.0 ** np.arange(90)[::-1]):
        crooked = DecisionTreeRegressor().fit(steps, label)
        assert crooked.get_depth() > 60
        assert_same_scores(servers, crooked, list_rows(steps), ["f 0"])


@pytest.mark.parametrize("leans", ["left", "right"])
@pytest.mark.parametrize("missing_left", [True, False])
def test_a_tree_that_leans_to_one_side_needs_no_condition_twice(leans: str, missing_left: bool) -> None:
    leaf = [number % 2 == 1 or number == 120 for number in range(121)]
    deep = [number if leaf[number] else number + 2 for number in range(121)]
    short = [number if leaf[number] else number + 1 for number in range(121)]
    tree = Tree(
        left=deep if leans == "left" else short,
        right=short if leans == "left" else deep,
        feature=[0] * 121,
        threshold=[float(number) for number in range(121)],
        missing_left=[missing_left] * 121,
        value=[0.0] * 121,
    )
    assert write_tree(tree, [Name("a")], 3).size <= 4 * tree.leaves


def test_more_trees_than_one_expression_takes(servers: Servers) -> None:
    rows = make_rows(60, 3, missing=0.1)
    label = rows.fillna(0).sum(axis=1)
    boosted = TransformedTargetRegressor(
        HistGradientBoostingRegressor(max_iter=230, min_samples_leaf=8, loss="poisson"),
        func=np.log1p,
        inverse_func=np.expm1,
    )
    for model in (RandomForestRegressor(250, max_depth=2, random_state=0), boosted):
        model.fit(rows, label - label.min())
        assert_same_scores(servers, model, list_rows(rows), [*rows])


def test_a_forest_of_full_depth_before_several_steps(servers: Servers) -> None:
    rows = make_rows(300, 4)
    model = make_pipeline(StandardScaler(), RandomForestClassifier(30, random_state=0))
    model.fit(rows, rows.sum(axis=1) > 0)
    assert_same_scores(servers, model, list_rows(make_rows(200, 4, seed=1)), [*rows])


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_tree_is_the_same_however_deep_case_may_lie(data: st.DataObject) -> None:
    tree = data.draw(trees())
    columns = [Name("a"), Name("b")]
    allowed = (1, 2, 3, 9)
    texts = [find_dialect("sqlite").render(write_tree(tree, columns, nesting)) for nesting in allowed]
    assert all(count_nesting(text) <= nesting for text, nesting in zip(texts, allowed, strict=True))
    number = st.none() | st.sampled_from([-1.0, 0.0, 1.0, 2.0, 5.5])
    rows = data.draw(st.lists(st.tuples(number, number), min_size=1, max_size=10))
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a REAL, b REAL)")
    for row in rows:
        found = connection.execute(f"SELECT {', '.join(texts)} FROM (SELECT ? AS a, ? AS b)", row).fetchone()
        assert set(found) == {walk(tree, row)}


def count_nesting(text: str) -> int:
    """How deep CASE lies in CASE."""
    steps = [1 if word == "CASE" else -1 for word in re.findall(r"CASE|END", text)]
    return max(itertools.accumulate(steps), default=0)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A tree over two columns, of any shape."""
    size = 2 * draw(st.integers(0, 12)) + 1
    left, right = list(range(size)), list(range(size))
    leaves, made = [0], 1
    while made < size:
        node = leaves.pop(draw(st.integers(0, len(leaves) - 1)))
        left[node], right[node] = made, made + 1
        leaves += [made, made + 1]
        made += 2
    return Tree(
        left=left,
        right=right,
        feature=draw(st.lists(st.integers(0, 1), min_size=size, max_size=size)),
        threshold=draw(st.lists(st.sampled_from([-1.0, 0.0, 1.0, 2.0, math.inf]), min_size=size, max_size=size)),
        missing_left=draw(st.lists(st.booleans(), min_size=size, max_size=size)),
        value=[float(number) for number in range(size)],
    )


def walk(tree: Tree, row: tuple[float | None, ...]) -> float:
    """The leaf a row comes to, step by step."""
    node = 0
    while not tree.is_leaf(node):
        value = row[tree.feature[node]]
        goes_left = tree.missing_left[node] if value is None else value <= tree.threshold[node]
        node = tree.left[node] if goes_left else tree.right[node]
    return tree.value[node]


@settings(max_examples=30, deadline=None)
@given(numbers=st.lists(FLOATS, min_size=1, max_size=40))
def test_a_literal_is_read_back_as_the_same_number(servers: Servers, numbers: list[float]) -> None:
    for dialect, connection in servers.connections.items():
        # SQLite's own reading of digits is off by one bit at times for numbers like 1e-280.
        sent = [one for one in numbers if dialect != "sqlite" or one == 0 or 1e-25 < abs(one) < 1e25]
        texts = [find_dialect(dialect).render(build(one)) for one in [*sent, 0.0]]
        (found,) = connection.execute(f"SELECT {', '.join(texts)}").fetchall()
        assert list(found) == [*sent, 0.0]


def test_sqlite_reads_literals_of_usual_size_to_the_last_bit() -> None:
    numbers = np.random.default_rng(0).normal(0, 100, 30_000).tolist()
    render, connection = find_dialect("sqlite").render, sqlite3.connect(":memory:")
    for start in range(0, len(numbers), 1_000):
        part = numbers[start : start + 1_000]
        found = connection.execute(f"SELECT {', '.join(render(build(one)) for one in part)}").fetchone()
        assert list(found) == part


def test_literals_of_tsql_are_floats_it_has() -> None:
    words = find_dialect("tsql")
    found = [words.render(build(one)) for one in (1.0, 0.1, 5e-324, -5e-324, 1e300, -2.5e-7)]
    assert found == ["1.0E0", "0.1E0", "0.0E0", "-2.2250738585072014E-308", "1E+300", "-2.5E-07"]


def test_a_tree_too_large_for_an_expression_of_sql_server_is_refused() -> None:
    rows = pd.DataFrame({"x": np.random.default_rng(0).normal(size=22_000)})
    compiled = compile_model(DecisionTreeRegressor().fit(rows, rows["x"]), ["x"])
    assert to_sql(compiled, "postgresql", "T")
    with pytest.raises(CannotCompile, match=r"SQL Server takes 65,000.*cannot be compiled to SQL\. Use T-SQL PREDICT"):
        to_sql(compiled, "mssql", "T")


def test_hard_sums_of_products(servers: Servers) -> None:
    """Products that overflow together or alone, or vanish."""
    model = LinearRegression()
    model.coef_, model.intercept_, model.n_features_in_ = np.array([2.0, -3.0, 1e-5]), 1e-300, 3
    small = (0.0, 5e-324, -1e-300, 1.0)
    rows = [
        (a, b, c) for a in (*small, 8e307, 1.7e308) for b in (*small, -5e307, -1.7e308) for c in (0.0, -5e-324, 1.7e308)
    ]
    assert_same_scores(servers, model, rows, ["f 0", "f 1", "f 2"], relative=1e-14)


def test_probabilities_of_sums_that_overflow(servers: Servers) -> None:
    """Infinity is a probability of 1. What infinity less infinity is depends on Python's processor: no score."""
    model = LogisticRegression()
    model.coef_, model.intercept_, model.n_features_in_ = np.array([[2.0, -3.0]]), np.array([0.5]), 2
    model.classes_ = np.array([0, 1])
    features = ["f 0", "f 1"]
    rows = [(1.0, 0.1), (1.7e308, 0.1), (1.0, 1.7e308), (1.7e308, -1.7e308), (-1.7e308, 1.7e308)]
    assert assert_same_scores(servers, model, rows, features)[1:] == [1.0, 0.0, 1.0, 0.0]
    found = servers.score(compile_model(model, features), [(1.7e308, 1.7e308), (-1.7e308, -1.7e308)])
    assert all(scores == [None, None] for scores in found.values())


def test_another_database_has_no_sql() -> None:
    with pytest.raises(CannotCompile, match="a model for oracle cannot be compiled"):
        find_dialect("oracle")
