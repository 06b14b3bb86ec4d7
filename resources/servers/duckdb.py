"""DuckDB as a source: a file that this process has open, read as Arrow from transactions of one state."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from resources.database import describe_address, open_connection
from resources.errors import ConnectionLost, NotFound, Refused, ResourceError, SettingInvalid, UnexpectedValue
from resources.servers import duckdb_queries
from resources.servers.base import BATCH_BYTES, Column, TableName, TableQuery, TableSchema, Watermark
from resources.servers.duckdb_types import find_form
from resources.settings import Setting

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa
    from sqlalchemy import Engine

READERS = 10
"""How many reads of a snapshot can go on beside each other."""

_BEGIN_SECONDS = 10.0
_beginning = threading.Lock()
_VALUE_BYTES = 16


class DuckdbServer:
    """One DuckDB file.

    Args:
        engine: of the database.
        database: its name in YAML, for messages.
        setting: the setting that holds its address, for messages.

    Raises:
        SettingInvalid: the database is in memory.
    """

    kind = "duckdb"

    def __init__(self, engine: Engine, database: str, setting: Setting) -> None:
        if engine.url.database in (None, "", ":memory:"):
            raise SettingInvalid(setting.name, "a DuckDB file; a database in memory cannot be read by others")
        self._engine, self.database, self._setting = engine, database, setting

    def list_tables(self) -> list[TableName]:
        """All tables, sorted.

        Raises:
            Unreachable: the file cannot be opened, or another process has it open.
        """
        with self._connect() as connection:
            return [TableName(*row) for row in connection.execute(duckdb_queries.LIST_TABLES).fetchall()]

    @contextmanager
    def open_snapshot(self) -> Iterator[DuckdbSnapshot]:
        """A snapshot of now; closed with the block, and with it every connection it made.

        Raises:
            Unreachable: the file cannot be opened, or another process has it open.
        """
        with self._connect() as connection:
            transactions, last = begin_together(connection)
            try:
                yield DuckdbSnapshot(self, transactions, last)
            finally:
                for one in transactions:
                    one.close()

    @contextmanager
    def _connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with open_connection(self._engine, self.database, self._setting) as connection:
            wrapper: Any = connection.connection.driver_connection
            # A connection of its own: SQLAlchemy's wrapper looks at every statement.
            with wrapper.duplicate() as driver:
                yield driver

    def explain(self, error: Exception, table: TableName, snapshot: DuckdbSnapshot) -> ResourceError:
        """DuckDB's error of a statement about a table."""
        import duckdb

        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        # A function or another table that a condition names is not known in the same words.
        if isinstance(error, duckdb.CatalogException) and table not in (readable := snapshot.list_readable()):
            return NotFound("table", str(table), f"database '{self.database}'", map(str, readable))
        if isinstance(error, duckdb.IOException | duckdb.InterruptException | duckdb.OutOfMemoryException):
            return self.lose(reason)
        return Refused(*self._named, reason, f"the condition (`where`) declared for {table}")

    def lose(self, reason: str) -> ConnectionLost:
        """What is read cannot be read on."""
        return ConnectionLost(*self._named, reason, "the file's disk and this machine's memory, and try again")

    @property
    def _named(self) -> tuple[str, str]:
        return f"Database '{self.database}'", describe_address(self._engine)


def begin(connection: duckdb.DuckDBPyConnection) -> int:
    """Begin a transaction. Returns its number.

    What begins and what is committed is numbered in one row: where the numbers of transactions follow each other,
    nothing was committed between them, and they see one state.
    """
    connection.begin()
    return int(connection.execute("SELECT txid_current()").fetchall()[0][0])


def begin_together(
    connection: duckdb.DuckDBPyConnection, count: int = READERS
) -> tuple[list[duckdb.DuckDBPyConnection], int]:
    """Transactions that see one state, and the number of the last one.

    Raises:
        ConnectionLost: others of this process commit all the time.
    """
    cursors = [connection.cursor() for _ in range(count)]
    try:
        for one in cursors:
            one.execute("SET TimeZone = 'UTC'")
        until = time.monotonic() + _BEGIN_SECONDS
        while True:
            # Of two that begin beside each other neither would see numbers that follow each other.
            with _beginning:
                last, begun = begin(cursors[0]), 1
                for one in cursors[1:]:
                    number = begin(one)
                    begun += 1
                    if number != last + 1:
                        break
                    last = number
                else:
                    return cursors, last
            for one in cursors[:begun]:
                one.rollback()
            if time.monotonic() > until:
                reason = "no two transactions see one state"
                raise ConnectionLost("DuckDB", "its file", reason, "what else writes, and try again")
    except BaseException:
        for one in cursors:
            one.close()
        raise


class DuckdbSnapshot:
    """A view of a DuckDB file: every read sees one state."""

    def __init__(self, server: DuckdbServer, transactions: Sequence[duckdb.DuckDBPyConnection], last: int) -> None:
        self._server = server
        # None at the end of it: there is no transaction any more.
        self._free: queue.SimpleQueue[duckdb.DuckDBPyConnection | None] = queue.SimpleQueue()
        for one in transactions:
            self._free.put(one)
        self._alive, self._lock = len(transactions), threading.Lock()
        self._last = last
        self._taken_at = datetime.now(UTC).isoformat()

    @property
    def facts(self) -> Mapping[str, Any]:
        """`isolation` in words, `one_state`, `taken_at` (UTC)."""
        isolation = "snapshot; transactions of one state for all tables"
        return {"isolation": isolation, "one_state": True, "taken_at": self._taken_at}

    def list_readable(self) -> list[TableName]:
        """All tables and views."""
        with self._borrow() as connection:
            queries = (duckdb_queries.LIST_TABLES, duckdb_queries.LIST_VIEWS)
            return [TableName(*row) for query in queries for row in connection.execute(query).fetchall()]

    def describe(self, table: TableName) -> TableSchema:
        """A table's or view's declaration.

        Raises:
            NotFound: there is none of exactly that name.
        """
        names = [table.schema, table.table]
        with self._borrow() as connection:
            described = connection.execute(duckdb_queries.DESCRIBE, names).fetchall()
            key = connection.execute(duckdb_queries.FIND_KEY, names).fetchall()
        if not described:
            where = f"database '{self._server.database}'"
            raise NotFound("table", str(table), where, map(str, self.list_readable()))
        columns = []
        for name, declared, nullable in described:
            form = find_form(declared)
            columns.append(Column(name, declared, form.arrow_type, bool(nullable), form.note))
        return TableSchema(table, tuple(columns), tuple(key[0][0]) if key else ())

    def count(self, query: TableQuery) -> int:
        """The number of rows of a query."""
        return int(self._fetch_one(query.table.name, *duckdb_queries.count_rows(query)))

    def count_null(self, table: TableSchema, column: str, where: str | None = None) -> int:
        """The number of rows whose `column` is NULL.

        Raises:
            NotFound: there is no such column.
        """
        _require_columns(table, (column,))
        condition = duckdb_queries.filter_rows(where, f"{duckdb_queries.quote(column)} IS NULL")
        sql = f"SELECT count(*) FROM {duckdb_queries.quote_table(table.name)}{condition}"  # noqa: S608 - quoted
        return int(self._fetch_one(table.name, sql, []))

    def find_largest(self, table: TableSchema, watermark: Watermark, where: str | None = None) -> str | None:
        """The largest watermark that an interval may end with now, as exact text; None: there is none.

        Raises:
            NotFound, SettingInvalid: there is no such column, or its type cannot be followed in this way.
        """
        found = self._fetch_one(table.name, *duckdb_queries.select_largest(table, watermark, where, self._taken_at))
        return None if found is None else str(found)

    def schema_of(self, query: TableQuery) -> pa.Schema:
        """The Arrow schema of a query's batches.

        Raises:
            NotFound: a column is not the table's.
        """
        import pyarrow as pa

        _require_columns(query.table, query.columns)
        fields = []
        for column in map(query.table.column, query.columns):
            assert column is not None  # noqa: S101 - required above
            metadata = {"source_type": column.source_type, **({"note": column.note} if column.note else {})}
            fields.append(pa.field(column.name, column.arrow_type, column.nullable, metadata))
        return pa.schema(fields)

    def read(self, query: TableQuery) -> Iterator[pa.RecordBatch]:
        """The rows, as batches of about BATCH_BYTES.

        Raises:
            UnexpectedValue: a value has no counterpart, such as a date that is infinite.
            ConnectionLost, NotFound, Refused: see `Snapshot.read`.
        """
        import duckdb
        import pyarrow as pa

        schema = self.schema_of(query)
        sql, parameters = duckdb_queries.select_rows(query)
        rows = max(BATCH_BYTES // (_VALUE_BYTES * max(len(schema), 1)), 2_048)
        try:
            with self._borrow() as connection:
                for batch in connection.execute(sql, parameters).to_arrow_reader(rows):
                    for column, values in zip(query.columns, batch.columns, strict=True):
                        _require_counterparts(query.table, column, values)
                    yield pa.RecordBatch.from_arrays(
                        [values.cast(kind) for values, kind in zip(batch.columns, schema.types, strict=True)],
                        schema=schema,
                    )
        except duckdb.Error as error:
            # Not before the transaction was given back: what explains it takes one, and there may be no other.
            raise self._server.explain(error, query.table.name, self) from None

    def split(self, query: TableQuery, parts: int) -> Sequence[TableQuery]:
        """The query itself: DuckDB reads with several threads as it is."""
        return [query]

    def _fetch_one(self, table: TableName, sql: str, parameters: list[Any]) -> Any:
        import duckdb

        try:
            with self._borrow() as connection:
                return connection.execute(sql, parameters).fetchall()[0][0]
        except duckdb.Error as error:
            raise self._server.explain(error, table, self) from None

    @contextmanager
    def _borrow(self) -> Iterator[duckdb.DuckDBPyConnection]:
        import duckdb

        connection = self._free.get()
        if connection is None:
            self._free.put(None)
            raise self._server.lose("every transaction of the snapshot was ended by an error")
        try:
            yield connection
        finally:
            try:
                connection.execute("SELECT 1")
                self._free.put(connection)
            except duckdb.Error:
                self._replace(connection)

    def _replace(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Begin a transaction anew that an error has ended, unless something was committed meanwhile."""
        with self._lock:
            connection.rollback()
            if begin(connection) == self._last + 1:
                self._last += 1
                self._free.put(connection)
                return
            connection.close()
            self._alive -= 1
            if self._alive == 0:
                self._free.put(None)


def _require_columns(table: TableSchema, columns: Sequence[str]) -> None:
    existing = {column.name for column in table.columns}
    for name in columns:
        if name not in existing:
            raise NotFound("column", name, str(table.name), existing)


def _require_counterparts(table: TableSchema, column: str, values: pa.Array) -> None:
    """Make sure that no date or moment is infinite, and no time is 24:00:00."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    if not pa.types.is_temporal(kind) or not len(values):
        return
    numbers = values.cast(pa.int32() if pa.types.is_date32(kind) else pa.int64())
    bounds = pc.min_max(numbers).as_py()
    largest = 2**31 - 1 if pa.types.is_date32(kind) else 2**63 - 1
    limit = 86_400_000_000 if pa.types.is_time(kind) else largest
    if bounds["max"] is not None and (bounds["max"] >= limit or bounds["min"] <= -largest):
        declared = getattr(table.column(column), "source_type", "")
        raise UnexpectedValue(str(table.name), column, f"a finite {declared}", "one is infinite, or 24:00:00")
