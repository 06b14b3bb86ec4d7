"""PSI, its size by chance, and shares of missing values: against numbers worked out by hand, laws and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adfml_assets.drift.measures import bound_psi_noise, bound_share_noise, measure_psi, share_confidence

pair_of_counts = st.integers(1, 12).flatmap(
    lambda bins: st.tuples(*(st.lists(st.integers(0, 5000), min_size=bins, max_size=bins) for _ in range(2)))
)


def test_psi_of_two_bins_by_hand() -> None:
    # Shares 50 % / 50 % against 70 % / 30 %: 0.2 ln 1.4 + 0.2 ln (5 / 3) = 0.16946.
    assert measure_psi([500_000, 500_000], [700_000, 300_000]) == pytest.approx(0.169460, abs=2e-6)


def test_half_a_row_is_added_to_every_bin() -> None:
    # 1.5 and 3.5 of 5 against 4.5 and 0.5 of 5: 0.6 ln 3 + 0.6 ln 7.
    assert measure_psi([1, 3], [4, 0]) == pytest.approx(0.6 * math.log(3) + 0.6 * math.log(7))


def test_samples_without_rows_have_no_psi_and_any_noise() -> None:
    assert measure_psi([0, 0], [1, 2]) is None
    assert measure_psi([1, 2], [0, 0]) is None
    assert bound_psi_noise([0, 0], [1, 2], 0.95) == math.inf
    assert bound_share_noise(0, 10, 0, 0, 0.95) == math.inf


@settings(max_examples=30, deadline=None)
@given(pair_of_counts)
def test_psi_is_symmetric_never_negative_and_zero_for_equal_samples(counts: tuple[list[int], list[int]]) -> None:
    one, other = counts
    psi = measure_psi(one, other)
    if psi is None:
        assert not sum(one) or not sum(other)
        return
    assert psi == pytest.approx(measure_psi(other, one))
    assert psi >= 0
    assert measure_psi(one, one) == 0
    # Bins that are empty on both sides are none.
    assert measure_psi([0, *one], [0, *other]) == psi


@pytest.mark.parametrize("rows", [50, 200, 2000])
@pytest.mark.parametrize("shares", [[0.1] * 10, [0.6, 0.1, 0.1, 0.05, 0.05, 0.05, 0.03, 0.02]])
def test_where_nothing_changed_psi_is_over_its_noise_about_as_often_as_said(rows: int, shares: list[float]) -> None:
    rng = np.random.default_rng(7)
    training = rng.multinomial(3000, shares, 2000).tolist()
    scored = rng.multinomial(rows, shares, 2000).tolist()
    over = [(measure_psi(t, s) or 0.0) > bound_psi_noise(t, s, 0.95) for t, s in zip(training, scored, strict=True)]
    assert 0.01 <= np.mean(over) <= 0.065


def test_noise_is_that_of_chi_square() -> None:
    # The 95 % quantile of chi-square with 9 degrees of freedom is 16.919.
    assert bound_psi_noise([100] * 10, [10] * 10, 0.95) == pytest.approx(16.919 * (1 / 1000 + 1 / 100), rel=1e-4)
    assert bound_psi_noise([7, 0], [9, 0], 0.95) == 0


def test_noise_of_shares_is_that_of_two_proportions() -> None:
    # 10 of 100 against 20 of 100: pooled 0.15, its deviation 0.0505, twice 1.96 of it by chance.
    assert bound_share_noise(10, 100, 20, 100, 0.95) == pytest.approx(1.95996 * math.sqrt(0.15 * 0.85 * 0.02), rel=1e-4)
    rng = np.random.default_rng(3)
    training, scored = rng.binomial(2000, 0.1, 3000), rng.binomial(300, 0.1, 3000)
    pairs = zip(training.tolist(), scored.tolist(), strict=True)
    over = [abs(s / 300 - t / 2000) > bound_share_noise(t, 2000, s, 300, 0.95) for t, s in pairs]
    assert 0.03 <= np.mean(over) <= 0.07


def test_many_comparisons_share_one_confidence() -> None:
    assert share_confidence(0.95, 1) == share_confidence(0.95, 0) == 0.95
    assert share_confidence(0.95, 40) ** 40 == pytest.approx(0.95)
