"""Updating rows of a table in bulk: staged, then one set-based UPDATE (the pipelines' row-by-row usp_UpdateSentiment).

For pipelines on SQL Server that go on calling a procedure, the same is in resources/sql/usp_UpdateSentiment.sql.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from adfml_assets.write_back.staging import INSERT_ROWS, make_staging
from adfml_assets.write_back.upsert import require_unique
from resources.database import Databases, require_table
from resources.duckdb_file import write_alone
from resources.errors import NotFound

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy import Connection


def update_rows(
    databases: Databases,
    database: str,
    schema: str | None,
    table: str,
    keys: Sequence[str],
    rows: pa.Table,
    *,
    only: Mapping[str, Any] | None = None,
    newer: str | None = None,
) -> int:
    """Set the columns of existing rows, found by key, in one transaction: all of them change, or none.

    Rows of the table that are not in `rows` stay as they are, and rows that are not in the table are left out: nothing
    is ever inserted.

    Args:
        keys: the columns that identify a row.
        rows: the keys and the columns to set, by the table's names; NULL sets NULL.
        only: change a row only where it still has these values, for example {"scored": 0}: a second call changes
            nothing.
        newer: of these columns the one whose larger value wins: a row that has a larger one stays as it is.

    Returns:
        How many rows of the table were changed.

    Raises:
        NotFound: there is no such table, or it has no such column, or a key is not among the rows' columns.
        DuplicateKeys: several of the rows have one key; nothing was changed.
        Unreachable: the database does not answer.
    """
    with begin_update(databases, database) as connection:
        target = reflect_table(connection, database, schema, table)
        return update_in(connection, target, keys, rows, only=only, newer=newer)


@contextmanager
def begin_update(databases: Databases, database: str) -> Iterator[Connection]:
    """A transaction for `update_in`: nobody else writes between what it reads and what it writes.

    Raises:
        Unreachable: the database does not answer.
    """
    with databases.connect(database) as connection, write_alone(connection), connection.begin():
        if connection.dialect.name == "sqlite":
            # Its driver would begin as a reader, and fail where another one writes before it does.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection


def reflect_table(connection: Connection, database: str, schema: str | None, table: str) -> sa.Table:
    """A table as the database has it.

    Raises:
        NotFound: it does not exist; with the names that do.
    """
    import sqlalchemy as sa

    require_table(connection, database, schema, table)
    return sa.Table(table, sa.MetaData(), schema=schema, autoload_with=connection, resolve_fks=False)


def update_in(
    connection: Connection,
    target: sa.Table,
    keys: Sequence[str],
    rows: pa.Table,
    *,
    only: Mapping[str, Any] | None = None,
    newer: str | None = None,
) -> int:
    """The same within the caller's transaction, on a table that is reflected already."""
    import sqlalchemy as sa

    for key in keys:
        if key not in rows.column_names:
            raise NotFound("column", key, f"the rows to update {target.fullname} with", rows.column_names)
    for column in (*rows.column_names, *(only or {})):
        if column not in target.columns:
            raise NotFound("column", column, f"table {target.fullname}", target.columns.keys())
    changed = [name for name in rows.column_names if name not in keys]
    if not changed or rows.num_rows == 0:
        return 0
    staging = make_staging(connection, target, rows.column_names)
    for values in _to_rows(rows, target):
        connection.execute(staging.insert(), values)
    require_unique(connection, staging, {key: staging.c[key] for key in keys}, target)
    match = [target.c[key] == staging.c[key] for key in keys]
    unchanged = [target.c[name] == _build_literal(target.c[name], value) for name, value in (only or {}).items()]
    if newer is not None:
        unchanged.append(sa.or_(target.c[newer].is_(None), target.c[newer] <= staging.c[newer]))
    update = target.update().values({name: staging.c[name] for name in changed}).where(*match, *unchanged)
    count = connection.execute(update).rowcount
    staging.drop(connection)
    return count


def _build_literal(column: sa.Column[Any], value: Any) -> sa.ColumnElement[Any]:
    import sqlalchemy as sa

    convert = _find_converter(column)
    return sa.literal(convert(value) if convert and value is not None else value, column.type)


def _to_rows(rows: pa.Table, target: sa.Table) -> Iterator[list[dict[str, Any]]]:
    converters = {name: convert for name in rows.column_names if (convert := _find_converter(target.c[name]))}
    for batch in rows.to_batches(max_chunksize=INSERT_ROWS):
        values = batch.to_pylist()
        for row in values if converters else ():
            for name, convert in converters.items():
                if row[name] is not None:
                    row[name] = convert(row[name])
        yield values


def _find_converter(column: sa.Column[Any]) -> Any:
    """From what Parquet holds to what the column's driver takes: UUIDs and decimals are text there, bits numbers."""
    import sqlalchemy as sa

    if isinstance(column.type, sa.Boolean):
        return bool
    if isinstance(column.type, sa.Uuid) and column.type.as_uuid:
        return lambda value: uuid.UUID(value) if isinstance(value, str) else value
    if isinstance(column.type, sa.Numeric) and not isinstance(column.type, sa.Float):
        return lambda value: Decimal(value) if isinstance(value, str) else value
    return None
