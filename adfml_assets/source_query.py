"""Rows of a table or view of a source database, typed exactly, as record batches: what `from_query` reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from adfml_assets.errors import AdfmlError
from resources.database import Databases
from resources.errors import NotFound
from resources.servers.base import Server, Snapshot, TableName, TableQuery
from resources.servers.opening import open_server
from resources.settings import database_setting

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import ColumnElement


class TableChanged(AdfmlError):
    """A table's columns were changed between looking at it and reading it."""

    def __init__(self, table: str) -> None:
        self.table = table
        super().__init__(f"{table} was changed while it was about to be read. Materialise the partition again.")


def read_rows(
    databases: Databases, database: str, schema: str, table: str, where: str | None, columns: Sequence[str] | None
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The rows of a table or view: their schema at once, and the rows as batches of about 8 MB, in constant memory.

    Nothing is held open before the first batch is asked for, nor after the last one or after the iterator is closed.

    Args:
        where: a SQL condition in the server's own words; None: all rows. See `within_days` and `join_conditions`.
        columns: those to read, in order; None: all.

    Raises:
        NotFound: the table or a column is not there; with those that are.
        Unreachable, NotPermitted, UnsupportedColumn: see `Snapshot.describe`.
        TableChanged: while reading: the columns are no longer what they were.
        UnexpectedValue, ConnectionLost, Refused: while reading, see `Snapshot.read`.
    """
    server = _open(databases, database)
    name = TableName(schema, table)
    with server.open_snapshot() as snapshot:
        found = snapshot.schema_of(_build_query(snapshot, database, name, where, columns))

    def generate() -> Iterator[pa.RecordBatch]:
        with server.open_snapshot() as snapshot:
            query = _build_query(snapshot, database, name, where, columns)
            if not snapshot.schema_of(query).equals(found):
                raise TableChanged(f"{database}.{name}")
            yield from snapshot.read(query)

    return found, generate()


def count_null(databases: Databases, database: str, schema: str, table: str, column: str, where: str | None) -> int:
    """How many rows of a table have no value in a column, counted by the server.

    Raises:
        NotFound, Unreachable, NotPermitted, UnsupportedColumn, Refused: as for `read_rows`.
    """
    with _open(databases, database).open_snapshot() as snapshot:
        return snapshot.count_null(snapshot.describe(TableName(schema, table)), column, where)


def within_days(databases: Databases, database: str, column: str, first: date | None, last: date | None) -> str | None:
    """The condition that a column lies between two days, both of them whole; None: neither is given.

    Name and values are rendered by the database's dialect. A bound of `YYYY-MM-DD` is compared as a date; SQLite, which
    keeps moments as text that begins with the day, compares it as text.
    """
    import sqlalchemy as sa

    engine = databases.engine(database)
    is_text = engine.dialect.name == "sqlite"
    compared: ColumnElement[date] = sa.column(column, sa.Date)
    compared = sa.collate(sa.column(column, sa.String), "BINARY") if is_text else compared  # type: ignore[assignment]

    def bound(day: date) -> ColumnElement[date]:
        literal = sa.literal(day, sa.Date)
        # Without the cast SQL Server takes the text for a datetime in the order of the login's language.
        return literal if is_text else sa.cast(literal, sa.DATE)

    conditions = []
    if first is not None:
        conditions.append(compared >= bound(first))
    if last is not None and last < date.max:
        conditions.append(compared < bound(last + timedelta(days=1)))
    if not conditions:
        return None
    # The engine's own dialect would double every %: it is made for statements with parameters.
    make_dialect: Any = type(engine.dialect)
    dialect = make_dialect(paramstyle="named")
    return str(sa.and_(*conditions).compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


def join_conditions(*conditions: str | None) -> str | None:
    """Conditions of which all have to hold; None: there is none."""
    # On lines of their own: a comment at the end of one ends with it.
    given = [f"(\n{condition}\n)" for condition in conditions if condition]
    return " AND ".join(given) or None


def _open(databases: Databases, database: str) -> Server:
    return open_server(databases.engine(database), database, database_setting(database))


def _build_query(
    snapshot: Snapshot, database: str, name: TableName, where: str | None, columns: Sequence[str] | None
) -> TableQuery:
    described = snapshot.describe(name)
    existing = [column.name for column in described.columns]
    for column in columns or ():
        if column not in existing:
            raise NotFound("column", column, f"{database}.{name}", existing)
    return TableQuery(described, tuple(columns if columns is not None else existing), where)
