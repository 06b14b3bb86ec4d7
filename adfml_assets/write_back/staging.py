"""Where rows wait to be upserted: a staging table, filled as fast as each database can."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from adfml_assets.write_back.staged_columns import StagedColumn

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy import Connection

NAME = "adfml_staging"
INSERT_ROWS = 10_000


def open_staging(
    connection: Connection, columns: Sequence[StagedColumn], batches: Iterator[pa.RecordBatch], schema: str | None
) -> AbstractContextManager[sa.Table]:
    """Stage rows, and begin the transaction in which they are upserted: it is committed when the block ends.

    Whatever happens, the staging table is gone afterwards; SQL Server's, which has to be committed, at the latest when
    the next one is made a day later.

    Args:
        connection: not in a transaction.
        columns: of the staging table.
        batches: in the columns' wire types and order.
        schema: of the target: SQL Server's staging table is made there.
    """
    from adfml_assets.write_back import duckdb, postgresql, sqlite, sqlserver

    match connection.dialect.name, connection.dialect.driver:
        case "sqlite", "pysqlite":
            return sqlite.open_staging(connection, columns, batches)
        case "postgresql", "psycopg":
            return postgresql.open_staging(connection, columns, batches)
        case "duckdb", _:
            return duckdb.open_staging(connection, columns, batches)
        case "mssql", "mssqlpython":
            return sqlserver.open_staging(connection, columns, batches, schema)
        case _:
            return _open_any(connection, columns, batches)


@contextmanager
def _open_any(
    connection: Connection, columns: Sequence[StagedColumn], batches: Iterator[pa.RecordBatch]
) -> Iterator[sa.Table]:
    with connection.begin():
        staging = create_temporary(connection, columns)
        for batch in batches:
            for start in range(0, batch.num_rows, INSERT_ROWS):
                connection.execute(staging.insert(), _to_rows(batch.slice(start, INSERT_ROWS), columns))
        yield staging
        staging.drop(connection)


def create_temporary(connection: Connection, columns: Sequence[StagedColumn], **options: Any) -> sa.Table:
    """A temporary table of this connection.

    Args:
        options: of the table, as SQLAlchemy takes them.
    """
    import sqlalchemy as sa

    on_mssql = connection.dialect.name == "mssql"
    # A name beginning with # is SQL Server's word for TEMPORARY.
    name, prefixes = (f"#{NAME}", []) if on_mssql else (NAME, ["TEMPORARY"])
    made = build_columns(columns)
    staging = sa.Table(name, sa.MetaData(), *made, prefixes=prefixes, **options)
    if connection.dialect.name == "sqlite":
        # Its driver begins transactions at the first row: a table made before that outlives one that failed.
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS temp.{NAME}")
    staging.create(connection, checkfirst=False)
    return staging


def build_columns(columns: Sequence[StagedColumn]) -> list[sa.Column[Any]]:
    """The columns of a staging table."""
    import sqlalchemy as sa

    return [sa.Column(column.name, column.type, nullable=True, autoincrement=False) for column in columns]


def make_staging(connection: Connection, target: sa.Table, names: Sequence[str]) -> sa.Table:
    """An empty temporary table with columns of the target, for rows that are set against it within the transaction.

    Drop it at the end of the transaction; one that fails takes it with it.
    """
    import pyarrow as pa

    columns = [StagedColumn(name, name, target.c[name].type, pa.null()) for name in names]
    return create_temporary(connection, columns)


def _to_rows(batch: pa.RecordBatch, columns: Sequence[StagedColumn]) -> list[dict[str, Any]]:
    import sqlalchemy as sa

    rows = batch.to_pylist()
    exact = [
        column.name
        for column in columns
        if isinstance(column.type, sa.Numeric) and batch.schema.field(column.name).type == "string"
    ]
    for row in rows if exact else ():
        for name in exact:
            row[name] = None if row[name] is None else Decimal(row[name])
    return rows
