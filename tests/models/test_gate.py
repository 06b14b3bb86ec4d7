"""What the gate lets through: the arithmetic, and what it says."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adfml_assets.components.gate import Gate
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.models.gate import GateRules, Judgement, judge

RULES = GateRules()
finite = st.floats(-1e6, 1e6)


def baseline(
    gain: float | None, error: float | None, value: float | None = 20.0, metric: str = "mae"
) -> dict[str, Any]:
    improvement = {metric: {"value": gain, "standard_error": error}}
    return {"kind": "baseline", "test": {metric: value}, "improvement": improvement}


def champion(gain: float | None, value: float | None = 10.0, version: str = "2", **more: Any) -> dict[str, Any]:
    return {**baseline(gain, 0.1, value), "kind": "champion", "version": version, **more}


def metadata(references: Mapping[str, Any] | None = None, own: Any = 10.0, **more: Any) -> dict[str, Any]:
    block = {} if references is None else {"references": references}
    return {"version": "3", "metrics": {"test": {"mae": own, "r2": 0.5}}, **block, **more}


def judge_champion(block: Mapping[str, Any], rules: GateRules = RULES, current: str | None = "2") -> Judgement:
    return judge(metadata({"median": baseline(10.0, 1.0), "champion": block}), rules, current)


def test_the_first_version_has_to_beat_the_baselines_only() -> None:
    found = judge(metadata({"median": baseline(10.0, 1.0), "mean": baseline(11.0, 1.0)}), RULES, None)
    assert (found.verdict, found.compared_to) == ("passed", None)
    assert [finding.kind for finding in found.findings] == ["baseline", "baseline", "champion"]
    assert found.findings[0].reason == (
        "Beats baseline median: test mae 10, baseline median 20, improvement 10 ± 1 (standard error), needed more than "
        "1.64485 (1.645 standard errors, confidence 0.95)."
    )
    assert found.reason.endswith("There is no champion yet.")


def test_one_baseline_that_is_not_beaten_is_enough_to_be_refused() -> None:
    found = judge(metadata({"median": baseline(10.0, 1.0), "last": baseline(-2.0, 1.0, 8.0)}), RULES, None)
    assert found.verdict == "refused"
    assert found.reason.startswith("Does not beat baseline last: test mae 10, baseline last 8, improvement -2 ± 1")
    assert "median" not in found.reason


def test_an_improvement_that_chance_explains_is_none() -> None:
    found = judge(metadata({"median": baseline(1.6, 1.0)}), RULES, None)
    assert found.reason.startswith("Is better than baseline median, but not surely")
    assert judge(metadata({"median": baseline(1.7, 1.0)}), RULES, None).passed


@settings(max_examples=30, deadline=None)
@given(finite, st.floats(0, 1e6), st.floats(0.5, 0.999))
def test_a_baseline_is_beaten_by_more_than_the_quantile(gain: float, error: float, confidence: float) -> None:
    rules = GateRules(confidence=confidence)
    passed = judge(metadata({"median": baseline(gain, error)}), rules, None).passed
    # The normal distribution by the error function: not the code's own quantile.
    sure = error > 0 and 0.5 * (1 + math.erf(gain / error / math.sqrt(2)))
    if error == 0:
        assert passed is (gain > 0)
    elif abs(sure - confidence) > 1e-9:
        assert passed is (sure > confidence)


@settings(max_examples=30, deadline=None)
@given(finite, st.floats(0.001, 1e6), st.floats(0, 0.99))
def test_the_champion_may_be_missed_by_the_tolerance(gain: float, value: float, tolerance: float) -> None:
    found = judge_champion(champion(gain, value), GateRules(tolerance=tolerance))
    assume(not math.isclose(gain, -tolerance * value, abs_tol=1e-6))
    assert found.passed is (gain + tolerance * value > 0)
    assert found.compared_to == "2"


def test_as_good_as_the_champion_is_good_enough() -> None:
    found = judge_champion(champion(0.0))
    assert found.passed
    assert found.findings[-1].reason == (
        "Holds up against the champion, version 2: test mae 10, champion 10, improvement 0 ± 0.1 (standard error), "
        "needed at least 0 (tolerance 0)."
    )
    worse = judge_champion(champion(-0.21, 10.0), GateRules(tolerance=0.02))
    assert worse.reason.startswith("Is worse than the champion, version 2")
    assert "needed at least -0.2 (tolerance 0.02)" in worse.reason


@pytest.mark.parametrize(
    ("block", "current", "reason"),
    [
        (champion(1.0, version="1"), "2", "compared with version 1, and version 2 is champion now. Train again"),
        ({"kind": "baseline"}, "2", "not compared with the champion, version 2. Train again, or promote by hand."),
        (
            {"kind": "champion", "version": "2", "not_comparable": "it needs features the test rows lack."},
            "2",
            "cannot be compared with the champion, version 2: it needs features the test rows lack. Promote by hand",
        ),
        (champion(None), "2", "mae is not defined for both"),
        (champion(1.0, value=None), "2", "mae is not defined for both"),
        (champion(float("nan")), "2", "mae is not defined for both"),
    ],
)
def test_without_a_comparison_nothing_replaces_the_champion(
    block: Mapping[str, Any], current: str, reason: str
) -> None:
    found = judge_champion(block, current=current)
    assert found.verdict == "refused"
    assert reason in found.reason


def test_a_comparison_with_a_champion_that_was_taken_away_does_not_matter() -> None:
    assert judge_champion(champion(-5.0), current=None).passed


def test_the_champion_itself_is_not_compared_with_itself() -> None:
    assert judge(metadata({"median": baseline(10.0, 1.0)}), RULES, "3").passed


@pytest.mark.parametrize(
    ("references", "reason"),
    [
        ({"median": baseline(None, None)}, "Is not known to beat baseline median"),
        ({"median": baseline(1.0, None)}, "too few test rows"),
        ({"median": baseline(1.0, -1.0)}, "Is not known to beat"),
        ({"median": baseline(float("inf"), 1.0)}, "Is not known to beat"),
        ({"median": baseline(True, 0.0)}, "Is not known to beat"),
        ({"median": baseline(1.0, 0.1, None)}, "mae is defined for none of the baselines (median)"),
        ({"median": "broken"}, "holds nothing to compare the model with"),
    ],
)
def test_numbers_that_are_none_never_pass(references: dict[str, Any], reason: str) -> None:
    found = judge(metadata(references), RULES, None)
    assert found.verdict == "refused"
    assert reason in found.reason


@pytest.mark.parametrize("own", [None, float("nan"), "10", True])
def test_a_model_without_the_metric_is_refused(own: Any) -> None:
    found = judge(metadata({"median": baseline(10.0, 1.0)}, own=own), RULES, None)
    assert found.verdict == "refused"
    assert "The test mae of the model is missing or not defined (metadata.json has: mae, r2)" in found.reason


def test_a_constant_forecast_that_orders_nothing_is_left_out_of_a_rank_correlation() -> None:
    rules = GateRules(metric="spearman", direction="higher")
    references = {
        "median": baseline(None, None, None, "spearman"),
        "last": baseline(0.2, 0.05, 0.3, "spearman"),
    }
    described = {"version": "3", "metrics": {"test": {"spearman": 0.5}}, "references": references}
    found = judge(described, rules, None)
    assert found.passed
    assert [finding.reference for finding in found.findings] == ["last", "champion"]


def test_a_foreign_job_is_judged_by_what_it_left() -> None:
    better = judge(metadata(baseline={"name": "last year", "test": {"mae": 12.0}}), RULES, None)
    assert better.passed
    assert (
        "Beats baseline last year: test mae 10, baseline 12, improvement 2; the job left no standard" in better.reason
    )
    higher = GateRules(metric="r2", direction="higher")
    assert not judge(metadata(baseline={"test": {"r2": 0.6}}), higher, None).passed
    assert not judge(metadata(baseline={"name": "x", "test": {"mae": 10.0}}), RULES, None).passed
    nothing = judge(metadata(), RULES, None)
    assert "lacks `references` with baselines, or a test mae under `baseline`" in nothing.reason
    with_champion = judge(metadata(baseline={"test": {"mae": 12.0}}), RULES, "2")
    assert "It was not compared with the champion, version 2." in with_champion.reason


def test_the_direction_is_known_for_the_usual_metrics() -> None:
    assert Gate().build_rules() == GateRules("mae", "lower", 0.0, 0.95)
    assert Gate(metric="spearman").build_rules().direction == "higher"
    assert Gate(metric="gini", direction="higher", tolerance=0.1).build_rules().direction == "higher"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"metric": "gini"}, "Gate: direction is None; expected lower or higher"),
        ({"direction": "higher"}, "direction is 'higher'; expected lower, which is better for mae"),
        ({"tolerance": -0.1}, "tolerance is -0.1; expected a share of at least 0"),
        ({"tolerance": 1.0}, "tolerance is 1.0"),
        ({"confidence": 0.4}, "confidence is 0.4; expected a number from 0.5 to 0.999"),
        ({"confidence": 95}, "confidence is 95"),
        ({"confidence": float("nan")}, "confidence is nan"),
    ],
)
def test_a_gate_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationInvalid, match=message):
        Gate(**values)
