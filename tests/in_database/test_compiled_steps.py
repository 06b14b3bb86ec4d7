"""Scalers, imputers, encoders and functions before a model, alone and put together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeRegressor

from tests.in_database.compiled_models import (
    HARD,
    Servers,
    assert_same_scores,
    list_rows,
    make_rows,
    spread_hard_values,
)

FEATURES = ["f 0", "f 1", "f 2"]
CITIES = ["Oslo", "oslo", "Oslo ", "O'Hare", "", 'a "b" [c]', "São Paulo", "100%", ":x", None]
TEXT = {"city": "TEXT", "kind": "TEXT"}
TREE = HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=2)


def name_of(model: Any) -> str:
    return "".join(str(model).split())[:60]


@pytest.mark.parametrize(
    "step",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        MinMaxScaler(),
        MinMaxScaler(feature_range=(-3, 5), clip=True),
        MaxAbsScaler(),
        MaxAbsScaler(clip=True),
        RobustScaler(unit_variance=True),
        RobustScaler(with_centering=False, with_scaling=False),
        make_pipeline(StandardScaler(), MinMaxScaler(), "passthrough", RobustScaler()),
        SimpleImputer(),
        SimpleImputer(strategy="median"),
        SimpleImputer(strategy="most_frequent"),
        SimpleImputer(strategy="constant", fill_value=-7.5),
    ],
    ids=name_of,
)
@pytest.mark.parametrize("model", [Ridge(), TREE], ids=name_of)
def test_scalers_and_imputers(servers: Servers, step: Any, model: Any) -> None:
    rows = make_rows(120, 3, missing=0.0 if isinstance(model, Ridge) and "Imputer" not in str(step) else 0.1)
    rows["f 1"] *= 1e-3
    pipeline = make_pipeline(step, model).fit(rows, rows.fillna(0).sum(axis=1))
    assert_same_scores(servers, pipeline, list_rows(rows)[:20] + spread_hard_values(list_rows(rows)), FEATURES)


@pytest.mark.parametrize(
    "function", [np.sqrt, np.log, np.log1p, np.exp, np.expm1, np.square, np.abs, None], ids=name_of
)
@pytest.mark.parametrize("model", [LinearRegression(), TREE], ids=name_of)
def test_functions_of_a_column(servers: Servers, function: Any, model: Any) -> None:
    rows = make_rows(120, 3).abs()
    pipeline = make_pipeline(FunctionTransformer(function), model).fit(rows, rows.sum(axis=1))
    small = [
        (value, 1.0, 1.0) for value in (1e-17, -1e-17, 1e-9, -1e-9, 0.5, -0.5, -1.0, -0.999999, 709.7, 710.0, -746.0)
    ]
    hard = spread_hard_values(list_rows(rows))
    assert_same_scores(servers, pipeline, list_rows(rows)[:20] + small + hard, FEATURES, relative=1e-11)


def test_a_column_without_any_value_in_training_is_left_out(servers: Servers) -> None:
    rows = make_rows(50, 3).assign(**{"f 1": np.nan})
    pipeline = make_pipeline(SimpleImputer(), LinearRegression()).fit(rows, rows["f 0"])
    assert_same_scores(servers, pipeline, [(1.0, None, 2.0), (1.0, 5.0, None)], FEATURES)


def cities(count: int = 60) -> pd.DataFrame:
    """Rows with two texts and a number."""
    random = np.random.default_rng(0)
    known = [city for city in CITIES if city is not None][:-2]
    return pd.DataFrame(
        {
            "city": random.choice(known, count).astype(object),
            "amount": random.normal(0, 5, count),
            "kind": random.choice(["a", "b", "c"], count).astype(object),
        }
    )


CITY_ROWS = [(city, amount, kind) for city in CITIES for amount, kind in ((1.5, "a"), (None, "b"), (3.0, "z"))]


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(handle_unknown="ignore"),
        OneHotEncoder(handle_unknown="error", sparse_output=False),
        OneHotEncoder(drop="first", handle_unknown="ignore"),
        OneHotEncoder(drop="if_binary"),
        OrdinalEncoder(),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
    ],
    ids=name_of,
)
@pytest.mark.parametrize("model", [Ridge(), RandomForestRegressor(3, max_depth=4, random_state=0)], ids=name_of)
def test_categories_of_text_known_and_unknown(servers: Servers, encoder: Any, model: Any) -> None:
    rows = cities()
    columns = ColumnTransformer([("texts", encoder, ["kind", "city"])], remainder="passthrough")
    pipeline = make_pipeline(columns, model).fit(rows, rows["amount"] + (rows["city"] == "Oslo") * 9)
    scores = assert_same_scores(servers, pipeline, CITY_ROWS + list_rows(rows), [*rows], types=TEXT)
    assert None in scores or encoder.handle_unknown != "error"
    assert None not in scores[len(CITY_ROWS) :]


@pytest.mark.parametrize("marker", [None, np.nan])
def test_a_missing_text_may_be_a_category(servers: Servers, marker: float | None) -> None:
    rows = cities()
    rows["city"] = [marker if number % 5 == 0 else city for number, city in enumerate(rows["city"])]
    for encoder in (OneHotEncoder(handle_unknown="ignore"), OrdinalEncoder(encoded_missing_value=-2)):
        columns = ColumnTransformer([("texts", encoder, ["city"])])
        pipeline = make_pipeline(columns, LinearRegression()).fit(rows, rows["city"].isna() * 3.0)
        seen = [(row[0], row[1], "a") for row in list_rows(rows)]
        scores = assert_same_scores(servers, pipeline, seen, [*rows], types=TEXT)
        assert scores[0] != scores[1]


def test_a_missing_text_may_be_filled_in(servers: Servers) -> None:
    rows = cities()
    rows.loc[::4, "city"] = np.nan
    texts = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    kinds = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="?"),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=9),
    )
    columns = ColumnTransformer([("city", texts, ["city"]), ("kind", kinds, ["kind"])])
    pipeline = make_pipeline(columns, Ridge()).fit(rows, rows["amount"])
    assert_same_scores(servers, pipeline, [*CITY_ROWS, ("Oslo", 1.0, None)], [*rows], types=TEXT)


def test_categories_that_are_numbers(servers: Servers) -> None:
    rows = pd.DataFrame({"f 0": np.tile([1.0, 2.5, np.nan], 20), "f 1": np.tile([3.0, -4.0], 30), "f 2": 1.0})
    steps = ColumnTransformer(
        [("one", OneHotEncoder(handle_unknown="ignore"), ["f 0", "f 2"]), ("two", OrdinalEncoder(), [1])]
    )
    pipeline = make_pipeline(steps, Ridge()).fit(rows, np.arange(60.0))
    given = [(a, b, c) for a in (1.0, 2.5, None, 2.0, math.inf) for b in (3.0, -4.0, None, 0.0) for c in (1.0, None)]
    scores = assert_same_scores(servers, pipeline, given, FEATURES)
    assert None in scores


def test_a_column_transformer_with_everything(servers: Servers) -> None:
    rows = cities().assign(extra=1.0, unused="x")
    numbers = Pipeline([("fill", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    columns = ColumnTransformer(
        [
            ("numbers", numbers, make_column_selector("amount")),
            ("dropped", "drop", ["unused"]),
            ("kept", "passthrough", [3]),
            ("again", MinMaxScaler(), slice(1, 2)),
            ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), [True, False, True, False, False]),
        ],
        remainder="drop",
    )
    model = LogisticRegression()
    pipeline = Pipeline([("columns", columns), ("model", model)]).fit(rows, rows["amount"] > 1)
    given = [(*row, extra, "y") for row in CITY_ROWS for extra in (1.0, -5.0)]
    types = {**TEXT, "unused": "TEXT"}
    assert_same_scores(servers, pipeline, given, [*rows], positive_class=True, types=types)


def test_missing_values_in_a_sparse_matrix_are_refused_as_python_does(servers: Servers) -> None:
    rows = cities()
    for sparse, scored in ((1.0, False), (0.0, True)):
        columns = ColumnTransformer(
            [("texts", OneHotEncoder(), ["kind"])], remainder="passthrough", sparse_threshold=sparse
        )
        pipeline = make_pipeline(columns, DecisionTreeRegressor(max_depth=3))
        numbers = rows[["kind", "amount"]]
        pipeline.fit(numbers, rows["amount"])
        scores = assert_same_scores(servers, pipeline, [("a", None), ("b", 1.0)], ["kind", "amount"], types=TEXT)
        assert (scores[0] is not None) == scored
        assert scores[1] is not None


def test_every_hard_value_of_one_feature(servers: Servers) -> None:
    rows = make_rows(80, 1)
    for model in (LinearRegression(), make_pipeline(StandardScaler(), TREE), DecisionTreeRegressor(max_depth=4)):
        model.fit(rows, rows["f 0"])
        assert_same_scores(servers, model, [(value,) for value in HARD], ["f 0"])
