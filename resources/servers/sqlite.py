"""SQLite as a source: a file that this process opens for reading only."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

from resources.database import describe_address, open_connection
from resources.errors import NotFound, SettingInvalid, UnexpectedValue
from resources.servers import sqlite_description, sqlite_queries, sqlite_watermark
from resources.servers.base import MISMATCHED, Mismatches, Part, TableName, TableQuery, TableSchema, Watermark
from resources.servers.sqlite_failure import SqliteFailure, explain
from resources.servers.sqlite_plan import Plan, build_schema
from resources.servers.sqlite_pool import Connection, Mode, Pool, open_pool
from resources.servers.sqlite_types import find_conversion
from resources.settings import Setting

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Engine


class SqliteServer:
    """One SQLite file.

    Args:
        engine: of the database; its address and its time-out are used, its connections are not.
        database: its name in YAML.
        setting: the setting that holds its address.
        mismatches: what becomes of values that are not of their column's declared type.
        readers: how many reads of a snapshot can go on beside each other.
        direct: whether SQLite's library is called directly; None: where it can be.
    """

    kind = "sqlite"

    def __init__(
        self,
        engine: Engine,
        database: str,
        setting: Setting,
        mismatches: Mismatches = "fail",
        *,
        readers: int = 10,
        direct: bool | None = None,
    ) -> None:
        self._engine, self.database, self._setting = engine, database, setting
        self._mismatches: Mismatches = mismatches
        self._readers, self._direct = readers, direct
        self._timeout_seconds: float | None = None

    def list_tables(self) -> list[TableName]:
        """All tables, virtual ones too, sorted.

        Raises:
            Unreachable: the file cannot be opened.
        """
        with self.explained():
            connection = self.connect("ro")
            try:
                return sqlite_description.list_tables(connection)
            finally:
                connection.close()

    @contextmanager
    def open_snapshot(self) -> Iterator[SqliteSnapshot]:
        """A snapshot of now; closed with the block, and with it every connection it made.

        Raises:
            Unreachable: the file cannot be opened.
            Refused: it is no database, or a damaged one.
        """
        with self.explained():
            pool, journal = open_pool(self.connect, self._readers)
        try:
            yield SqliteSnapshot(self, pool, journal, self._mismatches)
        finally:
            pool.close()

    def connect(self, mode: Mode) -> Connection:
        """A new connection.

        Raises:
            SqliteFailure: it cannot be made.
            Unreachable: there is no such file.
        """
        if self._timeout_seconds is None:
            # The engine keeps its connect arguments to itself; its connection knows.
            with open_connection(self._engine, self.database, self._setting) as connection:
                self._timeout_seconds = float(connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()) / 1000
        uri = build_uri(self._engine, self._setting, mode)
        if self._direct is not False:
            from resources.servers.sqlite_direct import DirectConnection
            from resources.servers.sqlite_library import find_library, load_kernels

            library, kernels = find_library(), load_kernels()
            if library is not None and kernels is not None:
                return DirectConnection(library, kernels, uri, self._timeout_seconds, write=mode == "rw")
            if self._direct:
                raise SqliteFailure(1, "the SQLite of this Python cannot be called directly")
        from resources.servers.sqlite_fallback import PythonConnection

        return PythonConnection(uri, self._timeout_seconds)

    @contextmanager
    def explained(self, table: TableSchema | TableName | None = None, main: Connection | None = None) -> Iterator[None]:
        """Turn SQLite's failures into errors that name this database, and the table where one was read."""
        try:
            yield
        except SqliteFailure as failure:
            existing: list[str] = []
            if main is not None and failure.message.startswith("no such table"):
                existing = [name.table for name in sqlite_description.list_tables(main)]
            elif isinstance(table, TableSchema):
                existing = [column.name for column in table.columns]
            name = table.name if isinstance(table, TableSchema) else table
            address = describe_address(self._engine)
            raise explain(failure, self.database, address, self._setting.name, name, existing) from None


class SqliteSnapshot:
    """A view of a SQLite file. Where it is in WAL mode every read sees one state; otherwise each read does for itself.

    Attributes:
        mismatches: per table, how many values were kept in MISMATCHED by the reads so far, repeated reads included.
    """

    def __init__(self, server: SqliteServer, pool: Pool, journal: str, mismatches: Mismatches) -> None:
        self._server, self._pool, self._mode = server, pool, mismatches
        self._lock = threading.Lock()
        self.mismatches: dict[TableName, int] = {}
        self._facts = {
            "isolation": pool.isolation,
            "one_state": pool.one_state,
            "taken_at": datetime.now(UTC).isoformat(),
            "journal_mode": journal,
        }

    @property
    def facts(self) -> Mapping[str, Any]:
        """`isolation` in words, `one_state`, `taken_at` (UTC), `journal_mode`."""
        return self._facts

    def describe(self, table: TableName) -> TableSchema:
        """A table's or view's declaration.

        Raises:
            NotFound: there is none of exactly that name.
            UnexpectedValue: it has a column of the name MISMATCHED, and mismatches are kept there.
        """
        with self._server.explained(table, self._pool.main):
            schema = sqlite_description.describe_table(self._pool.main, self._server.database, table)
        if self._mode == "keep" and schema.column(MISMATCHED) is not None:
            reason = "the name is taken by the column that keeps values that are not of their type"
            raise UnexpectedValue(str(table), MISMATCHED, "a column of another name", reason)
        return schema

    def count(self, query: TableQuery) -> int:
        """The number of rows of a query."""
        main = self._pool.main
        with self._server.explained(query.table, main):
            sql, parameters = sqlite_queries.count_rows(query, self._find_row_id(query))
            return int(main.fetch(sql, parameters)[0][0])

    def count_null(self, table: TableSchema, column: str, where: str | None = None) -> int:
        """The number of rows whose `column` is NULL.

        Raises:
            NotFound: there is no such column.
        """
        _require_columns(table, (column,))
        quoted = sqlite_queries.quote_column(table.name, column)
        sql = f"SELECT count(*) FROM {sqlite_queries.quote_table(table.name)}"  # noqa: S608 - quoted
        sql += sqlite_queries.filter_rows(table, where, f"{quoted} IS NULL")
        with self._server.explained(table, self._pool.main):
            return int(self._pool.main.fetch(sql)[0][0])

    def find_largest(self, table: TableSchema, watermark: Watermark, where: str | None = None) -> str | None:
        """The largest watermark that an interval may end with now, as it is stored; None: there is none.

        A lag is measured by UTC: texts without a zone are taken as such. All values are looked at, since texts in
        several forms have no order that is time's.

        Raises:
            NotFound: no such column, or kind `rowversion`, which SQLite has not.
            UnexpectedValue: the values have no common form.
        """
        with self._server.explained(table, self._pool.main):
            return sqlite_watermark.find_largest(self._pool.main, table, watermark, where)

    def schema_of(self, query: TableQuery) -> pa.Schema:
        """The Arrow schema of a query's batches; MISMATCHED is its last field where mismatches are kept.

        Raises:
            NotFound: a column is not the table's.
        """
        import pyarrow as pa

        _require_columns(query.table, query.columns)
        fields = []
        for name in query.columns:
            column = query.table.column(name)
            assert column is not None  # noqa: S101 - required above
            metadata = {"source_type": column.source_type, **({"note": column.note} if column.note else {})}
            fields.append(pa.field(name, column.arrow_type, column.nullable, metadata))
        return build_schema(fields, self._mode)

    def read(self, query: TableQuery) -> Iterator[pa.RecordBatch]:
        """The rows, as batches of about BATCH_BYTES.

        Raises:
            UnexpectedValue: a value is not of its column's declared type, and `mismatches` is `fail`.
            ConnectionLost: the file is locked, or its disk failed; worth another try from the start.
            NotFound: the table or a column was dropped.
            Refused: the file is damaged, or SQLite does not understand `where`.
        """
        schema = self.schema_of(query)
        with self._server.explained(query.table, self._pool.main):
            row_id = self._find_row_id(query)
            sql, parameters = sqlite_queries.select_rows(query, row_id)
            columns = [query.table.column(name) for name in query.columns]
            conversions = tuple(find_conversion(column.source_type) for column in columns if column)
            not_null = tuple(not column.nullable for column in columns if column)
            plan = Plan(query.table.name, conversions, schema, self._mode, not_null, row_id is not None)
            with self._pool.borrow() as connection:
                for batch, kept in connection.read(sql, parameters, plan):
                    if kept:
                        with self._lock:
                            self.mismatches[plan.table] = self.mismatches.get(plan.table, 0) + kept
                    yield batch

    def split(self, query: TableQuery, parts: int) -> Sequence[TableQuery]:
        """The same rows by ranges of row ids, where reads see one state and the table has such; else the query."""
        if not self._pool.one_state or query.part is not None:
            return [query]
        main = self._pool.main
        with self._server.explained(query.table, main):
            row_id = self._find_row_id(query)
            if row_id is None:
                return [query]
            low, high = sqlite_description.find_row_ids(main, query.table.name, row_id)
        count = min(parts, self._pool.readers, high - low + 1 if low is not None else 1)
        if count < 2:
            return [query]
        bounds = [low + (high - low + 1) * index // count for index in range(count + 1)]
        return [replace(query, part=Part(index, count, bounds[index], bounds[index + 1] - 1)) for index in range(count)]

    def _find_row_id(self, query: TableQuery) -> str | None:
        return sqlite_description.find_row_id(self._pool.main, query.table)


def build_uri(engine: Engine, setting: Setting, mode: Mode) -> str:
    """The address of the engine's file as SQLite takes it: for reading only, or for a lock; never to make a file.

    Raises:
        SettingInvalid: the database is in memory.
    """
    from pathlib import Path

    arguments, options = engine.dialect.create_connect_args(engine.url)
    name = str(arguments[0])
    address, _, query = name.partition("?") if options.get("uri") and name.startswith("file:") else ("", "", "")
    wanted = dict(parse_qsl(query))
    if name == ":memory:" or address in {"file:", "file::memory:"} or wanted.get("mode") == "memory":
        raise SettingInvalid(setting.name, "a SQLite file; a database in memory cannot be archived")
    if not address:
        address = Path(name).absolute().as_uri()
    wanted.pop("cache", None)
    return f"{address}?{urlencode({**wanted, 'mode': mode}, quote_via=quote)}"


def _require_columns(table: TableSchema, columns: Sequence[str]) -> None:
    existing = {column.name for column in table.columns}
    for name in columns:
        if name not in existing:
            raise NotFound("column", name, str(table.name), existing)
