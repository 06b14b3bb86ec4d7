"""`python -m demo run`, which `make demo` calls: ends well with true figures, repeats nothing, leaves no process."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import psutil
import pytest

from tests.demo_run.conftest import ROOT, environment, run_demo

pytestmark = pytest.mark.slow


def processes_of(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter(["pid", "environ", "cmdline"]):
        if (process.info["environ"] or {}).get("ADFML_DEMO_FOLDER") == str(folder) and process.pid != os.getpid():
            found.append(" ".join(process.info["cmdline"] or []))
    return found


def test_the_whole_workflow_runs_and_agrees_with_the_source(
    folder: Path, done: subprocess.CompletedProcess[str], home: Path
) -> None:
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "DIFFERS" not in done.stdout
    assert done.stdout.count("agrees") == 10
    assert "make ui" in done.stdout
    assert "Texts scored by the LLM batch: feedback_sentiment" in done.stdout
    assert "Sensor readings checked, " in done.stdout
    assert processes_of(folder) == []
    shop = sqlite3.connect(home / "shop.sqlite")
    (lines,) = shop.execute("SELECT count(*) FROM Transactions").fetchone()
    archived = duckdb.sql(f"SELECT count(*) FROM '{home}/lake/archive/shop/main/Transactions/*/*.parquet'").fetchone()
    assert archived == (lines,)
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


def test_a_second_demo_repeats_nothing(folder: Path) -> None:
    files = {path: path.stat().st_mtime_ns for path in (folder / "sample-300-7/lake").rglob("*.parquet")}
    assert files
    done = run_demo(folder, "--customers", "300")
    assert done.returncode == 0, done.stdout[-4000:]
    if "done " in done.stdout:
        assert not re.search("done .*ml/models/sales_forecast", done.stdout), "midnight: only the new day is made"
    else:
        assert done.stdout.count("everything is there already") == 3
        now = {path: path.stat().st_mtime_ns for path in (folder / "sample-300-7/lake").rglob("*.parquet")}
        assert now == files
    assert processes_of(folder) == []


def test_a_missing_data_file_is_said_and_the_exit_code_is_not_0(folder: Path) -> None:
    done = run_demo(folder, "--data", "nowhere.parquet")
    assert done.returncode == 1
    assert "There is no file nowhere.parquet: expected the invoices as a Parquet file" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_no_process(folder: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "demo", "run", "--customers", "60"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(folder),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),  # as in a shell's background job
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "PL_EndToEnd_ML_Workflow, mode train" in line:
            break
    time.sleep(2)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert processes_of(folder) == []
