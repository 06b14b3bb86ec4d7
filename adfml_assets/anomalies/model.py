"""One series' model: which values go together, and how far apart they may be.

Variables are standardised; a principal component analysis keeps the components that explain most of the variance. The
score of a row is the root mean square of what the components leave unexplained of it, in standard deviations. It is
high where a variable no longer follows the others, also where each value is in its usual range. A component beyond
where it was in the fit window, widened by a quarter of its width at both ends, is not followed: variables that rise
together to where they never were are left unexplained, too.

Anomalies inside the fit window are trimmed before anything is learned:
1. The first look uses medians and the covariance of signs (every row has length one), which a few rows cannot bend.
2. Rows whose score is above the median by six normal deviations (1.4826 times the median absolute deviation) are left
   out, at most a fifth of all, and the model is fitted again, until no other rows are left out (ten times at most).

The threshold comes from rows the model has not seen: the window's remaining rows in five blocks in time, each scored
by a model of the other four; the quantile of these scores, times a margin.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from adfml_assets.anomalies.declared import DetectorSpec
from adfml_assets.anomalies.errors import ConstantColumn, TooFewRows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLOCKS = 5
LEAST_ROWS = 50
"""Rows that a fit needs at least, or ten a variable where that is more."""

MOST_ROWS = 1_000_000
"""Of a longer window so many rows are taken, spread evenly over it: more of them teach nothing new."""

MOST_TRIMMED = 0.2
_DEVIATIONS = 6.0
_ROUNDS = 10
_NORMAL = 1.4826
_LEAST_THRESHOLD = 1e-3
_CHUNK = 65_536


@dataclass(frozen=True)
class SeriesModel:
    """A fitted model.

    Attributes:
        pipeline: scikit-learn's StandardScaler and PCA.
        lowest, highest: how far each component is followed.
        threshold: a score above it is an anomaly.
        rows: that it was fitted on.
        trimmed: rows that were left out before as anomalies.
        explained: the share of the variance that the components explain.
    """

    pipeline: Any
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    threshold: float
    rows: int
    trimmed: int
    explained: float

    def score(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scores of complete rows, and what is left unexplained of each variable, in standard deviations."""
        import numpy as np

        scaler, components = self.pipeline.named_steps["scale"], self.pipeline.named_steps["components"]
        standard = scaler.transform(values)
        followed = np.clip(components.transform(standard), self.lowest, self.highest)
        residuals = standard - components.inverse_transform(followed)
        return np.sqrt(np.mean(residuals * residuals, axis=1)), residuals

    def expect(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the components make of rows: the values that would go together, in the variables' own units."""
        import numpy as np

        scaler, components = self.pipeline.named_steps["scale"], self.pipeline.named_steps["components"]
        followed = np.clip(components.transform(scaler.transform(values)), self.lowest, self.highest)
        expected: NDArray[np.float64] = scaler.inverse_transform(components.inverse_transform(followed))
        return expected

    def score_all(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores alone, of any number of rows, in little more memory than the rows have."""
        import numpy as np

        scores = np.empty(len(values))
        for begin in range(0, len(values), _CHUNK):
            scores[begin : begin + _CHUNK] = self.score(values[begin : begin + _CHUNK])[0]
        return scores


def fit_model(values: NDArray[np.float64], spec: DetectorSpec, where: str) -> SeriesModel:
    """Fit a series' model.

    Args:
        values: complete rows of the fit window, in the order of time.
        where: the series and window, for messages.

    Raises:
        TooFewRows: fewer than LEAST_ROWS, or than ten a variable.
        ConstantColumn: a variable never changes.
    """
    needed = max(LEAST_ROWS, 10 * len(spec.variables))
    if len(values) < needed:
        raise TooFewRows(where, len(values), needed)
    values = _thin(values)
    _require_change(values, spec.variables, where)
    kept = _trim(values, spec.components)
    rows = values[kept]
    model = _fit(rows, spec.components)
    threshold = max(_LEAST_THRESHOLD, _find_threshold(rows, spec))
    trimmed = len(values) - len(rows)
    return SeriesModel(model.pipeline, model.lowest, model.highest, threshold, len(rows), trimmed, model.explained)


def grade(scores: NDArray[np.float64], threshold: float, halfway: float) -> NDArray[np.float64]:
    """Severities: 0 up to the threshold, 0.5 at `halfway` times it, and ever closer to 1 above."""
    import numpy as np

    beyond = np.maximum(0.0, scores / threshold - 1.0)
    return beyond / (beyond + halfway - 1.0)


def _thin(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """One row, drawn with a fixed seed, of each of MOST_ROWS equal parts: no even step to meet a rhythm."""
    import numpy as np

    if len(values) <= MOST_ROWS:
        return values
    drawn = np.arange(MOST_ROWS) + np.random.default_rng(0).random(MOST_ROWS)
    chosen: NDArray[np.float64] = values[(drawn * (len(values) / MOST_ROWS)).astype(np.int64)]
    return chosen


def _require_change(values: NDArray[np.float64], variables: tuple[str, ...], where: str) -> None:
    lowest, highest = values.min(axis=0), values.max(axis=0)
    constant = {name: float(lowest[at]) for at, name in enumerate(variables) if lowest[at] == highest[at]}
    if constant:
        raise ConstantColumn(where, constant, len(values))


def _fit(rows: NDArray[np.float64], share: float) -> SeriesModel:
    import numpy as np
    from sklearn.decomposition import PCA
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(rows)
    standard = scaler.transform(rows)
    # From the covariance: the rows themselves are not copied again.
    ratios = PCA(svd_solver="covariance_eigh").fit(standard).explained_variance_ratio_
    components = PCA(n_components=_count_components(ratios, share), svd_solver="covariance_eigh").fit(standard)
    followed = components.transform(standard)
    low, high = np.quantile(followed, [0.001, 0.999], axis=0)
    width = (high - low) / 4
    pipeline = Pipeline([("scale", scaler), ("components", components)])
    explained = float(components.explained_variance_ratio_.sum())
    return SeriesModel(pipeline, low - width, high + width, 0.0, len(rows), 0, explained)


def _count_components(ratios: NDArray[np.float64], share: float) -> int:
    """How many components explain the share; never all: nothing would be left unexplained."""
    import numpy as np

    enough = int(np.searchsorted(np.cumsum(ratios), share - 1e-9)) + 1
    return max(1, min(enough, len(ratios) - 1))


def _find_threshold(rows: NDArray[np.float64], spec: DetectorSpec) -> float:
    import numpy as np

    borders = np.linspace(0, len(rows), BLOCKS + 1).astype(int)
    scores = np.empty(len(rows))
    for begin, end in pairwise(borders):
        others = np.concatenate([rows[:begin], rows[end:]])
        scores[begin:end] = _fit(others, spec.components).score_all(rows[begin:end])
    return float(np.quantile(scores, spec.threshold.quantile)) * spec.threshold.margin


def _trim(values: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """Which rows are learned from."""
    import numpy as np

    kept = _choose_kept(_score_robustly(values, share), np.ones(len(values), bool))
    for _ in range(_ROUNDS):
        if not _all_change(values[kept]):
            # What is left out makes a variable a constant: it is how that variable changes, no anomaly.
            return np.ones(len(values), bool)
        scores = _fit(values[kept], share).score_all(values)
        chosen = _choose_kept(scores, kept)
        if np.array_equal(chosen, kept):
            break
        kept = chosen
    return kept if _all_change(values[kept]) else np.ones(len(values), bool)


def _all_change(rows: NDArray[np.float64]) -> bool:
    return bool((rows.min(axis=0) < rows.max(axis=0)).all())


def _choose_kept(scores: NDArray[np.float64], reference: NDArray[np.bool_]) -> NDArray[np.bool_]:
    import numpy as np

    middle = float(np.median(scores[reference]))
    spread = _NORMAL * float(np.median(np.abs(scores[reference] - middle)))
    kept: NDArray[np.bool_] = scores <= middle + _DEVIATIONS * max(spread, _LEAST_THRESHOLD)
    least = int(np.ceil(len(scores) * (1 - MOST_TRIMMED)))
    if int(kept.sum()) < least:
        kept = scores <= np.partition(scores, least - 1)[least - 1]
    return kept


def _score_robustly(values: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Scores by a model of medians and signs, which a few rows, however far off, cannot bend."""
    import numpy as np

    center = np.median(values, axis=0)
    spread = _NORMAL * np.median(np.abs(values - center), axis=0)
    deviation = values.std(axis=0)
    standard = (values - center) / np.where(spread > 0, spread, deviation)
    length = np.sqrt(np.einsum("ij,ij->i", standard, standard))
    signs = standard / np.maximum(length, 1e-12)[:, None]
    _, directions = np.linalg.eigh(signs.T @ signs)
    projected = standard @ directions
    variances = np.square(_NORMAL * np.median(np.abs(projected - np.median(projected, axis=0)), axis=0))
    order = np.argsort(variances)[::-1]
    total = max(float(variances.sum()), 1e-300)
    main = directions[:, order[: _count_components(variances[order] / total, share)]]
    residuals = standard - (standard @ main) @ main.T
    scores: NDArray[np.float64] = np.sqrt(np.einsum("ij,ij->i", residuals, residuals) / values.shape[1])
    return scores
