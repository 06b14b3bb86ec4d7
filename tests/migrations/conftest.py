"""Control databases of every age, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from resources.control import connect_control
from resources.control_tables import metadata
from resources.migrations.history import build_config
from resources.migrations.revisions import version_table
from tests.postgresql_server import RunningPostgresql, run_postgresql

REVISIONS = [
    str(found.revision) for found in reversed(list(ScriptDirectory.from_config(build_config()).walk_revisions()))
]


@pytest.fixture(scope="package")
def postgresql() -> Iterator[RunningPostgresql]:
    with run_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The address of a database that is empty, or not there yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/new.sqlite"
        return
    with request.getfixturevalue("postgresql").database() as empty:
        yield empty.render_as_string(hide_password=False)


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    engine = connect_control(url)
    yield engine
    engine.dispose()


def make_at(engine: sa.Engine, revision: str) -> None:
    """A database as the code of a revision left it."""
    with engine.begin() as connection:
        command.upgrade(build_config(connection=connection), revision)


def read_version(engine: sa.Engine) -> str:
    """The revision that is written in a database."""
    with engine.connect() as connection:
        return str(connection.execute(sa.select(version_table.c.version_num)).scalar_one())


def list_differences(engine: sa.Engine) -> list[Any]:
    """What alembic finds different between a database and the tables declared; the version table is alembic's own."""
    with engine.connect() as connection:
        options = {"include_name": lambda name, kind, _: name != version_table.name}
        return compare_metadata(MigrationContext.configure(connection, opts=options), metadata)


def fill(engine: sa.Engine, rows: int = 3) -> dict[str, list[dict[str, Any]]]:
    """Rows with a value in every column of every table there is. Returns them, by table."""
    found = sa.MetaData()
    found.reflect(engine)
    filled = {}
    with engine.begin() as connection:
        for table in found.sorted_tables:
            if table.name not in metadata.tables:
                continue
            wanted = [{column.name: _value(column, n) for column in table.columns} for n in range(1, rows + 1)]
            connection.execute(table.delete())
            connection.execute(table.insert(), wanted)
            filled[table.name] = wanted
    return filled


def read_rows(engine: sa.Engine, table: str, columns: list[str]) -> list[dict[str, Any]]:
    """A table's rows in some of its columns, in the order of the first."""
    found = sa.Table(table, sa.MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        query = sa.select(*(found.c[column] for column in columns)).order_by(found.c[columns[0]])
        return [dict(row) for row in connection.execute(query).mappings()]


def _value(column: sa.Column[Any], number: int) -> Any:
    if isinstance(column.type, sa.DateTime):
        return datetime(2026, 3, number, 9, 30, 15, 123456)
    return number if isinstance(column.type, sa.Integer) else f"{number} é'\""
