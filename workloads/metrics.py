"""How good a forecast is, what it has to beat, and whether it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from workloads.training_data import DataCard, Split

Metrics = dict[str, float | None]
"""Metric name -> value; None where it is not defined (r2 of a constant label, rank correlation of constant scores)."""

ONE_SIDED_95_PERCENT = 1.645
"""Standard errors by which an improvement must exceed zero, for a chance of at most 5 % that it is none."""


@dataclass(frozen=True)
class Gate:
    """Whether a model may become champion.

    Attributes:
        metric: The metric it was judged by, on the test split.
        passed: The verdict.
        reason: The numbers behind it, in one sentence.
    """

    metric: str
    passed: bool
    reason: str


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
        "train_median": np.full(len(split.label), median),
        "train_mean": np.full(len(split.label), mean),
    }


def judge(label: np.ndarray, score: np.ndarray, baselines: Mapping[str, np.ndarray]) -> tuple[str, Gate]:
    """Judge a model on the test split: it must beat the best baseline's MAE, by more than chance explains.

    The errors of model and baseline are compared row by row; the mean improvement must exceed 1.645 of its standard
    errors (one-sided 95 %). A mere "lower" would pass half of all models that learned nothing.

    Returns:
        The best baseline's name, and the verdict.
    """
    import numpy as np

    own = np.abs(score - label)
    errors = {name: np.abs(forecast - label) for name, forecast in baselines.items()}
    best = min(errors, key=lambda name: float(errors[name].mean()))
    gain = errors[best] - own
    standard_error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else float("inf")
    passed = bool(gain.mean() > ONE_SIDED_95_PERCENT * standard_error)
    if passed:
        verdict = "beats"
    elif gain.mean() > 0:
        verdict = "is lower than, but not surely better than,"
    else:
        verdict = "does not beat"
    reason = (
        f"test MAE {own.mean():.6g} {verdict} the best baseline, {best}, {errors[best].mean():.6g}: "
        f"improvement {gain.mean():.4g} ± {standard_error:.4g} (standard error, {len(gain)} rows); "
        f"needed: more than {ONE_SIDED_95_PERCENT} standard errors"
    )
    return best, Gate("mae", passed, reason)
