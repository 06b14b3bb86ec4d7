"""One state of a PostgreSQL database, seen by any number of connections at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from resources.errors import NotFound
from resources.servers.base import Part
from resources.servers.postgresql_catalog import (
    PgColumn,
    PgTable,
    count_pages,
    describe_table,
    is_rewritten,
    list_relations,
)
from resources.servers.postgresql_errors import StatementFailed
from resources.servers.postgresql_queries import (
    build_conditions,
    build_where,
    join_conditions,
    quote_table,
    select_columns,
    select_largest,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from resources.servers.base import TableName, TableQuery, TableSchema, Watermark
    from resources.servers.postgresql_errors import Messages
    from resources.servers.postgresql_sessions import Sessions

_TEXT_OID = {"": 25, "[]": 1009}
_PAGES_A_PART = 128
"""The fewest pages (of 8 kB) worth a read of their own."""


class PostgresqlSnapshot:
    """The snapshot that `PostgresqlServer.open_snapshot` gives.

    A table's rows are those of SELECT: of a partitioned table all partitions', of a parent of plain inheritance also
    its children's. A table that was dropped, truncated or rewritten after the snapshot was opened is not read as if
    it were empty: that raises ConnectionLost, and another snapshot sees it as it is then. Of the tables below a view
    that is not noticed.
    """

    def __init__(self, sessions: Sessions, messages: Messages, facts: Mapping[str, Any]) -> None:
        self._sessions = sessions
        self._messages = messages
        self._facts = facts
        self._lock = threading.Lock()
        self._tables: dict[TableName, PgTable] = {}

    @property
    def facts(self) -> Mapping[str, Any]:
        """See `Snapshot`: `isolation`, `one_state`, `taken_at`, `server_version`, and where there are: `id`, `lsn`."""
        return self._facts

    def describe(self, table: TableName) -> TableSchema:
        """See `Snapshot`."""
        return self._describe(table).schema

    def count(self, query: TableQuery) -> int:
        """See `Snapshot`."""
        table = self._describe(query.table.name)
        where = build_conditions(query, self._find_watermark(table, query.watermark))
        counted = sql.SQL("SELECT count(*) FROM {}").format(quote_table(query.table.name)) + where
        return int(self._fetch_row(table, counted)[0])

    def count_null(self, table: TableSchema, column: str, where: str | None = None) -> int:
        """See `Snapshot`."""
        described = self._describe(table.name)
        missing = sql.SQL("{} IS NULL").format(sql.Identifier(self._find_column(described, column).name))
        conditions = [missing, build_where(where)] if where else [missing]
        counted = sql.SQL("SELECT count(*) FROM {}").format(quote_table(table.name)) + join_conditions(conditions)
        return int(self._fetch_row(described, counted)[0])

    def find_largest(self, table: TableSchema, watermark: Watermark, where: str | None = None) -> str | None:
        """See `Snapshot`.

        A timestamp is `YYYY-MM-DDTHH:MM:SS.ffffff`, one with time zone in UTC with `+00:00` after it; the lag of one
        without is counted in UTC. Infinite ones are no end of an interval: rows with infinity are in none.

        Raises:
            SettingInvalid: the column's type cannot be followed.
            UnexpectedValue: the largest is not of the years 1 to 9999, whose text has the order of time.
        """
        from resources.errors import UnexpectedValue

        described = self._describe(table.name)
        column = self._find_column(described, watermark.column)
        statement = select_largest(table.name, watermark, column, where, str(self._facts["taken_at"]))
        largest, orderly = self._fetch_row(described, statement)
        if largest is None:
            return None
        if not orderly:
            expected = f"{column.source_type} of the years 1 to 9999, as a watermark"
            raise UnexpectedValue(str(table.name), column.name, expected, "the largest is not of them")
        return str(largest)

    def schema_of(self, query: TableQuery) -> pa.Schema:
        """See `Snapshot`."""
        return _build_schema(self._find_columns(self._describe(query.table.name), query.columns))

    def read(self, query: TableQuery) -> Iterator[pa.RecordBatch]:
        """See `Snapshot`."""
        from resources.servers.postgresql_copying import Copy, find_libpq
        from resources.servers.postgresql_decoding import Decoder

        table = self._describe(query.table.name)
        columns = self._find_columns(table, query.columns)
        selected = select_columns(query.table.name, columns)
        where = build_conditions(query, self._find_watermark(table, query.watermark))
        decoder = Decoder(query.table.name, columns, _build_schema(columns))
        statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT binary)").format(selected + where)
        with self._reading(table) as connection:
            self._require_same(connection, table, columns, selected)
            copy = Copy(connection, statement.as_bytes(connection), find_libpq())
            rows = 0
            try:
                for data, start, used, messages in copy.read_buffers():
                    batch = decoder.decode(data, start, used, messages)
                    rows += batch.num_rows
                    if batch.num_rows:
                        yield batch
            finally:
                copy.close()
            if rows != copy.sent_rows:
                raise self._messages.lost(f"{rows} rows of {table.schema.name} arrived, {copy.sent_rows} were sent")

    def split(self, query: TableQuery, parts: int) -> Sequence[TableQuery]:
        """See `Snapshot`: ordinary tables by ranges of pages."""
        table = self._describe(query.table.name)
        if parts < 2 or self._sessions.snapshot is None or not table.can_split or query.part is not None:
            return [query]
        with self._reading(table) as connection:
            pages = count_pages(connection, table.oid)
        count = min(parts, pages // _PAGES_A_PART)
        if count < 2:
            return [query]
        bounds = [pages * index // count for index in range(count)]
        # The last has no end: pages that came after the count are its own.
        ends = [*bounds[1:], None]
        return [
            replace(query, part=Part(index, count, lower, upper))
            for index, (lower, upper) in enumerate(zip(bounds, ends, strict=True))
        ]

    def _describe(self, name: TableName) -> PgTable:
        with self._lock:
            if name in self._tables:
                return self._tables[name]
        with self._sessions.take() as connection:
            try:
                table = describe_table(connection, name, self._messages)
            except psycopg.Error as error:
                raise self._messages.translate(error, name, list) from None
        with self._lock:
            return self._tables.setdefault(name, table)

    def _find_column(self, table: PgTable, name: str) -> PgColumn:
        if name not in table.columns:
            raise NotFound("column", name, str(table.schema.name), table.columns)
        return table.columns[name]

    def _find_columns(self, table: PgTable, names: Sequence[str]) -> list[PgColumn]:
        return [self._find_column(table, name) for name in names]

    def _find_watermark(self, table: PgTable, watermark: Watermark | None) -> PgColumn | None:
        return self._find_column(table, watermark.column) if watermark is not None else None

    @contextmanager
    def _reading(self, table: PgTable) -> Iterator[psycopg.Connection[Any]]:
        """A connection whose transaction holds the table as the snapshot sees it."""
        name = table.schema.name
        with self._sessions.take() as connection:
            try:
                connection.execute(sql.SQL("SELECT FROM {} LIMIT 0").format(quote_table(name)))
                if is_rewritten(connection, table.oid):
                    raise self._messages.changed(name, "was dropped, truncated or rewritten")
                yield connection
            except (psycopg.Error, StatementFailed) as error:
                raise self._messages.translate(error, name, self._list_names) from None

    def _require_same(
        self, connection: psycopg.Connection[Any], table: PgTable, columns: Sequence[PgColumn], selected: sql.Composed
    ) -> None:
        """The columns are still of the types they are decoded as; the lock keeps them so."""
        try:
            cursor = connection.execute(selected + sql.SQL(" LIMIT 0"))
        except psycopg.errors.UndefinedColumn:
            raise self._messages.changed(table.schema.name, "lost a column") from None
        sent = [(item.type_code, cursor.pgresult.fmod(i)) for i, item in enumerate(cursor.description or ())]  # type: ignore[union-attr]
        expected = [
            (_TEXT_OID["[]" if column.form.element else ""], -1)
            if column.form.cast
            else (column.sent_type, column.sent_modifier)
            for column in columns
        ]
        if sent != expected:
            raise self._messages.changed(table.schema.name, "got a column of another type")

    def _fetch_row(self, table: PgTable, statement: sql.Composed) -> tuple[Any, ...]:
        with self._reading(table) as connection:
            row = connection.execute(statement).fetchone()
        assert row is not None  # noqa: S101 - aggregates have one row
        return tuple(row)

    def _list_names(self) -> list[str]:
        with self._sessions.take() as connection:
            return [str(name) for name in list_relations(connection, "rpvmf")]


def _build_schema(columns: Sequence[PgColumn]) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field(
                column.name,
                column.form.arrow_type,
                column.nullable,
                {"source_type": column.source_type} | ({"note": column.form.note} if column.form.note else {}),
            )
            for column in columns
        ]
    )
