"""One demo for all that is looked at of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "ADFML_DEMO_FOLDER": str(folder), "COLUMNS": "160"}


def run_demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demo", "run", *options]
    return subprocess.run(
        command, cwd=ROOT, env=environment(folder), capture_output=True, text=True, check=False, timeout=280
    )


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demos")


@pytest.fixture(scope="session")
def done(folder: Path) -> subprocess.CompletedProcess[str]:
    """The demo over 300 customers, once."""
    return run_demo(folder, "--customers", "300")


@pytest.fixture(scope="session")
def home(folder: Path, done: subprocess.CompletedProcess[str]) -> Path:
    """Where it keeps everything."""
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return folder / "sample-300-7"
