"""How far two samples are apart, and how far they would be by chance alone. Pure numbers: no data is read here.

PSI, the population stability index: N. Siddiqi, Credit Risk Scorecards (2006). Its size where nothing has changed:
B. Yurdakul, Statistical Properties of Population Stability Index (2018); B. Yurdakul and J. Naranjo, Statistical
properties of the population stability index, Journal of Risk Model Validation (2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

HALF_A_ROW = 0.5


def measure_psi(reference: Sequence[int], current: Sequence[int]) -> float | None:
    """The population stability index: the sum over bins of (p - q) ln(p / q), p and q the shares of the two samples.

    Half a row is added to every bin, so that one without rows has a logarithm; bins that have none in both samples are
    left out. The index is 0 for equal samples, never negative, and the same both ways.

    Args:
        reference, current: rows by bin, the same bins.

    Returns:
        None where a sample has no rows.
    """
    if not sum(reference) or not sum(current):
        return None
    pairs = [(r, c) for r, c in zip(reference, current, strict=True) if r or c]
    smoothed_reference = sum(reference) + HALF_A_ROW * len(pairs)
    smoothed_current = sum(current) + HALF_A_ROW * len(pairs)
    shares = (((r + HALF_A_ROW) / smoothed_reference, (c + HALF_A_ROW) / smoothed_current) for r, c in pairs)
    return math.fsum((p - q) * math.log(p / q) for p, q in shares)


def bound_psi_noise(reference: Sequence[int], current: Sequence[int], confidence: float) -> float:
    """What the PSI of two samples of one distribution stays below, with a probability.

    Over (1/n + 1/m) it is distributed like chi-square with one degree of freedom less than there are bins (Yurdakul
    and Naranjo 2020). Half a row in every bin keeps that true down to five rows a bin.

    Args:
        confidence: the probability, between 0 and 1.

    Returns:
        Infinity where a sample has no rows.
    """
    n, m = sum(reference), sum(current)
    if not n or not m:
        return math.inf
    bins = sum(1 for r, c in zip(reference, current, strict=True) if r or c)
    if bins < 2:
        return 0.0
    # The inverse of chi-square's upper tail, without the seconds that scipy.stats takes to import.
    from scipy.special import chdtri

    return float(chdtri(bins - 1, 1 - confidence)) * (1 / n + 1 / m)


def bound_share_noise(reference: int, rows: int, current: int, current_rows: int, confidence: float) -> float:
    """What the difference of two shares stays below, with a probability, where both are of one distribution.

    The two-proportion test with the pooled share, both ways.

    Args:
        reference, rows: in how many of the reference's rows it is so.
        current, current_rows: the same of the other sample.
        confidence: the probability, between 0 and 1.

    Returns:
        Infinity where a sample has no rows.
    """
    if not rows or not current_rows:
        return math.inf
    pooled = (reference + current) / (rows + current_rows)
    deviation = math.sqrt(pooled * (1 - pooled) * (1 / rows + 1 / current_rows))
    return NormalDist().inv_cdf(0.5 + confidence / 2) * deviation


def share_confidence(confidence: float, comparisons: int) -> float:
    """The confidence of each of several comparisons, so that all of them together have the one asked for (Šidák).

    Without it, one in twenty features would be over its noise every day.
    """
    return float(confidence ** (1 / max(1, comparisons)))
