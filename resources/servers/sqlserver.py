"""SQL Server and Azure SQL as a source: rows by the driver's Arrow fetch, under SNAPSHOT isolation where allowed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from resources.servers import sqlserver_catalog as catalog
from resources.servers.base import TableName, TableQuery, TableSchema, Watermark
from resources.servers.sqlserver_errors import Messages
from resources.servers.sqlserver_reading import build_schema, fetch_batches
from resources.servers.sqlserver_sessions import Session, Sessions
from resources.servers.sqlserver_statements import (
    SqlServerTable,
    Statement,
    count_nulls,
    count_rows,
    select_column,
    select_largest,
    select_rows,
    touch_table,
)
from resources.servers.sqlserver_watermarks import UnfitWatermark, require_fit, settle_row_version, unify_watermark
from resources.settings import Setting

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Engine

_SESSIONS = 4
_SNAPSHOT = (
    "SNAPSHOT: {count} connections, each with its own transaction, begun together within {spread} s; a table is read "
    "in one of them. Tables of different connections can differ by what was committed within that time"
)
_LATE = "; {late} more began when first needed, with a later state"
_VERSIONED = "READ COMMITTED by row versions: every read sees the state of its own beginning"
_LOCKED = (
    "READ COMMITTED by locks: every read sees committed rows only, but not one state; a row that moves while it is "
    "read can be missed or seen twice. ALTER DATABASE [{database}] SET ALLOW_SNAPSHOT_ISOLATION ON gives one state"
)
_POOL = "as the {edition} has it: no snapshots, every read stands for itself"


class SqlServer:
    """A database of SQL Server, Azure SQL or SQL database in Fabric."""

    def __init__(self, engine: Engine, database: str, setting: Setting, connections: int = _SESSIONS) -> None:
        """See `resources.servers.open_server`.

        Args:
            engine: of `mssql+mssqlpython://`.
            database: its name in YAML.
            setting: that holds its address.
            connections: how many SNAPSHOT transactions a snapshot begins with: as many as threads read at once.
        """
        self._engine = engine
        self._connections = connections
        self._messages = Messages(engine, database, setting)

    @property
    def kind(self) -> str:
        """`mssql`."""
        return "mssql"

    def list_tables(self) -> list[TableName]:
        """All tables of users that this login can see, sorted; history tables too, external tables not.

        Raises:
            Unreachable, Refused: no connection could be had.
        """
        with self._session() as session, self._messages.translating(None, list):
            return sorted(TableName(str(schema), str(table)) for schema, table in session.fetch(catalog.LIST_TABLES))

    @contextmanager
    def open_snapshot(self) -> Iterator[SqlServerSnapshot]:
        """A snapshot of now; see `SqlServerSnapshot.facts` for what it holds.

        Raises:
            Unreachable, Refused: no connection could be had.
        """
        with self._session() as session, self._messages.translating(None, list):
            # Before any snapshot begins: what clock and row versions say here has ended for all of them.
            edition = int(session.fetch(catalog.EDITION)[0][0])
            state = catalog.read_state(edition, session.fetch(catalog.select_state(edition))[0])
            readable = session.fetch(catalog.FIND_READABLE) if state.allows_snapshots else []
        self._messages.user = state.user
        plain = Sessions(self._connect, "READ COMMITTED" if state.has_levels else None)
        snapshots = None
        if readable:
            schema, table = readable[0]
            snapshots = Sessions(self._connect, "SNAPSHOT", touch_table(TableName(str(schema), str(table))))
        try:
            if snapshots is not None:
                with self._messages.translating(None, list):
                    snapshots.begin(self._connections)
            yield SqlServerSnapshot(state, snapshots, plain, self._messages)
        finally:
            plain.close()
            if snapshots is not None:
                snapshots.close()

    def _connect(self) -> Any:
        """A connection of the driver that belongs to no pool.

        Isolation levels and open transactions must not reach others by way of the engine's pool, nor its limit this.
        """
        try:
            pooled = self._engine.raw_connection()
        except _connection_errors() as error:
            raise self._messages.connecting(getattr(error, "orig", None) or error) from None
        connection = pooled.dbapi_connection
        pooled.detach()
        return connection

    @contextmanager
    def _session(self) -> Iterator[Session]:
        connection = self._connect()
        try:
            with self._messages.translating(None, list):
                session = Session(connection, None)
        except BaseException:
            connection.close()
            raise
        try:
            yield session
        finally:
            session.close()


class SqlServerSnapshot:
    """A view of a database; whether it moves is in `facts`."""

    def __init__(
        self, state: catalog.DatabaseState, snapshots: Sessions | None, plain: Sessions, messages: Messages
    ) -> None:
        self._state = state
        self._snapshots = snapshots
        self._plain = plain
        self._messages = messages

    @property
    def facts(self) -> Mapping[str, Any]:
        """`isolation` in words, `one_state`, `taken_at` (UTC), `edition`, `connections`.

        `id` is the oldest active row version.
        """
        return {
            "isolation": self._describe_isolation(),
            # Each read is of one state, but a count may have to take a later connection than the copy before it.
            "one_state": False,
            "taken_at": f"{self._state.utc[:26].replace(' ', 'T')}+00:00",
            "id": self._state.oldest_active,
            "edition": self._state.edition_name,
            "connections": (self._snapshots or self._plain).opened,
        }

    def describe(self, table: TableName) -> SqlServerTable:
        """A table's or view's declaration; columns as in `sqlserver_types`, companions after theirs.

        Raises:
            NotFound, NotPermitted, UnsupportedColumn: see `Snapshot.describe`.
            ConnectionLost: the connection was cut.
        """
        with self._translating(table), self._sessions().lease(table) as session:
            rows = catalog.keep_exact(table, session.fetch(catalog.select_columns(table)))
            size = session.fetch(catalog.select_size(table)) if rows and self._state.has_levels else []
        if not rows:
            raise self._messages.missing(table, self._list_existing())
        if not catalog.may_select_any(rows):
            raise self._messages.forbidden(table, "the login has no SELECT permission on it")
        estimated = None if not size or size[0][0] is None else int(size[0][0])
        return catalog.read_table(table, rows, estimated)

    def is_temporal(self, table: TableName) -> bool:
        """Whether past states of a table can be read; see `read_as_of`.

        Raises:
            NotFound, NotPermitted, UnsupportedColumn: see `describe`.
        """
        return self.describe(table).is_temporal

    def count(self, query: TableQuery) -> int:
        """The number of rows of a query, counted by the server."""
        return 0 if _is_empty(query) else self._fetch_count(query.table, count_rows(query))

    def count_as_of(self, query: TableQuery, moment: str) -> int:
        """The number of rows that `read_as_of` yields."""
        return 0 if _is_empty(query) else self._fetch_count(query.table, count_rows(query, moment))

    def count_null(self, table: TableSchema, column: str, where: str | None = None) -> int:
        """The number of rows whose `column` is NULL."""
        return self._fetch_count(table, count_nulls(table, column, where))

    def find_largest(self, table: TableSchema, watermark: Watermark, where: str | None = None) -> str | None:
        """The largest watermark that an interval may end with now, in the form of `sqlserver_watermarks`.

        `lag_seconds` count from the server's clock before the snapshot began, UTC or local, whichever is earlier: the
        server does not know which of them fills the column. A row version is the last one that no transaction was
        still below then, whether a row of this table has it or not: it never goes back when rows are deleted.

        Raises:
            NotFound: there is no such column.
            UnfitWatermark: the column is of another kind.
        """
        if watermark.kind == "rowversion":
            column = select_column(table, watermark.column)
            require_fit(table.name, watermark, column)
            if self._state.oldest_active is None:
                found = f"a database ({self._state.edition_name}) without row versions"
                raise UnfitWatermark(str(table.name), column.name, watermark.kind, found, "SQL Server or Azure SQL")
            return settle_row_version(self._state.oldest_active)
        clock = self._state.clock
        column = select_column(table, watermark.column)
        if column.source_type.startswith("datetimeoffset"):
            clock = self._state.utc
        largest = self._fetch(table, select_largest(table, watermark, where, clock))[0][0]
        return None if largest is None else unify_watermark(table.name, watermark, str(largest))

    def schema_of(self, query: TableQuery) -> pa.Schema:
        """The Arrow schema of what `read` yields for a query, `source_type` and `note` in each field's metadata.

        Raises:
            NotFound: a column is not of the table.
        """
        return build_schema([select_column(query.table, name) for name in query.columns])

    def read(self, query: TableQuery) -> Iterator[pa.RecordBatch]:
        """The rows, as batches of about BATCH_BYTES, in constant memory. Safe to call from several threads at once.

        Raises:
            UnexpectedValue, ConnectionLost, NotFound, NotPermitted: see `Snapshot.read`.
            Refused: the server does not accept the declared condition.
        """
        return iter(()) if _is_empty(query) else self._read(query, select_rows(query))

    def read_as_of(self, query: TableQuery, moment: str) -> Iterator[pa.RecordBatch]:
        """The rows as they were at a past moment, of a table that `is_temporal`.

        The server knows nothing of moments before system versioning began, nor of history that is deleted after its
        retention period: it yields what is left of them, without saying so.

        Args:
            query: see `read`.
            moment: UTC text such as `2026-03-10 09:30:00`.

        Raises:
            NotTemporal: the table keeps no past states, or `moment` is none.
            UnexpectedValue, ConnectionLost, NotFound, NotPermitted: see `Snapshot.read`.
        """
        return iter(()) if _is_empty(query) else self._read(query, select_rows(query, moment))

    def split(self, query: TableQuery, parts: int) -> Sequence[TableQuery]:
        """The query itself, alone: two connections never see one snapshot."""
        return [query]

    def _read(self, query: TableQuery, statement: Statement) -> Iterator[pa.RecordBatch]:
        columns = [select_column(query.table, name) for name in query.columns]
        table = query.table.name
        with self._translating(table), self._sessions(query.table).lease(table) as session:
            cursor = session.open_cursor(statement)
            try:
                yield from fetch_batches(cursor, table, columns)
            finally:
                cursor.close()

    def _fetch(self, table: TableSchema, statement: Statement) -> list[tuple[Any, ...]]:
        with self._translating(table.name), self._sessions(table).lease(table.name) as session:
            return session.fetch(statement)

    def _fetch_count(self, table: TableSchema, statement: Statement) -> int:
        return int(self._fetch(table, statement)[0][0])

    def _sessions(self, table: TableSchema | None = None) -> Sessions:
        memory = isinstance(table, SqlServerTable) and table.is_memory_optimized
        return self._plain if self._snapshots is None or memory else self._snapshots

    def _translating(self, table: TableName) -> Any:
        return self._messages.translating(table, self._list_existing)

    def _list_existing(self) -> list[str]:
        with self._messages.translating(None, list), self._plain.lease(None) as session:
            return [f"{schema}.{table}" for schema, table in session.fetch(catalog.LIST_TABLES)]

    def _describe_isolation(self) -> str:
        if self._snapshots is not None:
            late = self._snapshots.late
            words = _SNAPSHOT.format(count=self._snapshots.opened - late, spread=self._snapshots.spread_seconds)
            return words + (_LATE.format(late=late) if late else "")
        if not self._state.has_levels:
            return _POOL.format(edition=self._state.edition_name)
        return _VERSIONED if self._state.reads_versions else _LOCKED.format(database=self._state.database)


def _is_empty(query: TableQuery) -> bool:
    return query.watermark is not None and query.upper is None


def _connection_errors() -> tuple[type[BaseException], ...]:
    import sqlalchemy as sa
    from mssql_python import exceptions

    # The driver's compiled part raises RuntimeError where it has no SQLSTATE.
    return (sa.exc.SQLAlchemyError, exceptions.Exception, exceptions.ConnectionStringParseError, RuntimeError)
