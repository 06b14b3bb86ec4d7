"""`adfml upgrade`: by hand, by two at once, and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from adfml_cli.cli import app
from resources.migrations import revisions
from resources.migrations.upgrading import upgrade
from tests.kills import repeat_kills
from tests.migrations.conftest import fill, make_at, read_rows, read_version
from tests.migrations.test_refusals import NEXT, breaking

__all__ = ["breaking"]


@pytest.fixture
def filled(engine: sa.Engine, url: str, monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    """A database of this version with rows, named in ADFML_CONTROL_URL."""
    monkeypatch.setenv("ADFML_CONTROL_URL", url)
    make_at(engine, revisions.HEAD)
    fill(engine)
    return engine


def start_upgrade(folder: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.migrations.upgrading_process", str(folder), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )


def test_two_at_once_apply_it_once(filled: sa.Engine, breaking: Path) -> None:
    processes = [start_upgrade(breaking) for _ in range(2)]
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert sorted(json.loads(output)["applied"] for output, _ in said) == [[], [NEXT]]
    assert read_version(filled) == NEXT
    assert len(read_rows(filled, "adfml_deployments", ["name", "region"])) == 3


@repeat_kills()
def test_one_that_is_killed_has_changed_nothing(filled: sa.Engine, breaking: Path, kill: int) -> None:
    before = sa.inspect(filled).get_columns("adfml_deployments")
    process = start_upgrade(breaking, "kill")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert read_version(filled) == revisions.HEAD
    assert str(sa.inspect(filled).get_columns("adfml_deployments")) == str(before)
    assert upgrade(filled).applied == (), "and no lock is left"


def test_the_command_says_what_it_did(engine: sa.Engine, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_CONTROL_URL", url)
    said = CliRunner().invoke(app, ["upgrade"])
    assert (said.exit_code, said.output.endswith(f": made, at revision {revisions.HEAD}.\n")) == (0, True)
    said = CliRunner().invoke(app, ["upgrade"])
    assert said.output.endswith(f" is at revision {revisions.HEAD}: nothing is to be done.\n")
    said = CliRunner().invoke(app, ["upgrade", "--dry-run"])
    assert said.output.startswith("-- ")


def test_a_dry_run_makes_no_file(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["upgrade", "--dry-run"])
    assert said.exit_code == 0
    assert "CREATE TABLE adfml_remote_jobs" in said.output
    assert not (tmp_path / "control.sqlite").exists()


def test_errors_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADFML_CONTROL_URL")
    said = CliRunner().invoke(app, ["upgrade"])
    assert (said.exit_code, said.output.count("\n")) == (1, 1)
