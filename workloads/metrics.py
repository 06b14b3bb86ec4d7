"""How good a forecast is, and the naive forecasts it has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from workloads.training_data import DataCard, Split

Metrics = dict[str, float | None]
"""Metric name -> value; None where it is not defined (r2 of a constant label, rank correlation of constant scores)."""

TRAIN_MEDIAN, TRAIN_MEAN = "train_median", "train_mean"
"""Names of the naive forecasts that every training set has: one number for all rows."""

CHAMPION = "champion"
"""Name of the model in use, among the forecasts that a new model is compared with."""


def measure(label: np.ndarray, score: np.ndarray) -> Metrics:
    """Compare scores with what happened.

    Returns:
        mae, rmse and bias (mean of score - label; negative means too low) in the label's unit, r2, and spearman: the
        rank correlation, how well the scores order the rows.
    """
    import numpy as np
    from scipy.stats import rankdata

    error = score - label
    spread = float(np.square(label - label.mean()).sum())
    ranked = len(label) > 1 and np.ptp(label) > 0 and np.ptp(score) > 0
    return {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt(np.square(error).mean())),
        "r2": 1.0 - float(np.square(error).sum()) / spread if spread > 0 else None,
        "bias": float(error.mean()),
        "spearman": float(np.corrcoef(rankdata(label), rankdata(score))[0, 1]) if ranked else None,
    }


def forecast_naively(train: Split, split: Split, card: DataCard) -> dict[str, np.ndarray]:
    """Make the forecasts a model has to beat.

    Returns:
        Name -> forecast for each row of `split`: the data card's naive forecast column (the training median where it
        is missing), the median and the mean of the training label.
    """
    import numpy as np

    median, mean = float(np.median(train.label)), float(train.label.mean())
    return {
        card.baseline: np.where(np.isnan(split.baseline), median, split.baseline),
        TRAIN_MEDIAN: np.full(len(split.label), median),
        TRAIN_MEAN: np.full(len(split.label), mean),
    }
