"""What SQLite declares of its tables."""

from __future__ import annotations

from typing import Any, Protocol

from resources.errors import NotFound
from resources.servers.base import Column, TableName, TableSchema
from resources.servers.sqlite_queries import ROW_IDS, quote, quote_table
from resources.servers.sqlite_types import UNDECLARED, Kind, find_arrow_type, find_conversion

SCHEMA = "main"
_HIDDEN = 1  # a column of a virtual table that `SELECT *` leaves out
_MOST_COLUMNS_WITH_ROW_ID = 1000  # SQLite has at most 2,000 columns in a result, where not built for fewer
_TEXT_BYTES = 24


class Fetching(Protocol):
    """What runs a small query: a connection."""

    def fetch(self, sql: str, parameters: list[int | str | None]) -> list[tuple[Any, ...]]:
        """Its rows."""
        ...


def list_tables(connection: Fetching) -> list[TableName]:
    """All tables, sorted: neither views nor SQLite's own, nor those in which a virtual table keeps its content."""
    import sqlite3

    if sqlite3.sqlite_version_info >= (3, 37):
        sql = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'virtual')"
    else:
        sql = "SELECT name FROM sqlite_master WHERE type = 'table'"
    names = [str(name) for (name,) in connection.fetch(sql, [])]
    return sorted(TableName(SCHEMA, name) for name in names if not name.lower().startswith("sqlite_"))


def describe_table(connection: Fetching, database: str, name: TableName) -> TableSchema:
    """A table's or view's declaration.

    Raises:
        NotFound: there is none of exactly that name.
    """
    require_table(connection, database, name)
    sql = f"PRAGMA {quote(SCHEMA)}.table_xinfo({quote(name.table)})"
    rows = [row for row in connection.fetch(sql, []) if row[6] != _HIDDEN]
    columns = []
    for _, column, declared, not_null, *_ in rows:
        conversion = find_conversion(declared or "")
        source_type = declared or UNDECLARED
        columns.append(Column(column, source_type, find_arrow_type(conversion), not not_null, conversion.note))
    key = sorted((row[5], row[1]) for row in rows if row[5])
    schema = TableSchema(name, tuple(columns), tuple(column for _, column in key))
    return TableSchema(name, schema.columns, schema.primary_key, _estimate_bytes(connection, schema))


def require_table(connection: Fetching, database: str, name: TableName) -> None:
    """Make sure a table or view exists.

    Raises:
        NotFound: it does not; with those that do.
    """
    if name.schema != SCHEMA:
        raise NotFound("schema", name.schema, f"database '{database}'", [SCHEMA])
    existing = [
        str(row[0])
        for row in connection.fetch("SELECT name FROM main.sqlite_master WHERE type IN ('table', 'view')", [])
    ]
    if name.table not in existing:
        listed = [table for table in existing if not table.lower().startswith("sqlite_")]
        raise NotFound("table", name.table, f"database '{database}', schema '{SCHEMA}'", listed)


def find_row_id(connection: Fetching, table: TableSchema) -> str | None:
    """A name under which each row's id can be read; None: there are no ids, or all their names are taken."""
    sql = "SELECT sql FROM main.sqlite_master WHERE type = 'table' AND name = ? AND rootpage > 0"
    if len(table.columns) > _MOST_COLUMNS_WITH_ROW_ID or not connection.fetch(sql, [table.name.table]):
        return None
    taken = {column.name.lower() for column in table.columns}
    row_id = next((name for name in ROW_IDS if name not in taken), None)
    if row_id is None or not _has_row_ids(connection, table.name):
        return None
    return row_id


def find_row_ids(connection: Fetching, name: TableName, row_id: str) -> tuple[Any, Any]:
    """The smallest and the largest row id of a table; None and None where it is empty."""
    # As two queries: each goes to one end of the tree, while min and max in one would read all of it.
    column = f"{quote(name.table)}.{row_id}"
    low, high = (
        connection.fetch(f"SELECT {function}({column}) FROM {quote_table(name)}", [])[0][0]  # noqa: S608 - quoted
        for function in ("min", "max")
    )
    return low, high


def _has_row_ids(connection: Fetching, name: TableName) -> bool:
    # The primary key of a table WITHOUT ROWID is the table: its index has every column, and no page of its own.
    indexes = connection.fetch(f"PRAGMA {quote(SCHEMA)}.index_list({quote(name.table)})", [])
    keys = [index for _, index, _, origin, *_ in indexes if origin == "pk"]
    sql = "SELECT count(*) FROM main.sqlite_master WHERE type = 'index' AND name = ?"
    return all(connection.fetch(sql, [key])[0][0] for key in keys)


def _estimate_bytes(connection: Fetching, table: TableSchema) -> int | None:
    """The span of the row ids by a usual width, and never more than the file; None where there are no row ids."""
    row_id = find_row_id(connection, table)
    if row_id is None:
        return None
    low, high = find_row_ids(connection, table.name, row_id)
    pages = connection.fetch("PRAGMA main.page_count", [])[0][0]
    size = connection.fetch("PRAGMA main.page_size", [])[0][0]
    if low is None:
        return 0
    kinds = [find_conversion(column.source_type).kind for column in table.columns]
    width = sum(_TEXT_BYTES if kind >= Kind.TEXT else 8 for kind in kinds)
    return int(min((high - low + 1) * width, pages * size))
