"""What the demo shows of its model: metrics, what the gate found, which version is champion, and drift as a plot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from demo.home import DemoHome
from resources.control import ControlDatabase
from resources.model_versions import ModelVersion

MODEL = "sales_forecast"
_BAR_CHARACTERS = 30
_MOST_FEATURES = 12


def describe_model(home: DemoHome) -> Iterator[Table]:
    """Of each version, oldest first: its metrics beside the best baseline's, and the gate's findings."""
    models = ControlDatabase().models
    aliases = models.aliases(MODEL)
    for found in reversed(models.list_versions(MODEL)):
        path = home.lake / f"ml/models/{MODEL}/version={found.version}/metadata.json"
        names = ", ".join(sorted(alias for alias, version in aliases.items() if version == found.version))
        yield _list_metrics(found, json.loads(path.read_text()), names)
        yield _list_findings(found)


def describe_drift(home: DemoHome, day: str) -> Iterator[Table]:
    """A day's drift: a bar a feature, the largest first; nothing where none was compared."""
    import duckdb

    path = home.lake / f"ml/drift/{MODEL}/{day.replace('-', '/')}/drift.parquet"
    if not path.is_file():
        return
    found = duckdb.sql(f"SELECT feature, psi, over FROM '{path}' WHERE psi IS NOT NULL ORDER BY psi DESC").fetchall()  # noqa: S608
    shown = [row for row in found if row[0] == "score" or row[2] or row in found[:_MOST_FEATURES]]
    if not shown:
        return
    facts: Mapping[str, Any] = json.loads((path.parent / "_manifest.json").read_text())["facts"]
    threshold = float(facts["thresholds"]["psi"])
    table = Table(title=f"Drift of {day} against the training data of version {facts['version']}", title_justify="left")
    for column in ("feature", "PSI", f"threshold {threshold:g}", ""):
        table.add_column(column, justify="right" if column == "PSI" else "left", no_wrap=True)
    widest = max(threshold, *(psi for _, psi, _ in shown))
    for feature, psi, over in shown:
        table.add_row(feature, f"{psi:.3f}", _draw_bar(psi, threshold, widest), "[red]over[/]" if over else "")
    over = ", ".join(row[0] for row in found if row[2])
    table.caption = f"{len(found)} were compared. Over the threshold of PSI or of missing values: {over or 'none'}."
    yield table


def _list_metrics(found: ModelVersion, metadata: Mapping[str, Any], aliases: str) -> Table:
    title = f"Model {MODEL}, version {found.version} ({aliases or found.verdict or 'not judged'})"
    table = Table(title=title, title_justify="left")
    for column in ("measure", "validation", "test", f"test, baseline ({metadata['baseline']['name']})"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    for measure, value in metadata["metrics"]["test"].items():
        validation = metadata["metrics"]["validation"].get(measure)
        baseline = metadata["baseline"]["test"].get(measure)
        table.add_row(measure, *(f"{v:,.3f}" if v is not None else "" for v in (validation, value, baseline)))
    return table


def _list_findings(found: ModelVersion) -> Table:
    table = Table(title=f"The gate: version {found.version} {found.verdict or 'was not judged'}", title_justify="left")
    for column in ("against", "", "what was found"):
        table.add_column(column)
    for finding in found.findings:
        verdict = "[green]passed[/]" if finding["passed"] else "[red]refused[/]"
        table.add_row(str(finding["reference"] or "-"), verdict, str(finding["reason"]))
    return table


def _draw_bar(psi: float, threshold: float, widest: float) -> str:
    """A bar of blocks with a mark where the threshold is."""
    filled, mark = (round(value / widest * _BAR_CHARACTERS) for value in (psi, threshold))
    cells = ["█" if at < filled else " " for at in range(_BAR_CHARACTERS + 1)]
    cells[min(mark, _BAR_CHARACTERS)] = "│"
    return "".join(cells)
