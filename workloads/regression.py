"""The model: boosted trees for an amount that is often zero, sometimes large, and never negative.

Trees are grown with Poisson deviance on the square root of the label. The square root keeps a few large customers from
ruling the fit, which is what mean absolute error asks for; the log link keeps every score above zero, so that squaring
preserves the order of customers. Growing on absolute error itself fails on such a label: more than half of it is zero,
so nearly every leaf's median is zero and the trees say nothing.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from workloads.errors import WorkloadError

if TYPE_CHECKING:
    import numpy as np

    from workloads.training_data import Split

ALGORITHM = "HistGradientBoostingRegressor(loss=poisson) in TransformedTargetRegressor"
"""Name of the algorithm in a model's metadata."""

_TRANSFORMS = ("sqrt", "log", "none")
# Name -> lowest and highest value allowed; a whole number for ints.
_RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": (1e-4, 1.0),
    "max_iter": (1, 5_000),
    "max_leaf_nodes": (2, 1_024),
    "min_samples_leaf": (1, 1_000_000),
    "l2_regularization": (0.0, 1e6),
    "max_features": (0.01, 1.0),
    "max_bins": (2, 255),
    "random_state": (0, 2**32 - 1),
}


@dataclass(frozen=True)
class Hyperparams:
    """What can be set about the model. The defaults did best on the validation months of a year of retail invoices.

    Attributes:
        learning_rate: How far each tree moves the forecast.
        max_iter: Trees at most; the validation split decides how many of them are kept.
        max_leaf_nodes: Leaves of a tree at most.
        min_samples_leaf: Rows in a leaf at least.
        l2_regularization: Pull of leaves towards zero.
        max_features: Share of the features each split may choose from.
        max_bins: Distinct values a feature is reduced to.
        target_transform: What the trees see of the label: "sqrt", "log" (log1p) or "none".
        random_state: Seed; the same data and seed give the same scores.
    """

    learning_rate: float = 0.05
    max_iter: int = 400
    max_leaf_nodes: int = 15
    min_samples_leaf: int = 20
    l2_regularization: float = 1.0
    max_features: float = 1.0
    max_bins: int = 255
    target_transform: str = "sqrt"
    random_state: int = 0


@dataclass(frozen=True)
class Fit:
    """A fitted model.

    Attributes:
        estimator: The scikit-learn estimator; predicts in the label's unit.
        iterations: Trees it has: the number with the lowest MAE on the validation split.
    """

    estimator: Any
    iterations: int


def parse_hyperparams(text: str) -> Hyperparams:
    """Read hyperparameters from a JSON object; what is not given keeps its default.

    Raises:
        WorkloadError: It is no JSON object, or a name is unknown, or a value is of the wrong type or out of range.
    """
    try:
        given = json.loads(text or "{}")
    except ValueError as error:
        raise WorkloadError(f"hyperparams is not valid JSON ({error}): {text[:200]!r}") from error
    if not isinstance(given, dict):
        raise WorkloadError(f"hyperparams must be a JSON object such as {{}}, not {text[:200]!r}")
    kinds = {field.name: type(field.default) for field in fields(Hyperparams)}
    unknown = sorted(set(given) - set(kinds))
    if unknown:
        raise WorkloadError(
            f"unknown hyperparams: {', '.join(unknown)}; valid are {', '.join(kinds)}", unknown=unknown, valid=[*kinds]
        )
    return Hyperparams(**{name: _check(name, value, kinds[name]) for name, value in given.items()})


def _check(name: str, value: Any, kind: type) -> Any:
    if name == "target_transform":
        if value not in _TRANSFORMS:
            raise WorkloadError(f"hyperparam target_transform must be one of {', '.join(_TRANSFORMS)}, not {value!r}")
        return value
    low, high = _RANGES[name]
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or (kind is int and value != int(value)) or not low <= value <= high:
        wanted = "a whole number" if kind is int else "a number"
        raise WorkloadError(f"hyperparam {name} must be {wanted} from {low:g} to {high:g}, not {value!r}")
    return kind(value)


def fit(train: Split, validation: Split, features: tuple[str, ...], hyperparams: Hyperparams) -> Fit:
    """Fit on the training split; the validation split only decides the number of trees.

    Raises:
        WorkloadError: The label has negative values.
    """
    for split in (train, validation):
        if split.label.min() < 0:
            raise WorkloadError(
                f"the label is negative in {int((split.label < 0).sum())} rows of the {split.name} split, and this "
                "model forecasts amounts from zero up: floor the label at 0"
            )
    import numpy as np
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import HistGradientBoostingRegressor

    forward, backward = {
        "sqrt": (np.sqrt, np.square),
        "log": (np.log1p, np.expm1),
        "none": (None, None),
    }[hyperparams.target_transform]
    settings = {name: value for name, value in asdict(hyperparams).items() if name != "target_transform"}
    # Early stopping inside the estimator would judge by its own loss on a random part of the training rows.
    trees = HistGradientBoostingRegressor(loss="poisson", early_stopping=False, **settings)
    trees.fit(train.features, forward(train.label) if forward else train.label)
    errors = [
        float(np.abs((backward(raw) if backward else raw) - validation.label).mean())
        for raw in trees.staged_predict(validation.features)
    ]
    iterations = int(np.argmin(errors)) + 1
    estimator = TransformedTargetRegressor(
        regressor=trees.set_params(max_iter=iterations), func=forward, inverse_func=backward, check_inverse=False
    )
    estimator.fit(_named(train.features, features), train.label)
    return Fit(estimator, iterations)


def predict(estimator: Any, matrix: np.ndarray, features: tuple[str, ...]) -> np.ndarray:
    """Score rows: float64, in the label's unit. scikit-learn checks the names and their order against the model's."""
    import numpy as np

    return np.asarray(estimator.predict(_named(matrix, features)), dtype=np.float64)


def _named(matrix: np.ndarray, features: tuple[str, ...]) -> Any:
    import pandas as pd

    return pd.DataFrame(matrix, columns=list(features), copy=False)
