"""A compiled model gives every row the score the model gives it, in every database."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import (
    ElasticNet,
    ElasticNetCV,
    GammaRegressor,
    Lasso,
    LassoCV,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    PoissonRegressor,
    Ridge,
    RidgeCV,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor

from tests.in_database.compiled_models import Servers, assert_same_scores, list_rows, make_rows, spread_hard_values

WIDTH = 4
FEATURES = [f"f {number}" for number in range(WIDTH)]
TREES = {"max_depth": 4, "random_state": 0}
FOREST = {"n_estimators": 7, **TREES}
HISTOGRAM = {"max_iter": 12, "min_samples_leaf": 5, "random_state": 0}
SCALED = StandardScaler()

REGRESSIONS = [
    LinearRegression(),
    LinearRegression(fit_intercept=False),
    Ridge(),
    RidgeCV(),
    Lasso(alpha=5.0),
    LassoCV(cv=2),
    ElasticNet(),
    ElasticNetCV(cv=2),
    make_pipeline(SCALED, SGDRegressor(random_state=0)),
    make_pipeline(SCALED, PoissonRegressor()),
    make_pipeline(SCALED, GammaRegressor()),
    make_pipeline(SCALED, TweedieRegressor(power=0)),
    GradientBoostingRegressor(n_estimators=10, random_state=0),
    GradientBoostingRegressor(n_estimators=10, loss="huber", init="zero", random_state=0),
]
WITH_MISSING = [
    DecisionTreeRegressor(**TREES),
    DecisionTreeRegressor(max_leaf_nodes=2),
    ExtraTreeRegressor(**TREES),
    RandomForestRegressor(**FOREST),
    ExtraTreesRegressor(**FOREST),
    *[
        HistGradientBoostingRegressor(loss=loss, quantile=0.7 if loss == "quantile" else None, **HISTOGRAM)
        for loss in ("squared_error", "absolute_error", "poisson", "gamma", "quantile")
    ],
    TransformedTargetRegressor(
        HistGradientBoostingRegressor(loss="poisson", **HISTOGRAM),
        func=np.sqrt,
        inverse_func=np.square,
        check_inverse=False,
    ),
    TransformedTargetRegressor(
        HistGradientBoostingRegressor(loss="poisson", **HISTOGRAM), func=np.log1p, inverse_func=np.expm1
    ),
    TransformedTargetRegressor(HistGradientBoostingRegressor(**HISTOGRAM)),
]
CLASSIFIERS = [
    LogisticRegression(max_iter=2_000),
    LogisticRegression(solver="liblinear"),
    LogisticRegressionCV(cv=2, Cs=2, max_iter=2_000, scoring="accuracy", use_legacy_attributes=False, l1_ratios=(0,)),
    GradientBoostingClassifier(n_estimators=10, random_state=0),
    GradientBoostingClassifier(n_estimators=10, loss="exponential", random_state=0),
    DecisionTreeClassifier(**TREES),
    ExtraTreeClassifier(**TREES),
    RandomForestClassifier(**FOREST),
    ExtraTreesClassifier(**FOREST),
    HistGradientBoostingClassifier(**HISTOGRAM),
]
SEVERAL_CLASSES = [
    LogisticRegression(max_iter=2_000),
    DecisionTreeClassifier(**TREES),
    RandomForestClassifier(**FOREST),
    GradientBoostingClassifier(n_estimators=5, random_state=0),
    HistGradientBoostingClassifier(**HISTOGRAM),
]


def name_of(model: Any) -> str:
    return "".join(str(model).split())[:70]


def amounts(rows: pd.DataFrame) -> np.ndarray:
    """A label above 0 that depends on all features."""
    return np.exp(rows.fillna(3.0).sum(axis=1).clip(-50, 50).to_numpy() / 20)


@pytest.mark.parametrize("model", REGRESSIONS, ids=name_of)
def test_regressions_that_refuse_missing_values(servers: Servers, model: Any) -> None:
    rows = make_rows(200, WIDTH)
    model.fit(rows, amounts(rows))
    hard = spread_hard_values(list_rows(rows))
    scores = assert_same_scores(servers, model, list_rows(rows)[:40] + hard, FEATURES)
    assert None in scores[40:]
    assert None not in scores[:40]


@pytest.mark.parametrize("model", WITH_MISSING, ids=name_of)
def test_trees_send_missing_values_their_way(servers: Servers, model: Any) -> None:
    rows = make_rows(300, WIDTH, missing=0.2)
    model.fit(rows, amounts(rows))
    hard = spread_hard_values(list_rows(rows))
    scores = assert_same_scores(servers, model, [*list_rows(rows)[:40], (None,) * WIDTH, *hard], FEATURES)
    assert None not in scores[:41]


@pytest.mark.parametrize("model", CLASSIFIERS, ids=name_of)
@pytest.mark.parametrize("positive_class", [None, "no"])
def test_classifiers_give_the_probability_of_a_class(servers: Servers, model: Any, positive_class: object) -> None:
    rows = make_rows(200, WIDTH)
    model.fit(rows, np.where(rows.sum(axis=1) > 3, "yes", "no"))
    hard = spread_hard_values(list_rows(rows))
    assert_same_scores(servers, model, list_rows(rows)[:40] + hard, FEATURES, positive_class=positive_class)


@pytest.mark.parametrize("model", SEVERAL_CLASSES, ids=name_of)
def test_one_class_of_several(servers: Servers, model: Any) -> None:
    rows = make_rows(200, WIDTH)
    model.fit(rows, np.digitize(rows.sum(axis=1), [-10, 10]))
    hard = spread_hard_values(list_rows(rows))
    for chosen in (0, 2):
        assert_same_scores(servers, model, list_rows(rows)[:40] + hard, FEATURES, positive_class=chosen)


def test_a_model_trained_without_names(servers: Servers) -> None:
    rows = make_rows(100, WIDTH)
    model = Ridge().fit(rows.to_numpy(), amounts(rows))
    assert_same_scores(servers, model, list_rows(rows)[:20], FEATURES)
