"""What the demo shows of feedback scored by the LLM batch, and of machines whose sensors do not go together."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import dagster as dg
from rich.table import Table

from demo.home import DemoHome
from demo.shop_database import fingerprint_path

DETECTOR = "sensor_readings"
ANOMALIES_TABLE = "adfml_anomalies"


def describe_feedback(instance: dg.DagsterInstance, home: DemoHome) -> Iterator[Table]:
    """Scored and rejected texts, their cost, and the sentiments that stand in the shop: nothing without such assets."""
    for key in sorted(instance.all_asset_keys()):
        if key.path[:2] != ["ml", "text_scores"] or key.path[-1].endswith("_job"):
            continue
        event = instance.get_latest_materialization_event(key)
        found = event.asset_materialization if event else None
        if found is None:
            continue
        facts: dict[str, Any] = {name: value.value for name, value in found.metadata.items()}
        table = Table(title=f"Texts scored by the LLM batch: {key.path[-1]}, {found.partition}", title_justify="left")
        table.add_column("figure")
        table.add_column("", justify="right")
        table.add_row("rows asked about", f"{facts.get('rows', 0):,}")
        table.add_row("scored", f"{facts.get('dagster/row_count', 0):,}")
        table.add_row("rejected, with the reason", f"{facts.get('rejects', 0):,}")
        for reason, count in sorted(dict(facts.get("reject_reasons") or {}).items()):
            table.add_row(f"  {reason}", f"{count:,}")
        table.add_row("batches", f"{facts.get('batches', 0):,}")
        if "cost" in facts:
            currency = facts.get("currency", "")
            table.add_row("cost, batch price", f"{facts['cost']:.4f} {currency}")
            table.add_row("cost, standard price", f"{facts['cost_at_standard_price']:.4f} {currency}")
        for sentiment, count in _count_sentiments(home):
            table.add_row(f"in Feedback: {sentiment}", f"{count:,}")
        yield table


def describe_sensors(home: DemoHome, day: str) -> Iterator[Table]:
    """By machine: rows checked, anomalies, and how many of the readings with a planted fault are among them."""
    facts = _read_facts(home, day)
    if facts is None:
        return
    planted = _read_planted(home)
    table = Table(title=f"Sensor readings checked, {facts['checked']}", title_justify="left")
    columns = ("machine", "rows", "anomalies", *(("planted", "found", "false") if planted else ()))
    for column in (*columns, "worst (UTC)"):
        justify: Literal["left", "right"] = "left" if column in ("machine", "worst (UTC)") else "right"
        table.add_column(column, justify=justify, no_wrap=True)
    for machine, rows, anomalies, faulty, found, worst in _count_anomalies(home, day, planted):
        counts = (rows, anomalies, *((faulty, found, anomalies - found) if planted else ()))
        table.add_row(machine, *(f"{count:,}" for count in counts), worst or "")
    table.caption = f"A model for each machine, fitted on {facts['fitted_on']}; the rows are in {ANOMALIES_TABLE}." + (
        " Planted: readings inside of a fault that the generator planted; false: anomalies outside of one."
        if planted
        else ""
    )
    yield table


def _count_sentiments(home: DemoHome) -> list[tuple[str, int]]:
    query = "SELECT coalesce(Sentiment, 'none'), count(*) FROM Feedback WHERE scored = 1 GROUP BY 1 ORDER BY 2 DESC"
    with closing(sqlite3.connect(f"file:{home.shop}?mode=ro", uri=True)) as shop:
        return shop.execute(query).fetchall()


def _read_planted(home: DemoHome) -> list[dict[str, str]]:
    """The faults that the generator planted (machine, start, end; ISO 8601), from the file beside the shop."""
    path = fingerprint_path(home.shop)
    planted: list[dict[str, str]] = json.loads(path.read_text())["planted_faults"] if path.is_file() else []
    return planted


def _folder(home: DemoHome, day: str) -> Path:
    return home.lake / "ml/anomalies" / DETECTOR / day.replace("-", "/")


def _read_facts(home: DemoHome, day: str) -> dict[str, str] | None:
    path = _folder(home, day) / "_manifest.json"
    if not path.is_file():
        return None
    facts: dict[str, str] = json.loads(path.read_text())["facts"]
    return facts


def _count_anomalies(
    home: DemoHome, day: str, planted: Sequence[Mapping[str, str]]
) -> list[tuple[str, int, int, int, int, str | None]]:
    """By machine: rows, anomalies, rows with a planted fault, those of them that are anomalies, and the worst."""
    import duckdb

    with duckdb.connect() as lake:
        lake.execute("SET TimeZone = 'UTC'")
        lake.execute("CREATE TABLE planted (machine VARCHAR, first TIMESTAMPTZ, last TIMESTAMPTZ)")
        for fault in planted:
            lake.execute("INSERT INTO planted VALUES (?, ?, ?)", [fault["machine"], fault["start"], fault["end"]])
        return lake.execute(
            """
            WITH checked AS (
                SELECT *, EXISTS (
                    SELECT 1 FROM planted WHERE machine = MachineId AND timestamp BETWEEN first AND last
                ) AS faulty
                FROM read_parquet(?)
            )
            SELECT MachineId, count(*), count(*) FILTER (is_anomaly), count(*) FILTER (faulty),
                count(*) FILTER (faulty AND is_anomaly),
                strftime((arg_max(timestamp, severity) FILTER (is_anomaly))::TIMESTAMP, '%Y-%m-%d %H:%M')
            FROM checked GROUP BY MachineId ORDER BY MachineId
            """,
            [str(_folder(home, day) / "anomalies.parquet")],
        ).fetchall()
