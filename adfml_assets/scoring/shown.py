"""What the UI shows of a day's scores: how they are distributed, and which version made them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from adfml_assets.plots import BLUE, RED, new_figure, to_markdown

if TYPE_CHECKING:
    import pyarrow as pa

_BINS = 40
_QUANTILES = {"min": 0.0, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p99": 0.99, "max": 1.0}


TEXTS = {
    "RecordId": "Which record was scored.",
    "score": "What the model says of it.",
    "model": "The model that scored it.",
    "version": "Its version.",
    "alias": "The alias that the version was found by; empty where the version itself was asked for.",
    "scored_at": "When it was scored, UTC.",
    "feature_snapshot": "The snapshot of the features that were scored.",
}
"""What the columns of scores are, in words."""


def describe_version(expected: Mapping[str, str]) -> dict[str, str]:
    """Which version scored, as asset metadata.

    Args:
        expected: what every row says, see `adfml_assets.scoring.scores.build_expected`.
    """
    return {
        "model_version": expected["version"],
        "model_alias": expected["alias"] or "none: the version itself was asked for",
        "feature_snapshot": expected["feature_snapshot"],
    }


def describe_scores(scores: pa.ChunkedArray) -> dict[str, Any]:
    """Mean, quantiles and a plot of a day's scores, as asset metadata; nothing where there are none.

    Args:
        scores: finite, float64.
    """
    import pyarrow.compute as pc

    if len(scores) == 0:
        return {}
    found = pc.quantile(scores, list(_QUANTILES.values())).to_pylist()
    shown: dict[str, Any] = {f"{name}_score": value for name, value in zip(_QUANTILES, found, strict=True)}
    shown["mean_score"] = pc.mean(scores).as_py()
    return {**shown, "score_distribution": dg.MetadataValue.md(plot_scores(scores))}


def plot_scores(scores: pa.ChunkedArray) -> str:
    """A histogram with the median. Scores above the 99th percentile are in its last bar: a few large ones hide nothing.

    Returns:
        PNG inside of Markdown.
    """
    import numpy as np

    values = scores.to_numpy()
    lowest, highest = float(values.min()), float(np.quantile(values, 0.99))
    counts, edges = np.histogram(np.minimum(values, highest), bins=_BINS, range=(lowest, max(highest, lowest)))
    figure = new_figure(6, 2.4)
    axis = figure.subplots()
    axis.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=BLUE)
    axis.axvline(float(np.median(values)), color=RED, linewidth=0.8)
    axis.set_xlabel("score (line: median; last bar: above the 99th percentile, too)")
    axis.set_ylabel("records")
    return to_markdown(figure, "distribution of the scores")
