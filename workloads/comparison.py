"""Whether one forecast is better than another on the same rows, and how sure that is.

Both are measured on the same rows, so an easy or hard row is easy or hard for both, and what counts is the difference.
Its standard error for the mean absolute error is exact: the absolute errors are subtracted row by row. The other
metrics are no means over rows. For these the rows are dealt into groups, the difference is computed again without
each group, and its spread says how much it hangs on the rows that happened to be there (the delete-a-group jackknife,
for groups that may differ in size by one row: Busing, Meijer and Van der Leeden, 1999).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.metrics import Metrics, measure

if TYPE_CHECKING:
    import numpy as np

Improvement = dict[str, dict[str, float | None]]
"""Metric name -> {"value", "standard_error"}. A value above 0 means better, whatever the metric; for bias it is the
distance from 0 that counts. None where the metric is not defined for one of the two forecasts, or for too few rows."""

_GROUPS = 50
_SEED = 0


@dataclass(frozen=True)
class Measured:
    """A forecast, measured.

    Attributes:
        metrics: Its metrics on all rows.
        errors: float64, the absolute error of each row.
        group_rows: Rows of each group.
        without: Metric name -> its value on all rows but those of each group; NaN where it is not defined. Without mae.
    """

    metrics: Metrics
    errors: np.ndarray
    group_rows: np.ndarray
    without: dict[str, np.ndarray]


def deal_groups(rows: int) -> np.ndarray:
    """The group of each row, int64: at most 50 groups whose sizes differ by one row at most. The same every time."""
    import numpy as np

    groups = np.empty(rows, dtype=np.int64)
    groups[np.random.default_rng(_SEED).permutation(rows)] = np.arange(rows) % _GROUPS
    return groups


def measure_forecast(label: np.ndarray, score: np.ndarray) -> Measured:
    """Measure a forecast on all rows, and on all but each group of rows.

    Args:
        label: float64, what happened; one row at least.
        score: float64, what was forecast, in the same order.
    """
    import numpy as np

    groups = deal_groups(len(label))
    group_rows = np.bincount(groups)
    without = {} if len(group_rows) < 2 else _measure_without(label, score, groups, group_rows)
    return Measured(measure(label, score), np.abs(score - label), group_rows, without)


def compare(own: Measured, reference: Measured) -> Improvement:
    """How much better a forecast is than another one of the same rows, with the paired standard error."""
    import numpy as np

    gain = reference.errors - own.errors
    exact = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else None
    found: Improvement = {"mae": {"value": float(gain.mean()), "standard_error": exact}}
    for name in own.metrics:
        if name == "mae":
            continue
        mine, other = own.metrics[name], reference.metrics[name]
        if mine is None or other is None:
            found[name] = {"value": None, "standard_error": None}
            continue
        value = float(_rate(name, np.asarray(mine)) - _rate(name, np.asarray(other)))
        error = None
        if own.without:
            changed = _rate(name, own.without[name]) - _rate(name, reference.without[name])
            error = _estimate_error(value, changed, own.group_rows)
        found[name] = {"value": value, "standard_error": error}
    return {name: found[name] for name in own.metrics}


def _rate(name: str, values: np.ndarray) -> np.ndarray:
    """A metric as something of which more is better."""
    import numpy as np

    if name == "bias":
        return -np.abs(values)
    return -values if name == "rmse" else values


def _estimate_error(value: float, without: np.ndarray, group_rows: np.ndarray) -> float | None:
    import numpy as np

    if np.isnan(without).any():
        return None
    rows = int(group_rows.sum())
    weight = rows / group_rows
    pseudo = weight * value - (weight - 1) * without
    centre = len(without) * value - float(((1 - group_rows / rows) * without).sum())
    return float(np.sqrt((np.square(pseudo - centre) / (weight - 1)).mean()))


def _measure_without(
    label: np.ndarray, score: np.ndarray, groups: np.ndarray, group_rows: np.ndarray
) -> dict[str, np.ndarray]:
    # Sums of the other groups are added up anew: subtracted from the whole, a group with an outlier leaves only noise.
    import numpy as np

    count = len(group_rows)
    others = 1.0 - np.eye(count)
    rows = others @ group_rows
    error = score - label
    squared = others @ np.bincount(groups, np.square(error))
    means = np.bincount(groups, label) / group_rows
    inside = others @ np.bincount(groups, np.square(label - means[groups]))
    centres = others @ (means * group_rows) / rows
    between = (others * np.square(means[None, :] - centres[:, None])) @ group_rows
    spread = inside + between
    return {
        "rmse": np.sqrt(squared / rows),
        "r2": 1.0 - squared / np.where(spread > 0, spread, np.nan),
        "bias": others @ np.bincount(groups, error) / rows,
        "spearman": _correlate_ranks_without(label, score, groups, count),
    }


def _correlate_ranks_without(label: np.ndarray, score: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    import numpy as np

    # Sorted once: without a group the order of the others stays, and ranks follow from counts.
    label_order = np.unique(label, return_inverse=True)[1]
    score_order = np.unique(score, return_inverse=True)[1]
    found = np.full(count, np.nan)
    for group in range(count):
        kept = groups != group
        label_rank, score_rank = _rank(label_order[kept]), _rank(score_order[kept])
        if np.ptp(label_rank) > 0 and np.ptp(score_rank) > 0:
            found[group] = np.corrcoef(label_rank, score_rank)[0, 1]
    return found


def _rank(order: np.ndarray) -> np.ndarray:
    """Ranks from whole numbers that have the values' order; equal ones get the mean of their ranks."""
    import numpy as np

    counts = np.bincount(order)
    return (np.cumsum(counts) - (counts - 1) / 2)[order]
