"""Linear models of scikit-learn. They refuse a row with a missing value, so the score is NULL where a feature is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adfml_assets.in_database.arithmetic import add_products, apply_exp, apply_sigmoid, apply_softmax
from adfml_assets.in_database.columns import Column, Input, Query
from adfml_assets.in_database.errors import CannotCompile
from adfml_assets.in_database.tree_models import choose_of_two


def predict_linear(query: Query, where: str, model: Any, inputs: Sequence[Input], chosen: int | None) -> Column:
    """A linear regression, however it was fitted."""
    import numpy as np

    coefficients, intercepts = np.asarray(model.coef_), np.ravel(model.intercept_)
    if coefficients.size != len(inputs):
        raise CannotCompile(f"a model of {len(coefficients)} outputs", where, "a model for each")
    return _add(query, where, inputs, coefficients.ravel(), float(intercepts[0]))


def predict_generalized(query: Query, where: str, model: Any, inputs: Sequence[Input], chosen: int | None) -> Column:
    """A generalised linear regression with an identity or a log link."""
    linear = predict_linear(query, where, model, inputs, chosen)
    link = type(model._base_loss.link).__name__
    if link == "IdentityLink":
        return linear
    if link == "LogLink":
        return apply_exp(query, linear)
    raise CannotCompile(f"a loss with {link}", where)


def predict_logistic(query: Query, where: str, model: Any, inputs: Sequence[Input], chosen: int | None) -> Column:
    """A logistic regression: the probability of the chosen class."""
    sums = [
        _add(query, where, inputs, coefficients, float(intercept))
        for coefficients, intercept in zip(model.coef_, model.intercept_, strict=True)
    ]
    if len(sums) == 1:
        return choose_of_two(query, apply_sigmoid(query, sums[0].name), chosen)
    for column in sums:
        query.read_number(column, where)
    return apply_softmax(query, [column.name for column in sums], chosen or 0)


def _add(query: Query, where: str, inputs: Sequence[Input], coefficients: Any, intercept: float) -> Column:
    columns = [query.read_number(one, where) for one in inputs]
    return add_products(query, columns, [float(one) for one in coefficients], intercept)
