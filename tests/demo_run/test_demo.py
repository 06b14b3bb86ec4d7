"""`python -m demo run`, which `make demo` calls: ends well with true figures, repeats nothing, leaves no process."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from pathlib import Path

import duckdb
import pytest

from tests.demo_command import processes_of, run_demo
from tests.demo_run.conftest import CUSTOMERS, EARLIER_DAYS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_whole_workflow_runs_and_agrees_with_the_source(
    folder: Path, done: subprocess.CompletedProcess[str], home: Path
) -> None:
    assert "DIFFERS" not in done.stdout
    assert done.stdout.count("agrees") == 10
    assert "make ui" in done.stdout
    assert "Texts scored by the LLM batch: feedback_sentiment" in done.stdout
    assert "Sensor readings checked, " in done.stdout
    assert processes_of(folder) == []
    shop = sqlite3.connect(home / "shop.sqlite")
    (lines,) = shop.execute("SELECT count(*) FROM Transactions").fetchone()
    days = duckdb.sql(
        "SELECT snapshot_date, count(*) "
        f"FROM read_parquet('{home}/lake/archive/shop/main/Transactions/*/*.parquet', hive_partitioning = true) "
        "GROUP BY ALL"
    ).fetchall()
    assert [count for _, count in days] == [lines] * (EARLIER_DAYS + 1)
    scored = duckdb.sql(f"SELECT RecordId, score FROM '{home}/lake/ml/scores/**/predictions.parquet'").fetchall()
    assert dict(scored) == dict(shop.execute("SELECT RecordId, Score FROM Predictions").fetchall())
    assert shop.execute("SELECT DISTINCT ModelName, ModelVersion, ModelAlias FROM Predictions").fetchall() == [
        ("sales_forecast", "1", "champion")
    ]
    (asked, judged) = shop.execute("SELECT count(*), count(Sentiment) FROM Feedback").fetchone()
    assert 0 < judged <= asked
    (found,) = shop.execute("SELECT count(*) FROM adfml_anomalies WHERE IsAnomaly").fetchone()
    assert found > 0
    shop.close()


def test_a_second_demo_repeats_nothing(folder: Path, home: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in (home / "lake").rglob("*.parquet")}
    assert files
    done = run_demo(folder, "--customers", CUSTOMERS)
    assert done.returncode == 0, done.stdout[-4000:]
    if "done " in done.stdout:
        assert not re.search("done .*ml/models/sales_forecast", done.stdout), "midnight: only the new day is made"
    else:
        assert done.stdout.count("everything is there already") == 3
        now = {path: path.stat().st_mtime_ns for path in (home / "lake").rglob("*.parquet")}
        assert now == files
    assert processes_of(folder) == []
