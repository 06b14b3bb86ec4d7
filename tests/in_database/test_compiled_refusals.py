"""What has no SQL is refused in one sentence, with the step it is in and what to use instead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    QuantileTransformer,
    StandardScaler,
)

from adfml_assets.in_database.compile import compile_model
from adfml_assets.in_database.errors import CannotCompile
from tests.in_database.compiled_models import make_rows

ROWS = make_rows(60, 2)
LABEL = ROWS.sum(axis=1)
INSTEAD = "Use T-SQL PREDICT or sp_execute_external_script on SQL Server and Managed Instance, or an engine outside"


class OwnRidge(Ridge):
    """Predicts in a way of its own."""

    def predict(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        return super().predict(X) + 1


def double(values: Any) -> Any:
    return 2 * values


def before_ridge(step: Any) -> Pipeline:
    return Pipeline([("prepare", step), ("model", Ridge())])


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (MLPRegressor(max_iter=5), r"the model: MLPRegressor cannot be compiled to SQL\. " + INSTEAD),
        (AdaBoostRegressor(n_estimators=2), "the model: AdaBoostRegressor cannot be compiled"),
        (OwnRidge(), r"the model: tests\.in_database\.test_compiled_refusals\.OwnRidge cannot be compiled"),
        (
            before_ridge(QuantileTransformer(n_quantiles=10)),
            "the model > prepare: QuantileTransformer cannot be compiled",
        ),
        (
            before_ridge(Pipeline([("more", PolynomialFeatures())])),
            "the model > prepare > more: PolynomialFeatures cannot be compiled",
        ),
        (
            before_ridge(ColumnTransformer([("f", FunctionTransformer(double), ["f 0"])])),
            "the model > prepare > f .FunctionTransformer.: the function double cannot be compiled.*absolute, exp",
        ),
        (
            before_ridge(FunctionTransformer(np.square, kw_args={"where": True})),
            r"prepare \(FunctionTransformer\): kw_args=.* cannot be compiled",
        ),
        (before_ridge(SimpleImputer(add_indicator=True)), "add_indicator=True cannot be compiled.*add_indicator=False"),
        (before_ridge(SimpleImputer(missing_values=-1)), "missing_values=-1 cannot be compiled"),
        (before_ridge(OneHotEncoder(max_categories=3)), "min_frequency or max_categories cannot be compiled"),
        (before_ridge(OrdinalEncoder(min_frequency=2)), "min_frequency or max_categories cannot be compiled"),
        (
            before_ridge(ColumnTransformer([("s", StandardScaler(), ["f 0"])], transformer_weights={"s": 2})),
            "transformer_weights cannot be compiled",
        ),
        (
            TransformedTargetRegressor(Ridge(), transformer=StandardScaler()),
            "transformer cannot be compiled.*func and inverse_func",
        ),
        (
            TransformedTargetRegressor(Ridge(), func=np.cbrt, inverse_func=lambda values: values**3),
            "the model > inverse_func: the function <lambda> cannot be compiled",
        ),
        (GradientBoostingRegressor(init=Ridge(), n_estimators=2), "init=Ridge cannot be compiled.*init=None"),
        (
            HistGradientBoostingRegressor(categorical_features=[0], max_iter=2),
            "categorical_features cannot be compiled.*OrdinalEncoder",
        ),
    ],
    ids=lambda value: "".join(str(value).split())[:60],
)
def test_models_and_steps_without_sql(model: Any, said: str) -> None:
    rows = ROWS.assign(**{"f 0": np.arange(60) % 5}).astype(float)
    model.fit(rows, LABEL - LABEL.min() + 1)
    with pytest.raises(CannotCompile, match=said) as refused:
        compile_model(model, [*ROWS])
    assert refused.value.where.startswith("the model")
    assert refused.value.use


def test_several_outputs() -> None:
    both = np.column_stack([LABEL, -LABEL])
    for model in (LinearRegression(), RandomForestRegressor(2, max_depth=2)):
        with pytest.raises(
            CannotCompile, match=r"a model of 2 outputs cannot be compiled to SQL\. Use a model for each"
        ):
            compile_model(model.fit(ROWS, both), [*ROWS])


def test_a_class_must_be_named_where_there_are_several() -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(ROWS, np.digitize(LABEL, [-5, 5]))
    with pytest.raises(CannotCompile, match=r"a classifier of 3 classes .* Use a positive class: one of 0, 1, 2"):
        compile_model(model, [*ROWS])
    with pytest.raises(CannotCompile, match=r"class 'x' cannot be compiled to SQL\. Use one of its classes: 0, 1, 2"):
        compile_model(model, [*ROWS], positive_class="x")
    assert compile_model(model, [*ROWS], positive_class=2).chosen == 2


def test_other_features_than_the_model_has() -> None:
    named = Ridge().fit(ROWS, LABEL)
    with pytest.raises(CannotCompile, match=r"features f 1, f 0 .* Use those it was trained on: f 0, f 1"):
        compile_model(named, ["f 1", "f 0"])
    with pytest.raises(CannotCompile, match="a model of 2 features with 1 names"):
        compile_model(Ridge().fit(ROWS.to_numpy(), LABEL), ["x"])
    with pytest.raises(CannotCompile, match="a Ridge that is not fitted"):
        compile_model(Ridge(), ["x"])


def test_texts_and_numbers_in_one_column() -> None:
    rows = pd.DataFrame({"x": ["a", "b"] * 30})
    filled = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(), Ridge()).fit(rows, LABEL)
    assert compile_model(filled, ["x"]).text_features.keys() == {"x"}
    none_and_nan = pd.DataFrame({"x": np.array(["a", None, np.nan] * 20, dtype=object)})
    with pytest.raises(CannotCompile, match="None and NaN as two categories"):
        compile_model(make_pipeline(OneHotEncoder(), Ridge()).fit(none_and_nan, LABEL), ["x"])


def test_a_model_too_large_for_any_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adfml_assets.in_database.compile.MOST_VALUES", 100)
    with pytest.raises(CannotCompile, match=r"a model of \d+ columns and values \(at most 100\) cannot be compiled"):
        compile_model(RandomForestRegressor(3).fit(ROWS, LABEL), [*ROWS])


def test_more_columns_than_a_query_has() -> None:
    rows = pd.DataFrame({"x": [f"c{number}" for number in range(2_000)]})
    model = make_pipeline(OneHotEncoder(), Ridge()).fit(rows, np.arange(2_000.0))
    with pytest.raises(CannotCompile, match=r"a model of 2,\d+ columns in one query \(at most 1,500\)"):
        compile_model(model, ["x"])
