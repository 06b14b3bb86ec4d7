"""The gate: what a model version has to be better than, and whether it is. Numbers in, verdicts in sentences out.

The training job measures the model and what it is compared with on the same test rows and leaves the numbers in
metadata.json, under `metrics` and `references`; it judges nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

Direction = Literal["lower", "higher"]

DIRECTIONS: Mapping[str, Direction] = {"mae": "lower", "rmse": "lower", "r2": "higher", "spearman": "higher"}
"""Which values of the known metrics are the better ones."""

BASELINE, CHAMPION = "baseline", "champion"


@dataclass(frozen=True)
class GateRules:
    """What a version has to achieve.

    Attributes:
        metric: it is judged by, on the test split.
        direction: whether lower or higher values of it are better.
        tolerance: the share of the champion's value by which a version may be worse than the champion.
        confidence: how sure it has to be that it is better than a baseline, 0.5 to 0.999.
    """

    metric: str = "mae"
    direction: Direction = "lower"
    tolerance: float = 0.0
    confidence: float = 0.95

    @property
    def standard_errors(self) -> float:
        """By how many standard errors an improvement has to exceed zero: one-sided, of the normal distribution."""
        return NormalDist().inv_cdf(self.confidence)


@dataclass(frozen=True)
class Finding:
    """What was found of one reference.

    Attributes:
        reference: a baseline's name, or `champion`; "" where there is none to name.
        kind: `baseline` or `champion`.
        passed: whether the version may follow from this one.
        reason: the numbers, in one sentence.
    """

    reference: str
    kind: str
    passed: bool
    reason: str


@dataclass(frozen=True)
class Judgement:
    """The gate's verdict on a version.

    Attributes:
        findings: one a baseline, and one for the champion.
        compared_to: the version that is champion; None where there is none.
    """

    findings: tuple[Finding, ...]
    compared_to: str | None

    @property
    def passed(self) -> bool:
        """Whether the version passed in everything."""
        return all(finding.passed for finding in self.findings)

    @property
    def verdict(self) -> Literal["passed", "refused"]:
        """`passed` or `refused`."""
        return "passed" if self.passed else "refused"

    @property
    def reason(self) -> str:
        """What decided: everything that was found of a version that passed, what it failed by of another."""
        decisive = [finding.reason for finding in self.findings if self.passed or not finding.passed]
        return " ".join(decisive)

    def as_rows(self) -> list[dict[str, Any]]:
        """The findings as plain values, as the registry keeps them."""
        return [asdict(finding) for finding in self.findings]


def judge(metadata: Mapping[str, Any], rules: GateRules, champion: str | None) -> Judgement:
    """Judge a version by its metadata.json.

    Every baseline must be beaten by more than chance explains: improvement > standard errors * standard error. The
    champion may be missed by the tolerance: improvement >= -tolerance * |its value|. An improvement is positive where
    the version is better, whatever the metric.

    Args:
        metadata: of the version: `version`, `metrics`, `references`. A job that is not this project's may leave no
            `references`: then the metrics under `baseline` are compared, as far as that goes.
        champion: the version that is champion now; None where there is none.
    """
    own = _read_number(_read_block(_read_block(metadata, "metrics"), "test").get(rules.metric))
    if own is None:
        known = ", ".join(sorted(_read_block(_read_block(metadata, "metrics"), "test"))) or "none"
        reason = f"The test {rules.metric} of the model is missing or not defined (metadata.json has: {known})."
        baselines = [Finding("", BASELINE, False, reason)]
    else:
        baselines = list(_judge_baselines(metadata, rules, own))
    return Judgement((*baselines, _judge_champion(metadata, rules, own, champion)), champion)


def _judge_baselines(metadata: Mapping[str, Any], rules: GateRules, own: float) -> Iterator[Finding]:
    found = {name: _as_block(value) for name, value in _read_block(metadata, "references").items()}
    references = {name: block for name, block in found.items() if block.get("kind") == BASELINE}
    if not references:
        yield _judge_foreign(metadata, rules, own)
        return
    comparable = {name: block for name, block in references.items() if _read_test(block, rules.metric) is not None}
    if not comparable:
        names = ", ".join(references)
        yield Finding("", BASELINE, False, f"{rules.metric} is defined for none of the baselines ({names}).")
    for name, block in comparable.items():
        yield _judge_baseline(name, block, rules, own)


def _judge_baseline(name: str, block: Mapping[str, Any], rules: GateRules, own: float) -> Finding:
    against, gain, error = _read_test(block, rules.metric), *_read_improvement(block, rules.metric)
    numbers = f"test {rules.metric} {_show(own)}, baseline {name} {_show(against)}"
    if gain is None or error is None or error < 0:
        lacking = "the job left no improvement with a standard error (too few test rows?)"
        reason = f"Is not known to beat baseline {name}: {numbers}, {lacking}."
        return Finding(name, BASELINE, False, reason)
    needed = rules.standard_errors * error
    passed = gain > needed
    if passed:
        verdict = f"Beats baseline {name}"
    elif gain > 0:
        verdict = f"Is better than baseline {name}, but not surely"
    else:
        verdict = f"Does not beat baseline {name}"
    reason = (
        f"{verdict}: {numbers}, improvement {_show(gain)} ± {_show(error)} (standard error), needed more than "
        f"{_show(needed)} ({rules.standard_errors:.4g} standard errors, confidence {rules.confidence:g})."
    )
    return Finding(name, BASELINE, passed, reason)


def _judge_foreign(metadata: Mapping[str, Any], rules: GateRules, own: float) -> Finding:
    """By the block `baseline` of a job that compared nothing itself: better is enough, chance is not known."""
    block = _read_block(metadata, "baseline")
    name, against = str(block.get("name") or "baseline"), _read_test(block, rules.metric)
    if against is None:
        missing = f"`references` with baselines, or a test {rules.metric} under `baseline`"
        return Finding(
            "", BASELINE, False, f"metadata.json holds nothing to compare the model with: it lacks {missing}."
        )
    gain = against - own if rules.direction == "lower" else own - against
    verdict = "Beats" if gain > 0 else "Does not beat"
    reason = (
        f"{verdict} baseline {name}: test {rules.metric} {_show(own)}, baseline {_show(against)}, improvement "
        f"{_show(gain)}; the job left no standard error, so that chance is not ruled out."
    )
    return Finding(name, BASELINE, gain > 0, reason)


def _judge_champion(metadata: Mapping[str, Any], rules: GateRules, own: float | None, champion: str | None) -> Finding:
    if champion is None:
        return Finding(CHAMPION, CHAMPION, True, "There is no champion yet.")
    if champion == str(metadata.get("version")):
        return Finding(CHAMPION, CHAMPION, True, "It is the champion itself.")
    by_hand = "Train again, or promote by hand."
    references = map(_as_block, _read_block(metadata, "references").values())
    block = next((found for found in references if found.get("kind") == CHAMPION), None)
    if block is None:
        reason = f"It was not compared with the champion, version {champion}. {by_hand}"
        return Finding(CHAMPION, CHAMPION, False, reason)
    compared = str(block.get("version"))
    if compared != champion:
        reason = f"It was compared with version {compared}, and version {champion} is champion now. {by_hand}"
        return Finding(CHAMPION, CHAMPION, False, reason)
    against, (gain, error) = _read_test(block, rules.metric), _read_improvement(block, rules.metric)
    if "not_comparable" in block or own is None or against is None or gain is None:
        why = str(block.get("not_comparable") or f"{rules.metric} is not defined for both").rstrip(".")
        reason = f"It cannot be compared with the champion, version {champion}: {why}. Promote by hand if it is better."
        return Finding(CHAMPION, CHAMPION, False, reason)
    allowed = -rules.tolerance * abs(against)
    passed = gain >= allowed
    spread = "" if error is None else f" ± {_show(error)} (standard error)"
    reason = (
        f"{'Holds up against' if passed else 'Is worse than'} the champion, version {champion}: test {rules.metric} "
        f"{_show(own)}, champion {_show(against)}, improvement {_show(gain)}{spread}, needed at least "
        f"{_show(allowed)} (tolerance {rules.tolerance:g})."
    )
    return Finding(CHAMPION, CHAMPION, passed, reason)


def _read_block(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _as_block(holder.get(name))


def _as_block(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _read_test(block: Mapping[str, Any], metric: str) -> float | None:
    return _read_number(_read_block(block, "test").get(metric))


def _read_improvement(block: Mapping[str, Any], metric: str) -> tuple[float | None, float | None]:
    found = _read_block(_read_block(block, "improvement"), metric)
    return _read_number(found.get("value")), _read_number(found.get("standard_error"))


def _read_number(value: Any) -> float | None:
    """A finite number; None for anything else: what cannot be compared must not pass."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _show(value: float | None) -> str:
    # Without a minus for a zero: -0 is what a tolerance of nothing gives.
    return "none" if value is None else f"{value + 0.0:.6g}"
