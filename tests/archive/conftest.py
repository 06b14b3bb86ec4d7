"""The archive over every kind of server that can run here: the same tests, one fixture."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from adfml_assets.archive.copying import Archived
from adfml_assets.archive.increment import take_increment
from adfml_assets.archive.plan import ArchivePlan
from adfml_assets.archive.run import ArchiveRun, CopyOptions, closing_run
from adfml_assets.archive.snapshot import take_snapshot
from adfml_assets.archive.tables import SourceTable, TableRules
from resources.control import ControlDatabase
from resources.database import Databases
from resources.lake import Lake
from resources.manifest import list_data_paths
from resources.servers.base import Mismatches, Watermark
from tests.conftest import NOW, TODAY
from tests.postgresql_server import RunningPostgresql, run_postgresql

EVERYTHING = TableRules()
MODIFIED = TableRules(Watermark("ModifiedDate"))

TRANSACTIONS = (
    'CREATE TABLE "Transactions" ("TransactionId" INTEGER PRIMARY KEY, "InvoiceNo" VARCHAR(20) NOT NULL, '
    '"CustomerId" INTEGER, "Quantity" INTEGER NOT NULL, "UnitPrice" NUMERIC(12, 3) NOT NULL, '
    '"TransactionDate" TIMESTAMP NOT NULL, "ModifiedDate" TIMESTAMP)'
)


@dataclass
class Source:
    """A source database of some kind, with a table Transactions; the test writes into it as an application would."""

    kind: str
    schema: str
    engine: sa.Engine

    @property
    def transactions(self) -> SourceTable:
        """The table Transactions."""
        return SourceTable("shop", self.schema, "Transactions")

    def table(self, name: str) -> SourceTable:
        """Any table."""
        return SourceTable("shop", self.schema, name)

    def execute(self, *statements: str, **values: Any) -> None:
        """Run statements in one transaction."""
        with self.engine.begin() as connection:
            for statement in statements:
                connection.execute(sa.text(statement), values)

    def add(self, number: int, modified: str | None, *, customer: int | None = 1, price: str = "10") -> None:
        """Add a transaction."""
        self.execute(
            'INSERT INTO "Transactions" VALUES (:id, :invoice, :customer, 1, '
            + f"{float(price)!r}, :at, {'NULL' if modified is None else ':at'})",
            id=number,
            invoice=f"I{number}",
            customer=customer,
            at=modified or "2026-01-01 00:00:00.000000",
        )


@pytest.fixture(scope="session")
def postgresql() -> Iterator[RunningPostgresql]:
    with run_postgresql() as server:
        yield server


@contextmanager
def _open_url(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[sa.URL]:
    if kind == "sqlite":
        with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        yield sa.make_url(f"sqlite:///{tmp_path}/shop.sqlite")
    elif kind == "duckdb":
        yield sa.make_url(f"duckdb:///{tmp_path}/shop.duckdb")
    else:
        with request.getfixturevalue("postgresql").database() as url:
            yield url


@contextmanager
def open_source(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Source]:
    """A source of a kind, which is the database `shop` of the deployment."""
    with _open_url(kind, tmp_path, request) as url:
        monkeypatch.setenv("ADFML_SHOP_URL", url.render_as_string(hide_password=False))
        engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
        found = Source(kind, "public" if kind == "postgresql" else "main", engine)
        found.execute(TRANSACTIONS)
        yield found


@pytest.fixture(params=["sqlite", "postgresql", "duckdb"])
def source(
    request: pytest.FixtureRequest, tmp_path: Path, _settings: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Source]:
    with open_source(request.param, tmp_path, request, monkeypatch) as found:
        yield found


@dataclass
class Archive:
    """The archive as a run sees it."""

    lake: Lake
    databases: Databases
    control: ControlDatabase

    @contextmanager
    def run(
        self,
        now: datetime = NOW,
        run_id: str = "run",
        options: CopyOptions | None = None,
        mismatches: Mismatches = "fail",
        watermarks_in: Any = "control",
    ) -> Iterator[ArchiveRun]:
        """A run over the database `shop`."""
        plan = ArchivePlan(
            "shop", "full", {}, options=options or CopyOptions(), mismatches=mismatches, watermarks_in=watermarks_in
        )
        opened = plan.open_run(self.databases, self.lake, self.control, now=now, run_id=run_id)
        with closing_run(opened) as run:
            yield run

    def snapshot(self, table: SourceTable, day: str = TODAY, *, rules: TableRules = EVERYTHING, **run: Any) -> Archived:
        """A full snapshot, by a run of its own."""
        with self.run(**run) as opened:
            return take_snapshot(opened, table, rules, day, asset=f"archive/{table.full_name}")

    def increment(self, table: SourceTable, day: str = TODAY, *, rules: TableRules = MODIFIED, **run: Any) -> Archived:
        """An incremental extract, by a run of its own."""
        with self.run(**run) as opened:
            return take_increment(opened, table, rules, day, asset=f"incremental/{table.full_name}")

    def read(self, archived: Archived) -> list[dict[str, Any]]:
        """All rows of a partition."""
        paths = list_data_paths(archived.folder, archived.manifest)
        return [row for path in paths for row in self.lake.read_table(path).to_pylist()]

    def ids(self, archived: Archived) -> list[int]:
        """The sorted TransactionIds of a partition."""
        return sorted(row["TransactionId"] for row in self.read(archived))


@pytest.fixture
def archive(lake: Lake, databases: Databases, control: ControlDatabase) -> Archive:
    return Archive(lake, databases, control)
