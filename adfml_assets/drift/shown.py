"""What the UI shows of a day's drift, and its three checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dagster as dg

from adfml_assets.asset_keys import scores_key, scoring_input_key
from adfml_assets.drift.comparison import Comparison
from adfml_assets.drift.history import read_history
from adfml_assets.drift.plots import plot_distributions, plot_history, plot_psi
from adfml_assets.drift.report import DriftReport
from adfml_assets.metadata import describe_partition, order_metadata
from adfml_assets.origins import Origins
from resources.lake import Lake
from resources.manifest import Manifest

CHECKS = {
    "feature_drift": "No feature's values lie otherwise than in the training data, by more than allowed and by chance.",
    "score_drift": "The scores lie as those of the test split did.",
    "missing_values": "No feature is missing more, or less, often than in the training data.",
}
TEXTS = {
    "feature": "The feature, or `score`.",
    "kind": "`feature` or `score`.",
    "psi": "Population stability index: how far the values lie from the training data's; NULL where there are none.",
    "psi_noise": "The PSI that chance alone gives for so many records.",
    "missing_training": "The share of missing values in the training data.",
    "missing_scored": "The share of missing values in the day's records.",
    "missing_noise": "By how much the shares may differ by chance.",
    "psi_over": "Whether the PSI is over its threshold, and over chance.",
    "missing_over": "Whether the shares differ by more than is allowed, and than chance gives.",
    "over": "Either of both.",
    "version": "The version of the model that scored the day.",
    "rows": "Records of the day.",
}
"""What the columns are, in words."""

HISTORY_DAYS = 14
_MOST_ROWS = 100
_MOST_NAMES = 5


def describe_drift(lake: Lake, report: DriftReport, folder: str, manifest: Manifest) -> dict[str, Any]:
    """Counts, a table and plots of a partition, as Dagster's metadata."""
    shown: dict[str, Any] = {
        **describe_partition(lake, folder, manifest, texts=TEXTS, origins=_find_origins(report)),
        "model_version": report.version or "none",
        "records": report.rows,
        "training_rows": report.training_rows,
        "over": report.over,
        "psi_threshold": report.rules.psi,
        "missing_threshold": report.rules.missing,
    }
    if report.notes:
        shown["note"] = " ".join(report.notes)
    if report.worst is not None:
        shown["worst"] = report.worst.name
        shown["worst_psi"] = report.worst.psi
    if report.comparisons:
        rows = [dg.TableRecord(_to_record(found)) for found in report.comparisons[:_MOST_ROWS]]
        shown["drift"] = dg.MetadataValue.table(rows)
    for name, plot in _draw(lake, report).items():
        if plot is not None:
            shown[name] = dg.MetadataValue.md(plot)
    return order_metadata(shown)


def _find_origins(report: DriftReport) -> Origins:
    records, scores = (build(report.model).to_user_string() for build in (scoring_input_key, scores_key))
    compared = [(records, found.name) for found in report.features] + ([(scores, "score")] if report.score else [])
    return dict.fromkeys(("psi", "missing_scored"), compared)


def build_check_results(report: DriftReport) -> list[dg.AssetCheckResult]:
    """The three checks: warnings with the worst features and the numbers; they block nothing."""
    score = report.score
    features = report.features
    nothing = " ".join(report.notes) or "Nothing was compared."
    return [
        _build_check(
            "feature_drift",
            [_say_psi(found) for found in features if found.psi_over],
            f"PSI is {report.rules.psi:g} at most, or not above what chance gives, for {len(features)} features."
            if features
            else nothing,
            report,
        ),
        _build_check(
            "score_drift",
            [_say_psi(score)] if score is not None and score.psi_over else [],
            nothing if score is None or score.psi is None else f"The scores' PSI is {score.psi:.3f}.",
            report,
        ),
        _build_check(
            "missing_values",
            [_say_missing(found) for found in sorted(features, key=_by_missing) if found.missing_over],
            f"The share of missing values differs by {report.rules.missing:g} at most, or not by more than chance "
            f"gives, for {len(features)} features."
            if features
            else nothing,
            report,
        ),
    ]


def _build_check(name: str, found: Sequence[str], fine: str, report: DriftReport) -> dg.AssetCheckResult:
    more = f" and {len(found) - _MOST_NAMES} more" if len(found) > _MOST_NAMES else ""
    version = f"version {report.version}" if report.version else "no version"
    return dg.AssetCheckResult(
        check_name=name,
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{', '.join(found[:_MOST_NAMES])}{more}." if found else fine,
        metadata={"found": len(found), "records": report.rows, "model_version": version},
    )


def _draw(lake: Lake, report: DriftReport) -> dict[str, str | None]:
    if not report.comparisons:
        return {}
    score = report.score
    features = report.features
    worst = [found.name for found in features[:3]] + ([score.name] if score else [])
    days = read_history(lake, report.model, report.day, HISTORY_DAYS)
    return {
        "psi": plot_psi(report.comparisons, report.rules.psi),
        "distributions_of_features": plot_distributions(features),
        "distribution_of_scores": plot_distributions([score]) if score else None,
        "psi_of_the_last_days": plot_history(days, worst, report.rules.psi),
    }


def _to_record(found: Comparison) -> dict[str, Any]:
    return {
        "feature": found.name,
        "psi": "none" if found.psi is None else f"{found.psi:.4f}",
        "psi by chance": f"{found.psi_noise:.4f}",
        "missing, training": f"{found.training.missing_share:.2%}",
        "missing, scored": f"{found.scored.missing_share:.2%}",
        "over": found.over,
    }


def _say_psi(found: Comparison) -> str:
    return f"{found.name} has PSI {found.psi:.3f}"


def _say_missing(found: Comparison) -> str:
    return f"{found.name} is missing in {found.scored.missing_share:.1%}, was in {found.training.missing_share:.1%}"


def _by_missing(found: Comparison) -> float:
    return -abs(found.missing_difference)
