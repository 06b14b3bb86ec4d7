"""`make bench`: archiving one SQLite table, against pandas doing the same; medians of interleaved rounds.

Each measurement is a process of its own, so that peak memory is that method's alone.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

CUSTOMERS, ROUNDS = 3000, 3


def archive() -> int:
    """This project's snapshot. Returns rows."""
    from adfml_assets.archive.copying import SourceTable
    from adfml_assets.archive.snapshot import take_snapshot
    from resources.database import Databases
    from resources.lake import Lake

    now = datetime.now(UTC)
    table = SourceTable("shop", "main", "Transactions")
    day = now.strftime("%Y-%m-%d")
    return take_snapshot(Lake(), Databases(), table, day, asset="benchmark", now=now, run_id="benchmark").manifest.rows


def read_with_pandas() -> int:
    """The whole table through a data frame: prices become floats, dates stay text. Returns rows."""
    import pandas as pd
    import sqlalchemy as sa

    frame = pd.read_sql_table("Transactions", sa.create_engine(os.environ["ADFML_SHOP_URL"]))
    frame.to_parquet(Path(os.environ["ADFML_LAKE"]) / "pandas.parquet")
    return len(frame)


METHODS: dict[str, Callable[[], int]] = {
    "adfml snapshot": archive,
    "pandas read_sql_table, to_parquet": read_with_pandas,
}


def measure(name: str) -> tuple[float, float, int]:
    """Seconds, peak MB and rows of one method, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.archive_rows", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, megabytes, rows = done.stdout.split()
    return float(seconds), float(megabytes), int(rows)


def compare() -> None:
    """Make a shop, measure every method in turn, and print the table."""
    from rich.console import Console
    from rich.table import Table

    from demo.sample_shop import write_sample_shop

    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"ADFML_SHOP_URL": f"sqlite:///{folder}/shop.sqlite", "ADFML_LAKE": f"{folder}/lake"}
        Path(folder, "lake").mkdir()
        write_sample_shop(Path(folder, "shop.sqlite"), customers=CUSTOMERS)
        found = [{name: measure(name) for name in METHODS} for _ in range(ROUNDS)]
    rows = next(iter(found[0].values()))[2]
    table = Table(
        title=f"{rows:,} rows x 10 columns from SQLite to Parquet, medians of {ROUNDS}, {os.cpu_count()} cores"
    )
    for column in ("method", "seconds", "rows/s", "peak MB", "time, ratio"):
        table.add_column(column, justify="left" if column == "method" else "right")
    ours = statistics.median(round_["adfml snapshot"][0] for round_ in found)
    for name in METHODS:
        seconds = statistics.median(round_[name][0] for round_ in found)
        peak = statistics.median(round_[name][1] for round_ in found)
        table.add_row(name, f"{seconds:.2f}", f"{rows / seconds:,.0f}", f"{peak:.0f}", f"{seconds / ours:.2f}")
    Console(width=110).print(table)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        started = time.monotonic()
        count = METHODS[sys.argv[1]]()
        print(time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, count)
    else:
        compare()
