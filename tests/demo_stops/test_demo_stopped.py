"""`python -m demo run` that is stopped, or cannot begin."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.demo_command import ROOT, demo_environment, processes_of, run_demo

pytestmark = pytest.mark.slow


def test_a_missing_data_file_is_said_and_the_exit_code_is_not_0(tmp_path: Path) -> None:
    done = run_demo(tmp_path, "--data", "nowhere.parquet")
    assert done.returncode == 1
    assert "There is no file nowhere.parquet: expected the invoices as a Parquet file" in done.stdout


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.soak), signal.SIGTERM])
def test_a_demo_that_is_stopped_leaves_no_process(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "demo", "run", "--customers", "60", "--earlier-days", "0"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=demo_environment(tmp_path),
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
    assert processes_of(tmp_path) == []
