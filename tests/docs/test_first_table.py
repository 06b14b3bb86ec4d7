"""README, "Your first table, in ten minutes": its blocks as they stand, by a shell, in a copy of the project."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import PAGES, ROOT, Fence

FIRST, LAST = "## Your first table, in ten minutes", "## From there"
COPIED = (
    "adfml_assets",
    "adfml_cli",
    "resources",
    "sensors",
    "workloads",
    "dagster.yaml",
    "workspace.yaml",
    "pyproject.toml",
)
WRITTEN = "adfml_assets/defs/crm/defs.yaml"
# What was done before this test runs, and what never ends.
LEFT_OUT = ("make ", "dagster-webserver ", "dagster-daemon ")


def _find_blocks() -> list[Fence]:
    lines = PAGES[0].path.read_text().splitlines()
    first, last = lines.index(FIRST), lines.index(LAST)
    return [fence for fence in PAGES[0].fences if first < fence.line < last]


def is_of_first_table(fence: Fence) -> bool:
    """Whether a block is one of those that run here."""
    return fence in _find_blocks()


def _build_script(blocks: list[Fence]) -> str:
    lines = [line for block in blocks if block.kind == "sh" for line in block.text.splitlines()]
    kept = [line for line in lines if not line.startswith(LEFT_OUT)]
    return "\n".join(["set -eux", *kept])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy: what is declared in it is in no other test's way."""
    copy = tmp_path / "project"
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__", "PL_*", "DF_*"))
        else:
            copy.mkdir(exist_ok=True)
            shutil.copyfile(source, copy / name)
    return copy


def test_the_first_table_is_archived_as_the_readme_says(project: Path, tmp_path: Path) -> None:
    blocks = _find_blocks()
    (declaration,) = [block for block in blocks if block.kind == "yaml"]
    home = tmp_path / "home"
    (home / "adfml").mkdir(parents=True)
    with closing(sqlite3.connect(home / "adfml/crm.sqlite")) as database:
        database.execute("CREATE TABLE Accounts (AccountId INTEGER PRIMARY KEY, Name VARCHAR(50))")
        database.execute("CREATE TABLE Orders (OrderId INTEGER PRIMARY KEY, Amount NUMERIC(9, 2))")
        database.execute("INSERT INTO Accounts VALUES (1, 'a'), (2, 'b')")
        database.commit()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ADFML_", "DAGSTER_"))},
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": sys.prefix,
        "PYTHONPATH": str(project),
    }
    done = subprocess.run(
        ["bash", "-c", _build_script(blocks)], cwd=project, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shown, written = (yaml.safe_load(text) for text in (declaration.text, (project / WRITTEN).read_text()))
    tables = [[one["table"] for one in declared["attributes"]["tables"]] for declared in (shown, written)]
    assert shown["type"] == written["type"]
    assert tables[0] == tables[1], "the README shows what the command writes"
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    archived = home / f"adfml/lake/archive/crm/main/Accounts/snapshot_date={today}"
    assert f"{archived}/Accounts_" in done.stdout, "the last command lists the file"
    manifest = json.loads((archived / "_manifest.json").read_text())
    assert sum(file["rows"] for file in manifest["files"]) == 2
