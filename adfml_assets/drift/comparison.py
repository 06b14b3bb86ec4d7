"""A day's features and scores against what the model was trained on: what differs by more than allowed and chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from adfml_assets.drift.measures import bound_psi_noise, bound_share_noise, measure_psi, share_confidence
from adfml_assets.drift.profile import Profile

Kind = Literal["feature", "score"]
SCORE = "score"
CONFIDENCE = 0.95
"""How sure it is that a partition in which nothing has changed is not over: of all its comparisons together."""


@dataclass(frozen=True)
class DriftRules:
    """What is compared, and what is too much.

    Attributes:
        psi: the PSI that a feature or the score may have.
        missing: by how much the share of missing values may differ.
        features: those that are compared; None: all of the model's.
        leave_out: of these those that are not.
    """

    psi: float = 0.2
    missing: float = 0.05
    features: tuple[str, ...] | None = None
    leave_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """A feature, or the score, in the training data and in a day's partition.

    Attributes:
        name: of the feature; `score`.
        kind: which of the two it is.
        training, scored: how its values lie.
        psi: None where one of the two has no values.
        psi_noise: what the PSI stays below where nothing has changed.
        missing_noise: the same of the difference of the shares of missing values.
        psi_over, missing_over: whether it is over the threshold, and not by chance.
    """

    name: str
    kind: Kind
    training: Profile
    scored: Profile
    psi: float | None
    psi_noise: float
    missing_noise: float
    psi_over: bool
    missing_over: bool

    @property
    def over(self) -> bool:
        """Whether anything is."""
        return self.psi_over or self.missing_over

    @property
    def missing_difference(self) -> float:
        """The share of missing values in the partition minus that in the training data."""
        return self.scored.missing_share - self.training.missing_share


def compare_all(
    rules: DriftRules,
    training: Mapping[str, Profile],
    scored: Mapping[str, Profile],
    scores: tuple[Profile, Profile] | None,
) -> tuple[Comparison, ...]:
    """Compare every feature and the score. The largest PSI first, those without one last.

    Args:
        training, scored: feature -> its profile in the training data and in the partition.
        scores: profiles of the test scores and of the partition's scores; None: there is nothing to compare with.
    """
    pairs: list[tuple[str, Kind, Profile, Profile]] = [(n, "feature", training[n], scored[n]) for n in training]
    if scores is not None:
        pairs.append((SCORE, "score", *scores))
    # Of a feature the values and the share of missing ones; a score is always there.
    comparisons = 2 * len(training) + (scores is not None)
    confidence = share_confidence(CONFIDENCE, comparisons)
    return sort_comparisons([_compare(rules, *pair, confidence) for pair in pairs])


def sort_comparisons(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """The largest PSI first, those without one last; equal ones by name."""
    return tuple(sorted(comparisons, key=lambda c: (-(c.psi if c.psi is not None else -1.0), c.kind, c.name)))


def _compare(
    rules: DriftRules, name: str, kind: Kind, training: Profile, scored: Profile, confidence: float
) -> Comparison:
    psi = measure_psi(training.counts, scored.counts)
    psi_noise = bound_psi_noise(training.counts, scored.counts, confidence)
    missing_noise = bound_share_noise(training.missing, training.rows, scored.missing, scored.rows, confidence)
    difference = abs(scored.missing_share - training.missing_share)
    return Comparison(
        name=name,
        kind=kind,
        training=training,
        scored=scored,
        psi=psi,
        psi_noise=psi_noise,
        missing_noise=missing_noise,
        psi_over=psi is not None and psi > max(rules.psi, psi_noise),
        missing_over=difference > max(rules.missing, missing_noise),
    )
