"""docs/first-hour.md, from the own database on: its blocks as they stand, by a shell, in a copy of the project."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from demo.sample_shop import ensure_sample_shop
from tests.docs.pages import ROOT, Fence, Page

pytestmark = pytest.mark.soak
PAGE = Page(ROOT / "docs/first-hour.md")
BESIDE = "dagster-daemon "
"""Runs for as long as the others do."""

# The demo and its UI are what tests/demo_run looks at; of the rest everything is installed here.
LEFT_OUT = ("make demo", "make ui", ". .venv/bin/activate")
COPIED = ("adfml_assets", "adfml_cli", "resources", "sensors", "workloads", "local_cloud", "demo")
FILES = ("Makefile", "dagster.yaml", "workspace.yaml", "pyproject.toml", "constraints.txt")


def build_script(blocks: list[Fence]) -> str:
    lines = [line for block in blocks if block.kind == "sh" for line in block.text.splitlines()]
    kept = [line for line in lines if not line.startswith(LEFT_OUT)]
    stop = "python -m local_cloud stop --state ~/adfml/cloud; kill %1; wait"
    shown = [f"{line} > daemon.log 2>&1 &" if line.startswith(BESIDE) else line for line in kept]
    return "\n".join(["set -eux", f"trap '{stop}' EXIT", *shown])


def make_crm(path: Path, folder: Path) -> None:
    """Accounts and their orders, as a shop had them until today."""
    shop = folder / "shop.sqlite"
    ensure_sample_shop(shop, customers=600, days=500)
    with closing(sqlite3.connect(path)) as crm:
        crm.execute("ATTACH ? AS shop", (str(shop),))
        crm.executescript(
            """
            CREATE TABLE Accounts (AccountId INTEGER PRIMARY KEY, Country VARCHAR(60));
            CREATE TABLE Orders (OrderId INTEGER PRIMARY KEY, AccountId INTEGER NOT NULL, Amount NUMERIC(12, 2),
                                 OrderedAt TIMESTAMP NOT NULL);
            INSERT INTO Accounts SELECT CustomerId, Country FROM shop.Customers;
            INSERT INTO Orders SELECT TransactionId, CustomerId, round(Quantity * UnitPrice, 2),
                   strftime('%Y-%m-%d %H:%M:%S', TransactionDate, '+' || cast(
                       julianday('now', '-1 hour') - (SELECT max(julianday(TransactionDate)) FROM shop.Transactions)
                   AS TEXT) || ' days')
            FROM shop.Transactions WHERE CustomerId IS NOT NULL AND Quantity > 0;
            """
        )


@pytest.mark.timeout(1200)
def test_a_database_of_ones_own_is_archived_a_model_trained_and_its_scores_written_back(tmp_path: Path) -> None:
    project, home = tmp_path / "project", tmp_path / "home"
    for name in COPIED:
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy2(ROOT / name, project / name)  # its age, too: make sees that nothing is to be installed
    (project / ".venv").symlink_to(sys.prefix)
    (home / "adfml").mkdir(parents=True)
    make_crm(home / "adfml/crm.sqlite", tmp_path)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ADFML_", "DAGSTER_"))},
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": sys.prefix,
        "PYTHONPATH": str(project),
    }
    done = subprocess.run(
        ["bash", "-c", build_script(PAGE.fences)],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1100,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    assert "0 failed" in done.stdout, "the doctor finds all well"
    with closing(sqlite3.connect(home / "adfml/crm.sqlite")) as crm:
        (scored,) = crm.execute("SELECT count(*) FROM Predictions WHERE ModelVersion = '1'").fetchone()
        (known,) = crm.execute("SELECT count(DISTINCT AccountId) FROM Orders").fetchone()
    assert scored == known
