"""What the UI shows of a model's versions: the verdict, a table of versions, and the metric over versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard
from urllib.parse import urlsplit

import dagster as dg

from adfml_assets.plots import BLUE, RED, escape, new_figure, to_markdown
from resources.model_registry import ModelVersion

_MOST_SHOWN = 30


def describe_model(metadata: Mapping[str, Any], version: ModelVersion, alias: str) -> dict[str, Any]:
    """A version as asset metadata: its test metrics by name, the gate's verdict, and metadata.json whole.

    Args:
        alias: which aliases the version has, as text.
    """
    tests = metadata["metrics"].get("test")
    # A job of somebody else's may leave more than numbers there: metadata.json has it whole.
    numbers = {name: value for name, value in tests.items() if _is_number(value)} if isinstance(tests, dict) else {}
    return {
        **{f"test_{name}": float(f"{value:.6g}") for name, value in numbers.items()},
        "algorithm": str(metadata.get("algorithm", "not said")),
        "verdict": str(version.verdict),
        "gate": str(version.reason),
        "compared_to": version.compared_to or "no champion",
        "alias": alias or "none",
        "model_file": version.model_file,
        "model_sha256": version.model_sha256,
        "metadata": dg.MetadataValue.json(dict(metadata)),
    }


def link_experiment(metadata: Mapping[str, Any], job_url: str | None) -> dict[str, Any]:
    """The MLflow experiment that a version was trained in, and its run there: a link where it is Databricks' own.

    Args:
        metadata: the version's metadata.json.
        job_url: of the page of the job that trained it: the workspace that has the experiment, too.
    """
    said = metadata.get("mlflow") or {}
    name, run_id, experiment_id = (said.get(field) for field in ("experiment_name", "run_id", "experiment_id"))
    if not name or not run_id:
        return {}
    shown: dict[str, Any] = {"mlflow_experiment": str(name), "mlflow_run_id": str(run_id)}
    address = urlsplit(job_url or "")
    if experiment_id and address.netloc:
        page = f"{address.scheme}://{address.netloc}/ml/experiments/{experiment_id}/runs/{run_id}"
        shown["mlflow_run"] = dg.MetadataValue.url(page)
    return shown


def describe_versions(
    versions: Sequence[ModelVersion], aliases: Mapping[str, str], metric: str
) -> dict[str, dg.MetadataValue]:
    """A model's newest versions as a table, newest first, and the gate's metric over them as a plot."""
    shown = list(versions[:_MOST_SHOWN])
    records = [
        dg.TableRecord(
            {
                "version": found.version,
                f"test_{metric}": _read_metric(found, metric),
                "verdict": found.verdict or "not judged",
                "aliases": ", ".join(sorted(alias for alias, version in aliases.items() if version == found.version)),
                "registered": found.registered_at.isoformat(timespec="seconds") if found.registered_at else "",
            }
        )
        for found in shown
    ]
    described: dict[str, dg.MetadataValue] = {}
    if records:
        described["versions"] = dg.MetadataValue.table(records)
    if any(_read_metric(found, metric) is not None for found in shown):
        described["metric_over_versions"] = dg.MetadataValue.md(_plot_versions(shown[::-1], aliases, metric))
    return described


def _plot_versions(versions: Sequence[ModelVersion], aliases: Mapping[str, str], metric: str) -> str:
    figure = new_figure(6, 2.4)
    axis = figure.subplots()
    known = [(at, value) for at, found in enumerate(versions) if (value := _read_metric(found, metric)) is not None]
    axis.plot([at for at, _ in known], [value for _, value in known], color="#bbbbbb", linewidth=0.8, zorder=1)
    for at, value in known:
        passed = versions[at].verdict == "passed"
        axis.plot(at, value, "o" if passed else "x", color=BLUE if passed else RED, zorder=2)
    for alias, version in sorted(aliases.items()):
        for at, value in known:
            if versions[at].version == version:
                axis.annotate(escape(alias), (at, value), xytext=(4, 6), textcoords="offset points", fontsize=8)
    axis.set_xticks(range(len(versions)), [escape(found.version) for found in versions])
    axis.set_xlabel("version (x: refused)")
    axis.set_ylabel(escape(f"test {metric}"))
    axis.margins(x=0.1, y=0.25)
    return to_markdown(figure, f"test {metric} over versions")


def _read_metric(found: ModelVersion, metric: str) -> float | None:
    tests = found.metrics.get("test") if isinstance(found.metrics, Mapping) else None
    value = tests.get(metric) if isinstance(tests, Mapping) else None
    return float(value) if _is_number(value) else None


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
