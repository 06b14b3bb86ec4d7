"""What the UI shows of a partition's anomalies, and the check that warns of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import dagster as dg

from adfml_assets.anomalies.declared import DetectorSpec
from adfml_assets.anomalies.detecting import Detection
from adfml_assets.anomalies.plots import plot_contributors, plot_scores
from adfml_assets.anomalies.results import TIMESTAMP
from adfml_assets.anomalies.summary import SeriesSummary
from adfml_assets.metadata import describe_partition, order_metadata
from adfml_assets.origins import build_facts
from resources.lake import Lake

TEXTS = {
    TIMESTAMP: "When, UTC.",
    "is_anomaly": "Whether the score is over the threshold.",
    "severity": "How far over it, 0 to 1.",
    "score": "How far the variables are from going together as they did, in standard deviations.",
    "threshold": "The score from which on a row is an anomaly.",
    "filled": "How many values of the row were filled.",
    "contributors": "Of an anomaly the variables that stand out, the largest share first.",
    "model_version": "The version of the model.",
}
"""What the columns are, in words."""

_MOST_SERIES = 20


def describe_detection(lake: Lake, found: Detection) -> dict[str, Any]:
    """Counts, windows, model, series and plots of a partition, as Dagster's metadata."""
    summary, facts = found.summary, found.manifest.facts
    shown: dict[str, Any] = {
        **describe_partition(lake, found.folder, found.manifest, texts=TEXTS),
        "anomalies": summary.anomalies,
        "checked": facts["checked"],
        "fitted_on": facts["fitted_on"],
        "newest_reading": facts["newest_reading"] or "none",
        "model": facts["model_folder"] or "none",
        "model_fitted_by_this_run": found.fitted,
        "values_filled": summary.filled,
        "rows_left_out": summary.left_out,
        "series_with_errors": len(summary.errors),
    }
    if not found.manifest.rows:
        shown["note"] = f"There are no readings in {facts['checked']}: the partition is empty."
    if summary.series:
        shown["series"] = dg.MetadataValue.md(_build_table(summary.series))
    if summary.errors:
        lines = [f"- `{code}` {message}" for code, message in list(summary.errors.values())[:_MOST_SERIES]]
        shown["errors"] = dg.MetadataValue.md("\n".join(lines))
    for name, plot in (("scores", plot_scores(summary)), ("top_contributors", plot_contributors(summary))):
        if plot:
            shown[name] = dg.MetadataValue.md(plot)
    return order_metadata(shown)


def describe_origins(spec: DetectorSpec, asset: str, personal: Collection[str]) -> dict[str, Any]:
    """The facts of what a partition's columns are made of.

    Args:
        asset: of the readings, its key slash-separated.
        personal: its columns of personal data.
    """
    variables = [(asset, name) for name in spec.variables]
    origins = dict.fromkeys(("is_anomaly", "severity", "score", "threshold", "filled", "contributors"), variables)
    origins[TIMESTAMP] = [(asset, spec.timestamp)]
    if spec.by:
        origins[spec.by] = [(asset, spec.by)]
    return build_facts(origins, {asset: personal}, list(origins))


def build_check_result(found: Detection) -> dg.AssetCheckResult:
    """The check `no_anomalies`: a warning with their number and the worst one; it blocks nothing."""
    summary = found.summary
    metadata: dict[str, Any] = {"anomalies": summary.anomalies, "rows": summary.rows, "checked": str(summary.window)}
    worst = summary.find_worst()
    if worst is not None:
        metadata["worst"] = dg.MetadataValue.json(worst.describe())
        if worst.worst_at:
            metadata["worst_at"] = dg.MetadataValue.timestamp(worst.worst_at)
        names = list(summary.add_up_contributions())[:3]
        metadata["foremost_variables"] = ", ".join(names)
    if summary.errors:
        metadata["series_with_errors"] = len(summary.errors)
    series = f" of {worst.series}" if worst and worst.series is not None else ""
    description = (
        f"{summary.anomalies} of {summary.rows} rows are anomalies; the worst{series} at "
        f"{worst.worst_at:%Y-%m-%d %H:%M} UTC, severity {worst.worst_severity:.2f}."
        if worst and worst.worst_at
        else f"No anomalies in {summary.rows} rows; {len(summary.errors)} series could not be checked."
    )
    return dg.AssetCheckResult(
        check_name="no_anomalies",
        passed=summary.anomalies == 0 and not summary.errors,
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,
        description=description,
    )


def _build_table(series: list[SeriesSummary]) -> str:
    """The series with most anomalies as a Markdown table."""
    lines = ["| series | rows | anomalies | worst score | threshold | fitted on rows | trimmed | explained |"]
    lines.append("|" + " --- |" * 8)
    for found in sorted(series, key=lambda s: (-s.anomalies, s.series or ""))[:_MOST_SERIES]:
        name = "all" if found.series is None else found.series.replace("|", "\\|")
        lines.append(
            f"| {name} | {found.rows} | {found.anomalies} | {found.worst_score:.3g} | {found.threshold:.3g} | "
            f"{found.fitted_rows} | {found.trimmed} | {found.explained:.1%} |"
        )
    if len(series) > _MOST_SERIES:
        lines.append(f"\nand {len(series) - _MOST_SERIES} more series.")
    return "\n".join(lines)
