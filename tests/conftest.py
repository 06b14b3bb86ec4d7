"""What tests share: a lake, a control database and a small shop, all real, in folders of their own."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling

from adfml_assets.archive.copying import Archived
from adfml_assets.archive.plan import ArchivePlan
from adfml_assets.archive.run import closing_run
from adfml_assets.archive.snapshot import take_snapshot
from adfml_assets.archive.tables import SourceTable, TableRules
from resources.control import ControlDatabase
from resources.database import Databases
from resources.key_vault import forget_secrets
from resources.lake import Lake

NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)
TODAY = "2026-03-10"
TRANSACTIONS = SourceTable("shop", "main", "Transactions")

LONGEST = ("demo_run", "daemon", "openai_batch", "azure_ml_batch", "write_back")
"""The folders that take longest, from 50 s of CPU."""


class FolderScheduling(LoadScopeScheduling):
    """Tests that share servers run on one worker: each folder below this one, and each file beside it."""

    def _split_scope(self, nodeid: str) -> str:
        return "/".join(nodeid.partition("::")[0].split("/")[:2])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FolderScheduling:
    return FolderScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest folders first, so that no worker is left with one of them at the end; `soak` in `make soak` only."""
    if "ADFML_TEST_KILLS" not in os.environ:
        items[:] = [item for item in items if item.get_closest_marker("soak") is None]

    def rank(item: pytest.Item) -> tuple[int, bool]:
        folder = item.nodeid.removeprefix("tests/").partition("/")[0]
        place = LONGEST.index(folder) if folder in LONGEST else len(LONGEST)
        return place, item.get_closest_marker("slow") is None

    items.sort(key=rank)


@pytest.fixture(autouse=True)
def _settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings of the machine it runs on."""
    for name in list(os.environ):
        if name.startswith(("ADFML_", "DAGSTER_", "IDENTITY_", "MLFLOW_", "AZURE_", "DATABRICKS_")):
            monkeypatch.delenv(name)
    forget_secrets()
    monkeypatch.setenv("ADFML_LAKE", str(tmp_path / "lake"))
    monkeypatch.setenv("ADFML_CONTROL_URL", f"sqlite:///{tmp_path}/control.sqlite")
    monkeypatch.setenv("ADFML_SHOP_URL", f"sqlite:///{tmp_path}/shop.sqlite")


@pytest.fixture
def lake() -> Lake:
    return Lake()


@pytest.fixture
def control() -> ControlDatabase:
    return ControlDatabase()


@pytest.fixture
def databases() -> Databases:
    return Databases()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A shop's Transactions, open for the test to write into; commit to let the code under test see it."""
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(
            "CREATE TABLE Transactions (TransactionId INTEGER PRIMARY KEY, InvoiceNo VARCHAR(20) NOT NULL, "
            "CustomerId INTEGER, Quantity INTEGER NOT NULL, UnitPrice NUMERIC(12, 3) NOT NULL, "
            "TransactionDate DATETIME NOT NULL, ModifiedDate DATETIME)"
        )
        connection.commit()
        yield connection


def add_line(
    shop: sqlite3.Connection,
    customer: int | None,
    when: str,
    *,
    invoice: str | None = None,
    quantity: int = 1,
    price: float = 10.0,
    modified: str | None = "",
) -> int:
    """Add a transaction line; `modified` is `when` unless told. Returns its id."""
    cursor = shop.execute(
        "INSERT INTO Transactions (InvoiceNo, CustomerId, Quantity, UnitPrice, TransactionDate, ModifiedDate) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (invoice or f"I{customer}-{when}", customer, quantity, price, when, when if modified == "" else modified),
    )
    shop.commit()
    return int(cursor.lastrowid or 0)


def archive_transactions(lake: Lake, databases: Databases, control: ControlDatabase) -> Archived:
    """Today's full snapshot of the shop's Transactions."""
    plan = ArchivePlan("shop", "full", {})
    with closing_run(plan.open_run(databases, lake, control, now=NOW, run_id="r")) as run:
        return take_snapshot(run, TRANSACTIONS, TableRules(), TODAY, asset="archive/shop/main/Transactions")


def stamp(day: str, time: str = "12:00:00.000000") -> str:
    """A date-time as SQLAlchemy stores it in SQLite."""
    return f"{day} {time}"
