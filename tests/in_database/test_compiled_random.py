"""Small models of every kind, fitted on whatever rows come, score whatever rows come as in Python."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from adfml_assets.in_database import query
from adfml_assets.in_database.dialects import find_dialect
from tests.in_database.compiled_models import Servers, assert_same_scores, make_rows

WORDS = st.sampled_from(["a", "A", "a ", "", "ä", "'", '"', "\\", "%s", "NULL"]) | st.text(
    st.characters(codec="utf-8", exclude_characters="\0"), max_size=3
)
MODERATE = st.floats(-1e6, 1e6, allow_subnormal=False) | st.integers(-3, 3).map(float)
ANY = st.floats(allow_nan=False) | MODERATE | st.none()
SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Rows to fit on: two numbers, one of them missing at times, and a text."""
    size = draw(st.integers(4, 12))
    return pd.DataFrame(
        {
            "x": draw(st.lists(MODERATE, min_size=size, max_size=size)),
            "y": draw(st.lists(MODERATE | st.just(math.nan), min_size=size, max_size=size)),
            "word": np.array(draw(st.lists(WORDS, min_size=size, max_size=size)), dtype=object),
        }
    )


MODELS = st.sampled_from(
    [
        DecisionTreeRegressor(random_state=0),
        RandomForestRegressor(3, random_state=0),
        HistGradientBoostingRegressor(max_iter=4, min_samples_leaf=1, max_leaf_nodes=4),
        make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), Ridge()),
        make_pipeline(SimpleImputer(keep_empty_features=True), GradientBoostingRegressor(n_estimators=3)),
        TransformedTargetRegressor(
            make_pipeline(SimpleImputer(keep_empty_features=True), MinMaxScaler(), Ridge()),
            func=np.log1p,
            inverse_func=np.expm1,
        ),
    ]
)
ENCODERS = st.sampled_from(
    [
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        OneHotEncoder(handle_unknown="error", sparse_output=False),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    ]
)


@SETTINGS
@given(data=st.data(), rows=tables(), encoder=ENCODERS, model=MODELS)
def test_regressions_of_numbers_and_texts(
    servers: Servers, data: st.DataObject, rows: pd.DataFrame, encoder: Any, model: Any
) -> None:
    columns = ColumnTransformer([("word", encoder, ["word"])], remainder="passthrough")
    label = np.abs(rows["x"]) / 1e6 + rows["y"].notna()
    pipeline = make_pipeline(columns, model).fit(rows, label)
    seen = st.sampled_from(rows["word"].tolist())
    drawn = data.draw(st.lists(st.tuples(ANY, ANY, WORDS | seen | st.none()), max_size=8))
    known = [tuple(None if one != one else one for one in row) for row in rows.itertuples(index=False)]
    types = {"word": "TEXT"}
    scores = assert_same_scores(servers, pipeline, known + drawn, [*rows], types=types, relative=1e-9)
    assert None not in scores[: len(known)]


@SETTINGS
@given(data=st.data(), rows=st.lists(st.tuples(MODERATE, MODERATE), min_size=6, max_size=20, unique=True))
def test_probabilities(servers: Servers, data: st.DataObject, rows: list[tuple[float, float]]) -> None:
    frame = pd.DataFrame(rows, columns=["x", "y"])
    classes = data.draw(st.integers(2, 3))
    label = np.arange(len(rows)) % classes
    model = make_pipeline(StandardScaler(), LogisticRegression(C=data.draw(st.sampled_from([1e-3, 1.0, 1e6]))))
    model.fit(frame, label)
    drawn = data.draw(st.lists(st.tuples(ANY, ANY), max_size=8))
    chosen = data.draw(st.integers(0, classes - 1))
    assert_same_scores(servers, model, rows + drawn, ["x", "y"], positive_class=chosen, relative=1e-9)


def test_queries_in_each_other_as_tsql_has_them(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "find_dialect", lambda name: replace(find_dialect(name), with_first=False))
    rows = make_rows(80, 3, missing=0.1)
    trees = HistGradientBoostingRegressor(loss="poisson", max_iter=20, min_samples_leaf=3)
    model = TransformedTargetRegressor(make_pipeline(StandardScaler(), trees), func=np.sqrt, inverse_func=np.square)
    model.fit(rows, rows["f 0"].abs().fillna(1))
    given_rows = [tuple(None if one != one else one for one in row) for row in rows.itertuples(index=False)]
    assert_same_scores(servers, model, given_rows, [*rows])
