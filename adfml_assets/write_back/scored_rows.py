"""Rows of a source noted as scored: in the transaction in which their scores are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adfml_assets.write_back.staged_columns import StagedColumn, conform, plan_column
from adfml_assets.write_back.staging import open_staging
from adfml_assets.write_back.target import reflect_table
from resources.database import Databases
from resources.duckdb_file import write_alone
from resources.errors import NotFound

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy import Connection

_KEY, _DATE = "adfml_source_key", "adfml_scored"


@dataclass(frozen=True)
class ScoredRows:
    """Which rows of which table of the same database are noted as scored.

    Attributes:
        schema, table: the table the rows are from.
        key: its column that identifies a row.
        column: its date or moment that is set (UTC).
        key_from, date_from: the columns of the rows to be written that hold both.
    """

    schema: str | None
    table: str
    key: str
    column: str
    key_from: str
    date_from: str


@dataclass(frozen=True)
class Marking:
    """How they are noted: the staged columns that it takes, and the table.

    A row that has a date already keeps it where that is not earlier: a second call changes nothing, and an older day's
    scores take nothing from a newer one's.
    """

    table: sa.Table
    key: str
    column: str
    columns: tuple[StagedColumn, StagedColumn]

    def run(self, connection: Connection, staging: sa.Table) -> int:
        """Set the dates, within the caller's transaction. Returns how many rows were changed."""
        import sqlalchemy as sa

        there, new = self.table.c[self.column], staging.c[_DATE]
        older = sa.or_(there.is_(None), there < _take(new, self.columns[1]))
        found = self.table.c[self.key] == _take(staging.c[_KEY], self.columns[0])
        update = self.table.update().values({self.column: _take(new, self.columns[1])}).where(found, older)
        return connection.execute(update).rowcount


def plan_marking(connection: Connection, rows: ScoredRows, schema: pa.Schema) -> Marking:
    """Read what the table is like.

    Args:
        schema: of the rows to be written.

    Raises:
        NotFound: it does not have these columns.
    """
    table = reflect_table(connection, rows.schema, rows.table)
    planned = []
    for name, column, source in ((_KEY, rows.key, rows.key_from), (_DATE, rows.column, rows.date_from)):
        if column not in table.columns:
            raise NotFound("column", column, f"table {table.fullname}", table.columns.keys())
        dialect = connection.dialect.name
        planned.append(plan_column(name, schema.field(source), table.columns[column], dialect))
    return Marking(table, rows.key, rows.column, (planned[0], planned[1]))


def mark_rows(
    databases: Databases, database: str, rows: ScoredRows, schema: pa.Schema, batches: Iterator[pa.RecordBatch]
) -> int:
    """Set the dates of rows that are in another database than their scores, in a transaction of its own.

    Args:
        schema: of the batches.
        batches: of all rows.

    Returns:
        How many rows were changed.

    Raises:
        NotFound: the table does not have these columns. Unreachable: the database does not answer.
    """
    with databases.connect(database) as connection, write_alone(connection):
        with connection.begin():
            marking = plan_marking(connection, rows, schema)
        converted = conform(batches, marking.columns, f"{database}.{marking.table.fullname}", [rows.key_from])
        with open_staging(connection, marking.columns, converted, rows.schema) as staging:
            return marking.run(connection, staging)


def _take(staged: sa.Column[Any], planned: StagedColumn) -> sa.ColumnElement[Any]:
    import sqlalchemy as sa

    return sa.cast(staged, planned.cast) if planned.cast is not None else staged
