"""The same features of transactions, and counts by category, to Parquet: this project, and others that can.

`python -m benchmarks.features_methods <time> <method> <few data> <data> <results>` measures one, of three folders.
Each writes `features` (a row a transaction) and `categories` (a row a customer, or more): see `METHODS`.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.features_data import DAY, list_files, open_lake, read_partition
from benchmarks.measuring import read_peak_of, report

if TYPE_CHECKING:
    from ibis.expr.types import Table

Method = Callable[[Path, Path], dict[str, Any]]
"""Reads the transactions in a folder and writes into another. Returns `features` and `categories`: lists of files."""

WINDOW_DAYS, SUM_DAYS, MIN_TRANSACTIONS = 30, 7, 5


def count_categories(transactions: Table, feature_dates: Table) -> Table:
    """What a customer has bought by category, as of each date: the pivot of the data flow."""
    import ibis
    from ibis import _

    bought = transactions.filter(_.CustomerId.notnull(), _.Quantity * _.UnitPrice > 0)
    known = bought.cross_join(feature_dates).filter(_.TransactionDate.date() <= _.feature_date)
    counts = known.group_by("CustomerId", "feature_date", "Category").aggregate(lines=_.count())
    pair = ibis.struct({"name": _.Category, "count": _.lines})
    return counts.group_by("CustomerId", "feature_date").aggregate(categories=pair.collect().sort())


def build_with_adfml(data: Path, out: Path, engine: str = "duckdb") -> dict[str, Any]:
    """Two feature sets, more than 5 million rows in parts by customer: looked through, with manifests."""
    from datetime import UTC, datetime

    from adfml_assets.features.feature_set import FeatureSetSpec, TableRef, build_features
    from resources.manifest import list_data_paths

    lake = open_lake(data)
    tables = {"transactions": TableRef("shop.main.Transactions", "TransactionDate")}
    common: dict[str, Any] = {"tables": tables, "partition_by": "CustomerId", "engine": engine}
    specs = {
        "features": FeatureSetSpec(
            name="transaction_features",
            key="TransactionId",
            function="adfml_assets.defs.DF_FeatureEngineering.transaction_features.build",
            rows="event",
            event_time="TransactionDate",
            parameters={"window_days": WINDOW_DAYS, "sum_days": SUM_DAYS, "min_transactions": MIN_TRANSACTIONS},
            **common,
        ),
        "categories": FeatureSetSpec(
            name="categories", key="CustomerId", function=f"{__name__}.count_categories", **common
        ),
    }
    found = {}
    for name, spec in specs.items():
        partitions = {"transactions": read_partition(lake)}
        folder, manifest = build_features(
            lake, spec, partitions, DAY, asset=name, now=datetime.now(UTC), run_id="benchmark"
        )
        target = out / name
        # The lake is the data's; what is written there goes with the results.
        shutil.move(data / "lake" / folder, target)
        found[name] = [str(target / Path(path).name) for path in list_data_paths(folder, manifest)]
    return found


def build_with_adfml_on_spark(data: Path, out: Path) -> dict[str, Any]:
    """The same definitions on Spark in this process."""
    from pyspark.sql import SparkSession

    found = build_with_adfml(data, out, "spark")
    return {**found, "peak_beside_mb": _read_java_peak(SparkSession.builder.getOrCreate())}


FEATURES_BY_HAND = f"""
SELECT * FROM (
  SELECT TransactionId, TransactionDate, amount,
         avg(amount) OVER recent AS rolling_avg_{WINDOW_DAYS}d,
         sum(amount) OVER latest AS rolling_sum_{SUM_DAYS}d,
         count(*) OVER recent AS transaction_count_{WINDOW_DAYS}d,
         max(amount) OVER recent AS max_amount_{WINDOW_DAYS}d,
         count(*) OVER past AS transaction_count,
         {{day_of_week}} IN (1, 7) AS is_weekend,
         hour(TransactionDate) AS hour_of_day,
         {{day_of_week}} AS day_of_week,
         month(TransactionDate) AS month,
         ln(amount + 1) AS amount_log,
         {{days_since_first}} AS days_since_first
  FROM (SELECT TransactionId, CustomerId, TransactionDate, CAST(Quantity * UnitPrice AS DOUBLE) AS amount
        FROM transactions WHERE CustomerId IS NOT NULL AND Quantity * UnitPrice > 0)
  WINDOW recent AS (PARTITION BY CustomerId ORDER BY TransactionDate
                    RANGE BETWEEN INTERVAL {WINDOW_DAYS} DAY PRECEDING AND CURRENT ROW),
         latest AS (PARTITION BY CustomerId ORDER BY TransactionDate
                    RANGE BETWEEN INTERVAL {SUM_DAYS} DAY PRECEDING AND CURRENT ROW),
         past AS (PARTITION BY CustomerId ORDER BY TransactionDate
                  RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW))
WHERE transaction_count >= {MIN_TRANSACTIONS}"""  # noqa: S608

FEATURES_ON_DUCKDB = FEATURES_BY_HAND.format(
    day_of_week="dayofweek(TransactionDate) + 1",
    days_since_first="date_diff('day', min(TransactionDate) OVER past, TransactionDate)",
)
FEATURES_ON_SPARK = FEATURES_BY_HAND.format(
    day_of_week="dayofweek(TransactionDate)",
    days_since_first="datediff(TransactionDate, min(TransactionDate) OVER past)",
)
BOUGHT_BY_HAND = """
SELECT CustomerId, Category, count(*) AS lines FROM transactions
WHERE CustomerId IS NOT NULL AND Quantity * UnitPrice > 0 GROUP BY CustomerId, Category"""
CATEGORIES_ON_DUCKDB = f"""
SELECT CustomerId, list_sort(list({{'name': Category, 'count': lines}})) AS categories
FROM ({BOUGHT_BY_HAND}) GROUP BY CustomerId"""  # noqa: S608
CATEGORIES_ON_SPARK = f"""
SELECT CustomerId, array_sort(collect_list(struct(Category AS name, lines AS count))) AS categories
FROM ({BOUGHT_BY_HAND}) GROUP BY CustomerId"""  # noqa: S608


def build_with_duckdb(data: Path, out: Path) -> dict[str, Any]:
    """Two COPY statements."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.read_parquet(list_files(data)).create_view("transactions")
        connection.execute(f"COPY ({FEATURES_ON_DUCKDB}) TO '{out}/features.parquet'")
        connection.execute(f"COPY ({CATEGORIES_ON_DUCKDB}) TO '{out}/categories.parquet'")
    return _name_files(out)


def build_with_polars(data: Path, out: Path) -> dict[str, Any]:
    """Lazy frames; windows by time with polars' own rolling functions."""
    import polars as pl

    lines = (
        pl.scan_parquet(list_files(data))
        .filter(pl.col("CustomerId").is_not_null())
        .with_columns(amount=(pl.col("Quantity").cast(pl.Float64) * pl.col("UnitPrice").cast(pl.Float64)))
        .filter(pl.col("amount") > 0)
    )
    moment = pl.col("TransactionDate")
    amount, recent, latest = pl.col("amount"), f"{WINDOW_DAYS}d", f"{SUM_DAYS}d"

    def of_customer(value: Any) -> Any:
        return value.over("CustomerId")

    features = (
        lines.select("TransactionId", "CustomerId", "TransactionDate", "amount", one=pl.lit(1, pl.Int64))
        .sort("CustomerId", "TransactionDate")
        .with_columns(
            of_customer(amount.rolling_mean_by("TransactionDate", recent, closed="both")).alias("rolling_avg_30d"),
            of_customer(amount.rolling_sum_by("TransactionDate", latest, closed="both")).alias("rolling_sum_7d"),
            of_customer(pl.col("one").rolling_sum_by("TransactionDate", recent, closed="both")).alias(
                "transaction_count_30d"
            ),
            of_customer(amount.rolling_max_by("TransactionDate", recent, closed="both")).alias("max_amount_30d"),
            of_customer(moment.rank("max")).cast(pl.Int64).alias("transaction_count"),
            of_customer(moment.min()).alias("first"),
        )
        .filter(pl.col("transaction_count") >= MIN_TRANSACTIONS)
        .select(
            pl.exclude("CustomerId", "first", "one"),
            is_weekend=moment.dt.weekday() >= 6,
            hour_of_day=moment.dt.hour(),
            day_of_week=moment.dt.weekday() % 7 + 1,
            month=moment.dt.month(),
            amount_log=(amount + 1).log(),
            days_since_first=(moment.dt.date() - pl.col("first").dt.date()).dt.total_days(),
        )
    )
    features.sink_parquet(f"{out}/features.parquet", compression="snappy")
    counts = lines.group_by("CustomerId", "Category").agg(count=pl.len().cast(pl.Int64)).sort("CustomerId", "Category")
    pairs = pl.struct(pl.col("Category").alias("name"), "count")
    categories = counts.group_by("CustomerId", maintain_order=True).agg(categories=pairs)
    categories.sink_parquet(f"{out}/categories.parquet", compression="snappy")
    return _name_files(out)


def build_with_pandas(data: Path, out: Path) -> dict[str, Any]:
    """Sorted, rolled by time, and the rows of one moment made equal; categories as columns, as a pivot has them."""
    import numpy as np
    import pandas as pd

    columns = ["TransactionId", "CustomerId", "TransactionDate", "Category", "Quantity", "UnitPrice"]
    lines = pd.concat([pd.read_parquet(file, columns=columns, dtype_backend="pyarrow") for file in list_files(data)])
    lines["amount"] = lines.pop("Quantity").astype("float64") * lines.pop("UnitPrice").astype("float64")
    lines = lines[lines["CustomerId"].notna() & (lines["amount"] > 0)]
    lines["CustomerId"] = lines["CustomerId"].astype("int64")
    lines["TransactionDate"] = lines["TransactionDate"].astype("datetime64[us]")
    lines["TransactionId"] = lines["TransactionId"].astype("int64")
    counts = lines.groupby(["CustomerId", "Category"], observed=True).size().unstack(fill_value=0)
    counts.to_parquet(f"{out}/categories.parquet")
    frame = lines.drop(columns="Category").sort_values(["CustomerId", "TransactionDate"], ignore_index=True)
    by_customer = frame.groupby("CustomerId", sort=False)
    recent = by_customer.rolling(f"{WINDOW_DAYS}D", on="TransactionDate", closed="both")["amount"]
    latest = by_customer.rolling(f"{SUM_DAYS}D", on="TransactionDate", closed="both")["amount"]
    frame["rolling_avg_30d"] = recent.mean().to_numpy()
    frame["rolling_sum_7d"] = latest.sum().to_numpy()
    frame["transaction_count_30d"] = recent.count().to_numpy().astype("int64")
    frame["max_amount_30d"] = recent.max().to_numpy()
    frame["transaction_count"] = by_customer.cumcount() + 1
    rolled = [*frame.columns[-5:]]
    # A window of pandas ends at the row: of rows at one moment only the last one sees them all.
    frame[rolled] = frame.groupby(["CustomerId", "TransactionDate"], sort=False)[rolled].transform("last")
    first = by_customer["TransactionDate"].transform("min")
    moment = frame["TransactionDate"]
    frame["is_weekend"] = moment.dt.dayofweek >= 5
    frame["hour_of_day"] = moment.dt.hour
    frame["day_of_week"] = (moment.dt.dayofweek + 1) % 7 + 1
    frame["month"] = moment.dt.month
    frame["amount_log"] = np.log(frame["amount"] + 1)
    frame["days_since_first"] = (moment.dt.normalize() - first.dt.normalize()).dt.days
    frame = frame[frame["transaction_count"] >= MIN_TRANSACTIONS].drop(columns="CustomerId")
    frame.to_parquet(f"{out}/features.parquet", index=False)
    return _name_files(out)


def build_with_spark(data: Path, out: Path) -> dict[str, Any]:
    """Spark's SQL, in its own words for the same, on all cores of this machine."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[*]").config("spark.sql.session.timeZone", "UTC")
    settings = {"spark.ui.enabled": "false", "spark.driver.memory": "6g", "spark.sql.shuffle.partitions": "16"}
    for name, value in {**settings, "spark.local.dir": str(out / "spark")}.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    session.read.parquet(*list_files(data)).createOrReplaceTempView("transactions")
    for name, sql in {"features": FEATURES_ON_SPARK, "categories": CATEGORIES_ON_SPARK}.items():
        session.sql(sql).write.parquet(f"{out}/{name}", compression="snappy")
    peak = _read_java_peak(session)
    return {**{name: _list_parts(out / name) for name in ("features", "categories")}, "peak_beside_mb": peak}


def _read_java_peak(session: Any) -> float:
    """The largest resident size of Spark's own process, in MB."""
    handle = session.sparkContext._jvm.java.lang.ProcessHandle.current()
    return read_peak_of(str(handle.pid()))


def _list_parts(folder: Path) -> list[str]:
    return sorted(map(str, folder.glob("*.parquet")))


def _name_files(out: Path) -> dict[str, Any]:
    return {name: [f"{out}/{name}.parquet"] for name in ("features", "categories")}


METHODS: dict[str, Method] = {
    "adfml": build_with_adfml,
    "duckdb": build_with_duckdb,
    "polars": build_with_polars,
    "pandas": build_with_pandas,
    "spark": build_with_spark,
    "adfml-spark": build_with_adfml_on_spark,
}


def limit_memory(share: float) -> None:
    """Let this process ask for no more than a share of the machine's memory: it fails, and nothing else does."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = int(total * share)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def main(started: str, method: str, warm: str, data: str, out: str) -> None:
    """Measure one method, after a warm-up over a few rows."""
    build = METHODS[method]
    limit_memory(0.8)

    def warm_up() -> None:
        (Path(out) / "warm").mkdir()
        build(Path(warm), Path(out) / "warm")

    report(started, warm_up, lambda: build(Path(data), Path(out)))


if __name__ == "__main__":
    main(*sys.argv[1:])
