"""What an improvement and its standard error are: against brute force, and against what repeated draws show."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sklearn_metrics

from workloads.comparison import compare, deal_groups, measure_forecast
from workloads.evaluation import profile_scores

GOODNESS = {
    "mae": lambda label, score: -sklearn_metrics.mean_absolute_error(label, score),
    "rmse": lambda label, score: -(sklearn_metrics.mean_squared_error(label, score) ** 0.5),
    "r2": sklearn_metrics.r2_score,
    "bias": lambda label, score: -abs(float(np.mean(score) - np.mean(label))),
    "spearman": lambda label, score: float(stats.spearmanr(label, score).statistic),
}


def draw(rows: int, seed: int) -> np.ndarray:
    """Label, score and reference, with ties in all three and biases well above 0."""
    random = np.random.default_rng(seed)
    label = np.round(random.exponential(20, rows) * (random.random(rows) < 0.6), 0)
    score = np.round(label * 0.8 + random.normal(5, 6, rows), 0)
    reference = np.round(label * 0.5 + random.normal(12, 9, rows), 0)
    return np.array([label, score, reference])


def compare_naively(name: str, rows: np.ndarray) -> tuple[float, float]:
    """Improvement and standard error with every metric computed again without each group, by other libraries."""
    measure = GOODNESS[name]

    def improve(part: np.ndarray) -> float:
        label, score, reference = part
        return measure(label, score) - measure(label, reference)

    groups, count = deal_groups(rows.shape[1]), rows.shape[1]
    whole, total, estimates = improve(rows), 0.0, []
    for group in set(groups.tolist()):
        inside = int((groups == group).sum())
        without = improve(rows[:, groups != group])
        estimates.append((count / inside, without))
        total += (1 - inside / count) * without
    centre = len(estimates) * whole - total
    deviations = [
        (weight * whole - (weight - 1) * without - centre) ** 2 / (weight - 1) for weight, without in estimates
    ]
    return whole, float(np.mean(deviations)) ** 0.5


@pytest.mark.parametrize("rows", [40, 173, 1000])
@pytest.mark.parametrize("name", ["rmse", "r2", "bias", "spearman"])
def test_jackknife_is_what_computing_it_again_without_each_group_gives(name: str, rows: int):
    drawn = draw(rows, rows)
    found = compare(measure_forecast(drawn[0], drawn[1]), measure_forecast(drawn[0], drawn[2]))[name]
    value, error = compare_naively(name, drawn)
    assert found["value"] == pytest.approx(value, abs=1e-12)
    assert found["standard_error"] == pytest.approx(error, rel=1e-9)


def test_jackknife_holds_when_one_row_is_the_whole_error():
    drawn = draw(400, 3)
    drawn[0][17], drawn[1][17] = 1e7, -1e7
    found = compare(measure_forecast(drawn[0], drawn[1]), measure_forecast(drawn[0], drawn[2]))
    for name in ("rmse", "r2", "bias", "spearman"):
        value, error = compare_naively(name, drawn)
        assert found[name]["value"] == pytest.approx(value)
        assert found[name]["standard_error"] == pytest.approx(error, rel=1e-6)


def test_mean_absolute_error_is_compared_row_by_row():
    label, score, reference = draw(173, 1)
    gain = np.abs(reference - label) - np.abs(score - label)
    found = compare(measure_forecast(label, score), measure_forecast(label, reference))["mae"]
    paired = stats.ttest_rel(np.abs(reference - label), np.abs(score - label))
    assert found["value"] == pytest.approx(gain.mean())
    assert found["value"] / found["standard_error"] == pytest.approx(paired.statistic)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 3), min_size=1, max_size=70),
    st.sampled_from(["same", "swapped"]),
)
def test_a_model_equal_to_its_reference_gains_nothing_and_swapping_turns_the_sign(rows: list, how: str):
    label, score, reference = (np.array(column) for column in zip(*rows, strict=True))
    own, other = measure_forecast(label, score), measure_forecast(label, reference)
    if how == "same":
        for name, found in compare(own, measure_forecast(label, score.copy())).items():
            assert found["value"] == (None if own.metrics[name] is None else 0.0)
            assert found["standard_error"] in (None, 0.0)
    else:
        for name, found in compare(own, other).items():
            turned = compare(other, own)[name]
            assert turned["value"] == (None if found["value"] is None else -found["value"])
            assert turned["standard_error"] == (
                None if found["standard_error"] is None else pytest.approx(found["standard_error"])
            )


def test_standard_errors_are_how_far_improvements_scatter():
    """Over 200 test sets of the same kind, the mean standard error is the spread of the improvements."""
    values: dict[str, list[float]] = {name: [] for name in GOODNESS}
    errors: dict[str, list[float]] = {name: [] for name in GOODNESS}
    for seed in range(200):
        label, score, reference = draw(300, 1000 + seed)
        for name, found in compare(measure_forecast(label, score), measure_forecast(label, reference)).items():
            values[name].append(found["value"])
            errors[name].append(found["standard_error"])
    for name, found in values.items():
        assert np.mean(errors[name]) == pytest.approx(np.std(found), rel=0.2), name


def test_equal_scores_gain_nothing_for_sure():
    label, score, _ = draw(173, 2)
    same = compare(measure_forecast(label, score), measure_forecast(label, score.copy()))
    assert same == {name: {"value": 0.0, "standard_error": 0.0} for name in GOODNESS}


def test_groups_are_even_and_the_same_every_time():
    for rows in (1, 49, 50, 51, 1234):
        groups = deal_groups(rows)
        sizes = np.bincount(groups)
        assert (len(groups), len(sizes)) == (rows, min(rows, 50))
        assert sizes.max() - sizes.min() <= 1
        np.testing.assert_array_equal(groups, deal_groups(rows))
    # Rows that lie together, as those of one customer or day do, are not in one group.
    assert len(set(deal_groups(500)[:25].tolist())) > 10


def test_what_is_not_defined_is_none():
    label, score = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 2.0, 3.0, 5.0])
    against_constant = compare(measure_forecast(label, score), measure_forecast(label, np.full(4, 2.0)))
    assert against_constant["spearman"] == {"value": None, "standard_error": None}
    assert against_constant["rmse"]["value"] > 0
    one_row = compare(measure_forecast(label[:1], score[:1]), measure_forecast(label[:1], score[:1] + 1))
    assert one_row["mae"] == {"value": 1.0, "standard_error": None}
    assert one_row["bias"] == {"value": 1.0, "standard_error": None}
    assert one_row["r2"] == {"value": None, "standard_error": None}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.floats(-1e9, 1e9), st.sampled_from([0.0, 1.0])), min_size=1, max_size=200))
def test_score_profile_counts_every_score_once(scores: list[float]):
    profile = profile_scores(np.array(scores))
    edges, counts = profile["edges"], profile["counts"]
    assert edges == sorted(set(edges))
    assert 1 <= len(edges) <= 9
    assert profile["rows"] == len(scores) == sum(counts)
    bounds = [-np.inf, *edges, np.inf]
    for low, high, count in zip(bounds, bounds[1:], counts, strict=False):
        assert count == sum(low < score <= high for score in scores)


def test_score_profile_has_deciles_where_scores_differ():
    profile = profile_scores(np.arange(1000.0))
    assert profile["counts"] == [100] * 10
    assert profile_scores(np.full(7, 3.0)) == {"edges": [3.0], "counts": [7, 0], "rows": 7}
