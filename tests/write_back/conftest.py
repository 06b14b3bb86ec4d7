"""SQLite, DuckDB and a real PostgreSQL, all without any table when a test begins; scores to be written to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy as sa

from adfml_assets.write_back.progress import Partition
from adfml_assets.write_back.run import Rows, write_partition
from adfml_assets.write_back.scored_rows import ScoredRows
from adfml_assets.write_back.target import Target
from adfml_assets.write_back.written import Written
from resources.database import Databases
from tests.postgresql_server import connect, run_postgresql

DAY = date(2026, 3, 10)
EARLIER, LATER = date(2026, 3, 9), date(2026, 3, 11)
SCORED_AT = datetime(2026, 3, 10, 12, tzinfo=UTC)
TARGET = Target("shop", None, "Predictions", ("RecordId", "ModelName"), newer="SnapshotDate")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[sa.URL]:
    """A database of a server of its own."""
    with run_postgresql() as running:
        yield running.url


@dataclass
class Place:
    """A database that is written to.

    Attributes:
        dialect: `sqlite`, `duckdb` or `postgresql`.
        databases: where it is called `shop`.
    """

    dialect: str
    url: str
    databases: Databases = field(default_factory=Databases)

    def execute(self, *statements: str) -> None:
        """Run statements, each by itself."""
        with self.databases.connect("shop") as connection, connection.begin():
            for statement in statements:
                connection.exec_driver_sql(statement)

    def fetch(self, query: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.databases.connect("shop") as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def read(self, table: str = "Predictions") -> dict[tuple[Any, ...], dict[str, Any]]:
        """The rows of a table by its key, each by column, as Python has the values."""
        with self.databases.connect("shop") as connection:
            found = sa.Table(table, sa.MetaData(), autoload_with=connection)
            query = sa.select(found).order_by(*found.primary_key)
            rows = [dict(row) for row in connection.execute(query).mappings()]
        keys = [column.name for column in found.primary_key]
        return {tuple(row[key] for key in keys): row for row in rows}

    def describe(self, table: str = "Predictions") -> dict[str, str]:
        """The columns of a table with their types, as SQLAlchemy reads them."""
        with self.databases.connect("shop") as connection:
            return {column["name"]: str(column["type"]) for column in sa.inspect(connection).get_columns(table)}

    def list_tables(self) -> set[str]:
        """All tables, temporary ones of this session too."""
        with self.databases.connect("shop") as connection:
            inspector = sa.inspect(connection)
            return {*inspector.get_table_names(), *inspector.get_temp_table_names()}

    def close(self) -> None:
        """Close the connections that are kept."""
        self.databases.engine("shop").dispose()


@pytest.fixture(params=["sqlite", "duckdb", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    if request.param != "postgresql":
        path = tmp_path / f"shop.{request.param}"
        if request.param == "sqlite":
            path.touch()
        else:
            duckdb.connect(path).close()
        url = f"{request.param}:///{path}"
        monkeypatch.setenv("ADFML_SHOP_URL", url)
        opened = Place(request.param, url)
        yield opened
        opened.close()
        return
    address: sa.URL = request.getfixturevalue("postgresql")
    with connect(address) as connection:
        # Many times as fast as a database of its own.
        connection.execute("DROP SCHEMA IF EXISTS results CASCADE")
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    url = address.render_as_string(hide_password=False)
    monkeypatch.setenv("ADFML_SHOP_URL", url)
    opened = Place("postgresql", url)
    yield opened
    opened.close()


def make_rows(values: Mapping[int, float], *, day: date = DAY, model: str = "m", batch: int = 3) -> Rows:
    """Scores by record, in the order they are given in."""
    table = pa.table(
        {
            "RecordId": pa.array(list(values), pa.int64()),
            "score": pa.array(list(values.values()), pa.float64()),
            "scored_at": pa.array([SCORED_AT] * len(values), pa.timestamp("us", "UTC")),
        }
    )
    columns = {"RecordId": "RecordId", "Score": "score", "ScoredAt": "scored_at"}
    return to_rows(table, columns, {"ModelName": model, "SnapshotDate": day}, batch)


def to_rows(
    table: pa.Table,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, Any] | None = None,
    batch: int = 3,
) -> Rows:
    """A table's rows, in small batches; by their own names where no others are given."""
    named = columns if columns is not None else {name: name for name in table.column_names}
    return Rows(table.schema, iter(table.to_batches(max_chunksize=batch)), named, constants or {})


def write(
    place: Place,
    values: Mapping[int, float],
    *,
    target: Target = TARGET,
    day: date = DAY,
    model: str = "m",
    digest: str = "d",
    mark: ScoredRows | None = None,
) -> Written:
    """Write scores; the partition is the day's."""
    of = Partition("scores", f"{day}", digest)
    return write_partition(place.databases, target, make_rows(values, day=day, model=model), of=of, mark=mark)


def scores_of(place: Place) -> dict[int, float]:
    """What the table says of each record."""
    return {row["RecordId"]: row["Score"] for row in place.read().values()}


def count(written: Written) -> tuple[int, int, int, int]:
    """Inserted, updated, unchanged and kept rows, which are all there are."""
    parts = (written.inserted, written.updated, written.unchanged, written.kept_newer)
    assert sum(parts) == written.rows
    return parts


def square(records: Iterable[int], by: float = 0.5) -> dict[int, float]:
    """Some score of each record."""
    return {record: record * record * by for record in records}
