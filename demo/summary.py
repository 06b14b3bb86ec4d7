"""What the demo shows at its end: what is there, whether it agrees with the source, and where to look."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass

import dagster as dg
from rich.console import Console
from rich.table import Table

from demo.home import DemoHome
from demo.model_summary import MODEL, describe_drift, describe_model
from demo.scored_summary import ANOMALIES_TABLE, DETECTOR, describe_feedback, describe_sensors


@dataclass(frozen=True)
class Agreement:
    """One figure, counted twice: by SQL in the source and in what was made of it."""

    what: str
    in_source: str
    in_lake: str

    @property
    def agrees(self) -> bool:
        """Whether both are the same."""
        return self.in_source == self.in_lake


def compare(home: DemoHome, day: str) -> list[Agreement]:
    """Rows, net total and customers, by SQL in the shop's database and by DuckDB over the Parquet in the lake."""
    import duckdb

    def archived(table: str) -> str:
        return f"read_parquet('{home.lake}/archive/shop/main/{table}/snapshot_date={day}/*.parquet')"

    scores = f"read_parquet('{home.lake}/ml/scores/{MODEL}/{day.replace('-', '/')}/predictions.parquet')"
    checked = f"ml/anomalies/{DETECTOR}/{day.replace('-', '/')}/anomalies.parquet"
    found = []
    with closing(sqlite3.connect(f"file:{home.shop}?mode=ro", uri=True)) as shop, duckdb.connect() as lake:

        def count(what: str, source: str, copy: str) -> None:
            in_source, in_lake = shop.execute(source).fetchone()[0], lake.sql(copy).fetchall()[0][0]
            found.append(Agreement(what, f"{in_source:,}", f"{in_lake:,}"))

        for table in ("Customers", "Products", "Transactions", "Feedback", "SensorReadings"):
            count(f"rows of {table}", f"SELECT count(*) FROM {table}", f"SELECT count(*) FROM {archived(table)}")  # noqa: S608
        # Thousandths as integers: SQLite has no exact decimals to sum.
        count(
            "Transactions, net total / 1000",
            "SELECT sum(Quantity * CAST(round(UnitPrice * 1000) AS INTEGER)) FROM Transactions",
            f"SELECT sum(Quantity * CAST(UnitPrice * 1000 AS HUGEINT)) FROM {archived('Transactions')}",  # noqa: S608
        )
        count(
            "customers who bought = scored",
            "SELECT count(DISTINCT CustomerId) FROM Transactions WHERE Quantity > 0 AND UnitPrice > 0",
            f"SELECT count(*) FROM {scores}",  # noqa: S608
        )
        count("rows of Predictions = scored", "SELECT count(*) FROM Predictions", f"SELECT count(*) FROM {scores}")  # noqa: S608
        if (home.lake / checked).is_file():
            count(
                "anomalies in SQL = in the lake",
                f"SELECT count(*) FROM {ANOMALIES_TABLE} WHERE IsAnomaly AND SnapshotDate = '{day}'",  # noqa: S608
                f"SELECT count(*) FROM read_parquet('{home.lake}/{checked}') WHERE is_anomaly",  # noqa: S608
            )
        if any((home.lake / "ml/text-scores").rglob("predictions.parquet")):
            count(
                "feedback with a sentiment = scored",
                "SELECT count(*) FROM Feedback WHERE Sentiment IS NOT NULL",
                f"SELECT count(*) FROM read_parquet('{home.lake}/ml/text-scores/**/predictions.parquet')",  # noqa: S608
            )
    return found


def show_summary(console: Console, instance: dg.DagsterInstance, home: DemoHome, day: str) -> bool:
    """Print everything. Returns whether the lake agrees with the source."""
    console.print(_list_assets(instance, day))
    for table in (*describe_model(home), *describe_drift(home, day)):
        console.print(table)
    console.print(_list_top_customers(home))
    for table in (*describe_feedback(instance, home), *describe_sensors(home, day)):
        console.print(table)
    agreements = compare(home, day)
    table = Table(title="The lake and the source, counted separately", title_justify="left")
    for column in ("figure", "source (SQL)", "lake (Parquet)", ""):
        table.add_column(column, justify="left" if column == "figure" else "right", no_wrap=True)
    for a in agreements:
        table.add_row(a.what, a.in_source, a.in_lake, "[green]agrees[/]" if a.agrees else "[red]DIFFERS[/]")
    console.print(table)
    console.print(f"Source database   {home.shop}", f"Lake              {home.lake}", sep="\n", highlight=False)
    console.print(f"Control database  {home.control}", f"MLflow, job logs  {home.cloud}", sep="\n", highlight=False)
    console.print("\nOpen Dagster's UI on it:  [bold]make ui[/]")
    return all(a.agrees for a in agreements)


def _list_assets(instance: dg.DagsterInstance, day: str) -> Table:
    table = Table(title="Materialised assets", title_justify="left")
    for column in ("asset", "partition", "rows"):
        table.add_column(column, justify="right" if column == "rows" else "left")
    for key in sorted(instance.all_asset_keys()):
        event = instance.get_latest_materialization_event(key)
        found = event.asset_materialization if event else None
        if found is None:
            continue
        rows = found.metadata.get("dagster/row_count")
        shown = f"{rows.value:,}" if rows is not None and isinstance(rows.value, int) else ""
        table.add_row(key.to_user_string(), found.partition or "", shown)
    return table


def _list_top_customers(home: DemoHome, count: int = 10) -> Table:
    table = Table(title="Highest scores, as they stand in Predictions", title_justify="left")
    for column in ("customer", "expected, 30 days", "model", "version", "scored at (UTC)"):
        table.add_column(column, justify="right" if column.startswith("expected") else "left", no_wrap=True)
    query = "SELECT RecordId, Score, ModelName, ModelVersion, ScoredAt FROM Predictions ORDER BY Score DESC LIMIT ?"
    with closing(sqlite3.connect(f"file:{home.shop}?mode=ro", uri=True)) as shop:
        for record, score, model, version, scored_at in shop.execute(query, (count,)):
            table.add_row(str(record), f"{score:,.2f}", model, version, str(scored_at)[:19])
    return table
