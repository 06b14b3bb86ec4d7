"""A fitted model put to the test: its metrics, what it is compared with, and how its scores are spread."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workloads.champion import Champion, score_champion
from workloads.comparison import Measured, compare, measure_forecast
from workloads.errors import WorkloadError
from workloads.metrics import CHAMPION, Metrics, forecast_naively, measure
from workloads.paths import FileArea
from workloads.regression import predict
from workloads.tracking import fingerprint_scores

if TYPE_CHECKING:
    import numpy as np

    from workloads.training_data import DataCard, Split

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """What is known of a model after its test; all but the last is written to its metadata.json as it is.

    Attributes:
        metrics: Split ("validation", "test") -> metrics of the model.
        baseline: The naive forecast with the lowest MAE on the test split: its "name", its metrics by split, and those
            of all naive forecasts under "candidates".
        references: What the model is compared with on the test split. Name of the naive forecast, or "champion" ->
            {"kind": "baseline" or "champion", "version" (of a champion), "test": metrics,
            "improvement": see `workloads.comparison.Improvement`}; a champion that cannot be compared has
            "not_comparable", the reason, in place of the last two.
        score_profile: See `profile_scores`; of the test split.
        fingerprint: Identity of the scores: equal for two models that give the same ones.
    """

    metrics: dict[str, Metrics]
    baseline: dict[str, Any]
    references: dict[str, dict[str, Any]]
    score_profile: dict[str, Any]
    fingerprint: str


def evaluate(
    area: FileArea, folder: str, card: DataCard, splits: Mapping[str, Split], estimator: Any, champion: Champion | None
) -> Evaluation:
    """Score validation and test, the latter for the first and only time, and compare with what is known to be possible.

    Args:
        area: Reads the champion's files.
        folder: The training data's folder.
        card: Its data card.
        splits: Its splits.
        estimator: The fitted model.
        champion: The model in use; None without one.
    """
    judged = {name: splits[name] for name in ("validation", "test")}
    scores = {name: predict(estimator, split.features, card.features) for name, split in judged.items()}
    naive = {name: forecast_naively(splits["train"], split, card) for name, split in judged.items()}
    candidates = {
        candidate: {name: measure(split.label, naive[name][candidate]) for name, split in judged.items()}
        for candidate in naive["test"]
    }
    best = min(candidates, key=lambda name: candidates[name]["test"]["mae"] or 0.0)
    label = judged["test"].label
    own = measure_forecast(label, scores["test"])
    references = {
        name: {"kind": "baseline", **_compare(own, label, forecast)} for name, forecast in naive["test"].items()
    }
    if champion is not None:
        references[CHAMPION] = _compare_champion(area, folder, card, champion, own, label)
    return Evaluation(
        metrics={name: measure(split.label, scores[name]) for name, split in judged.items()},
        baseline={"name": best, **candidates[best], "candidates": candidates},
        references=references,
        score_profile=profile_scores(scores["test"]),
        fingerprint=fingerprint_scores(*scores.values()),
    )


def profile_scores(scores: np.ndarray) -> dict[str, Any]:
    """How scores are spread, in a form that other scores can be counted by.

    Returns:
        "edges": the nine deciles of the scores, strictly increasing, so fewer where many scores are equal; "counts":
        one more than edges: the scores up to and with the first edge, above it up to and with the second, …, above the
        last; "rows": their sum.
    """
    import numpy as np

    edges = np.unique(np.quantile(scores, np.arange(1, 10) / 10))
    counts = np.bincount(np.searchsorted(edges, scores, side="left"), minlength=len(edges) + 1)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "rows": len(scores)}


def _compare(own: Measured, label: np.ndarray, forecast: np.ndarray) -> dict[str, Any]:
    reference = measure_forecast(label, forecast)
    return {"test": reference.metrics, "improvement": compare(own, reference)}


def _compare_champion(
    area: FileArea, folder: str, card: DataCard, champion: Champion, own: Measured, label: np.ndarray
) -> dict[str, Any]:
    described = {"kind": CHAMPION, "version": champion.version}
    # A model that nobody can load any more must not keep a new one from being trained: whoever judges reads the reason.
    try:
        scores = score_champion(area, champion, card, folder)
        return {**described, **_compare(own, label, scores)}
    except WorkloadError as error:
        reason = error.message
    except Exception as error:
        _log.exception("the champion cannot be scored")
        reason = " ".join(f"unexpected {type(error).__name__}: {error}".split())
    _log.info("the champion, version %s, is not compared: %s", champion.version, reason)
    return {**described, "not_comparable": reason}
