"""From an estimator to the functions that compile it, through pipelines and column transformers.

An estimator is known by its exact class: a subclass may predict in another way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from adfml_assets.in_database import encoders, linear_models, transformers, tree_models
from adfml_assets.in_database.columns import Column, Feature, Input, Query
from adfml_assets.in_database.errors import CannotCompile

Predict: TypeAlias = Callable[[Query, str, Any, Sequence[Input], int | None], Column]
Transform: TypeAlias = Callable[[Query, str, Any, Sequence[Input]], list[Input]]

REGRESSORS: Mapping[str, Predict] = {
    "LinearRegression": linear_models.predict_linear,
    "Ridge": linear_models.predict_linear,
    "RidgeCV": linear_models.predict_linear,
    "Lasso": linear_models.predict_linear,
    "LassoCV": linear_models.predict_linear,
    "ElasticNet": linear_models.predict_linear,
    "ElasticNetCV": linear_models.predict_linear,
    "SGDRegressor": linear_models.predict_linear,
    "PoissonRegressor": linear_models.predict_generalized,
    "GammaRegressor": linear_models.predict_generalized,
    "TweedieRegressor": linear_models.predict_generalized,
    "DecisionTreeRegressor": tree_models.predict_tree,
    "ExtraTreeRegressor": tree_models.predict_tree,
    "RandomForestRegressor": tree_models.predict_forest,
    "ExtraTreesRegressor": tree_models.predict_forest,
    "GradientBoostingRegressor": tree_models.predict_boosting,
    "HistGradientBoostingRegressor": tree_models.predict_histogram_boosting,
}
CLASSIFIERS: Mapping[str, Predict] = {
    "LogisticRegression": linear_models.predict_logistic,
    "LogisticRegressionCV": linear_models.predict_logistic,
    "DecisionTreeClassifier": tree_models.predict_tree,
    "ExtraTreeClassifier": tree_models.predict_tree,
    "RandomForestClassifier": tree_models.predict_forest,
    "ExtraTreesClassifier": tree_models.predict_forest,
    "GradientBoostingClassifier": tree_models.predict_boosting,
    "HistGradientBoostingClassifier": tree_models.predict_histogram_boosting,
}
TRANSFORMERS: Mapping[str, Transform] = {
    "StandardScaler": transformers.transform_standard,
    "MinMaxScaler": transformers.transform_min_max,
    "MaxAbsScaler": transformers.transform_max_abs,
    "RobustScaler": transformers.transform_robust,
    "SimpleImputer": transformers.transform_imputer,
    "FunctionTransformer": transformers.transform_function,
    "OneHotEncoder": encoders.transform_one_hot,
    "OrdinalEncoder": encoders.transform_ordinal,
}


def predict(query: Query, where: str, model: Any, inputs: Sequence[Input], chosen: int | None) -> Column:
    """Compile what predicts: a model, or a pipeline that ends with one.

    Args:
        where: the steps around it, for errors.
        inputs: its columns.
        chosen: position of the class whose probability is asked for; None for a regression.

    Raises:
        CannotCompile: it, or a step of it, has no SQL.
    """
    kind = _find_kind(model)
    if kind == "Pipeline":
        for name, step in model.steps[:-1]:
            inputs = transform(query, f"{where} > {name}", step, inputs)
        name, last = model.steps[-1]
        return predict(query, f"{where} > {name}", last, inputs, chosen)
    if kind == "TransformedTargetRegressor":
        return _predict_transformed(query, where, model, inputs)
    found = REGRESSORS.get(kind) or CLASSIFIERS.get(kind)
    if found is None:
        raise CannotCompile(_show(model), where)
    return found(query, f"{where} ({kind})", model, inputs, chosen)


def transform(query: Query, where: str, step: Any, inputs: Sequence[Input]) -> list[Input]:
    """Compile what makes columns of columns.

    Raises:
        CannotCompile: it, or a step of it, has no SQL.
    """
    if step is None or isinstance(step, str):
        return [] if step == "drop" else list(inputs)
    kind = _find_kind(step)
    if kind == "Pipeline":
        columns = list(inputs)
        for name, inner in step.steps:
            columns = transform(query, f"{where} > {name}", inner, columns)
        return columns
    if kind == "ColumnTransformer":
        return _transform_columns(query, where, step, inputs)
    found = TRANSFORMERS.get(kind)
    if found is None:
        raise CannotCompile(_show(step), where)
    return found(query, f"{where} ({kind})", step, inputs)


def find_classes(model: Any) -> list[Any] | None:
    """The classes a classifier tells apart, in its order; None for a regression."""
    while _find_kind(model) == "Pipeline":
        model = model.steps[-1][1]
    return list(model.classes_) if _find_kind(model) in CLASSIFIERS else None


def _predict_transformed(query: Query, where: str, model: Any, inputs: Sequence[Input]) -> Column:
    if model.transformer is not None:
        raise CannotCompile("transformer", where, "func and inverse_func of NumPy when it is trained")
    inner = predict(query, f"{where} > regressor", model.regressor_, inputs, None)
    if model.inverse_func is None:
        return inner
    # Python refuses to transform back what is not finite.
    column = query.read_number(inner, where)
    return transformers.apply_function(query, f"{where} > inverse_func", model.inverse_func, column)


def _transform_columns(query: Query, where: str, step: Any, inputs: Sequence[Input]) -> list[Input]:
    if step.transformer_weights:
        raise CannotCompile("transformer_weights", where, "a scaler for each block of columns when it is trained")
    made: list[Input] = []
    for name, inner, _ in step.transformers_:
        # What the columns were called or counted as when it was trained, as positions.
        taken = [inputs[position] for position in step._transformer_to_input_indices[name]]
        made += transform(query, f"{where} > {name}", inner, taken)
    if not step.sparse_output_:
        return [one if isinstance(one, Feature) else replace(one, sparse=False) for one in made]
    columns = [query.read_number(one, where) for one in made]
    return [replace(one, sparse=True) for one in columns]


def _find_kind(model: Any) -> str:
    kind = type(model)
    return kind.__name__ if kind.__module__.startswith("sklearn.") else ""


def _show(model: Any) -> str:
    kind = type(model)
    return kind.__name__ if kind.__module__.startswith("sklearn.") else f"{kind.__module__}.{kind.__qualname__}"
