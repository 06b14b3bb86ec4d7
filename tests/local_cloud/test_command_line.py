"""`python -m local_cloud start` leaves one running and prints what its clients need; `stop` ends it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]


def test_a_cloud_is_started_once_found_again_and_stopped(tmp_path: Path) -> None:
    state = tmp_path / "a cloud"
    started = _run("start", state)
    assert started.returncode == 0, started.stderr
    try:
        assert _run("start", state).stdout == started.stdout
        shown = subprocess.run(
            ["bash", "-c", f'{started.stdout}\necho "$ADFML_DATABRICKS_HOST|$MLFLOW_TRACKING_URI"'],
            capture_output=True,
            text=True,
            check=True,
        )
        host, _, tracking = shown.stdout.strip().partition("|")
        assert httpx.get(f"{host}/_local/health").status_code == 200
        assert str(state) in tracking
    finally:
        stopped = _run("stop", state)
    assert stopped.returncode == 0, stopped.stderr
    again = _run("stop", state)
    assert (again.returncode, again.stderr) == (1, f"No local cloud runs on {state}.\n")


def _run(command: str, state: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "local_cloud", command, "--state", str(state)],
        cwd=ROOT,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=120,
    )
