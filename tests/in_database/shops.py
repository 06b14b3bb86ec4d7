"""A database `shop` of its own for a test, on SQLite, DuckDB or the real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
import sqlalchemy as sa

from tests.postgresql_server import RunningPostgresql


@contextmanager
def open_shop(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """An empty database at ADFML_SHOP_URL.

    Args:
        kind: sqlite, duckdb or postgresql.
    """
    if kind == "sqlite":
        path: Path = request.getfixturevalue("tmp_path") / "shop.sqlite"
        path.touch()
        yield _connect(f"sqlite:///{path}", monkeypatch)
        return
    if kind == "duckdb":
        path = request.getfixturevalue("tmp_path") / "shop.duckdb"
        duckdb.connect(path).close()
        yield _connect(f"duckdb:///{path}", monkeypatch)
        return
    server: RunningPostgresql = request.getfixturevalue("postgresql")
    with server.database() as url:
        yield _connect(url.render_as_string(hide_password=False), monkeypatch)


@contextmanager
def open_customers(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    """A database with 30 customers, half of them from the UK, and a view of ten."""
    with open_shop(kind, request, monkeypatch) as opened:
        with opened.begin() as connection:
            connection.execute(sa.text('CREATE TABLE "Customers" ("Id" INTEGER, "Country" VARCHAR(9))'))
            rows = [{"id": number, "country": "UK" if number % 2 else "a:b%"} for number in range(30)]
            connection.execute(sa.text('INSERT INTO "Customers" VALUES (:id, :country)'), rows)
            connection.execute(sa.text('CREATE VIEW waiting AS SELECT * FROM "Customers" WHERE "Id" < 10'))
        yield opened


def schema_of(engine: sa.Engine) -> str:
    """The schema of its tables."""
    return "public" if engine.dialect.name == "postgresql" else "main"


def _connect(url: str, monkeypatch: pytest.MonkeyPatch) -> sa.Engine:
    monkeypatch.setenv("ADFML_SHOP_URL", url)
    return sa.create_engine(url, poolclass=sa.NullPool)
