"""What the demo makes before it starts several processes on it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from demo.home import DemoHome
from demo.services import make_storage


def tables(database: Path) -> set[str]:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_dagsters_tables_are_there_before_the_daemon_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that make them at once break each other: "table run_tags already exists"."""
    home = DemoHome(tmp_path)
    home.prepare()
    monkeypatch.setenv("DAGSTER_HOME", str(home.dagster))
    make_storage()
    assert {"runs", "run_tags", "bulk_actions"} <= tables(home.dagster / "history/runs.db")
    assert {"event_logs", "asset_keys"} <= tables(home.dagster / "history/runs/index.db")
    assert {"jobs", "job_ticks"} <= tables(home.dagster / "schedules/schedules.db")
