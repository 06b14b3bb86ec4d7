"""What every kind of SQL server offers to the archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa

WatermarkKind = Literal["datetime", "integer", "rowversion"]
Mismatches = Literal["fail", "keep"]

MISMATCHED = "_mismatched"
"""The column that holds, as a JSON object `{column: text}`, a row's values that are not of their declared type; there
only where `mismatches` is `keep`. The typed column is NULL in such a row."""

BATCH_BYTES = 8 * 1024 * 1024
"""About how much one record batch holds, whatever the width of its rows."""


@dataclass(frozen=True, order=True)
class TableName:
    """A table or view, by its names at the server, exactly as they are there."""

    schema: str
    table: str

    def __str__(self) -> str:
        """`schema.table`, as messages and patterns have it."""
        return f"{self.schema}.{self.table}"


@dataclass(frozen=True)
class Column:
    """A column and what becomes of it.

    Attributes:
        name: exactly as at the server.
        source_type: as declared there, for example `numeric(12,2)`.
        arrow_type: what it is in Arrow and Parquet: from the declaration alone, never from the rows.
        nullable: whether the declaration allows NULL.
        note: how the archived value differs in form from the source's (`as text`, `100 ns cut to 1 µs`); None: it is
            the same value.
    """

    name: str
    source_type: str
    arrow_type: pa.DataType
    nullable: bool = True
    note: str | None = None


@dataclass(frozen=True)
class TableSchema:
    """A table as the server declares it.

    Attributes:
        name: of the table.
        columns: in the order of the table.
        primary_key: its columns, in order; empty where there is none.
        estimated_bytes: the server's own cheap estimate of the table's size; None where it has none.
    """

    name: TableName
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    estimated_bytes: int | None = None

    def column(self, name: str) -> Column | None:
        """A column by its exact name."""
        return next((column for column in self.columns if column.name == name), None)


@dataclass(frozen=True)
class Watermark:
    """What the rows of a table are followed by.

    Attributes:
        column: its name.
        kind: `datetime` (dates and timestamps), `integer`, or SQL Server's `rowversion`.
        lag_seconds: for `datetime`: rows younger than this by the server's clock are left to the next interval, so that
            transactions that commit late are not missed.
    """

    column: str
    kind: WatermarkKind = "datetime"
    lag_seconds: int = 0


@dataclass(frozen=True)
class Part:
    """A range of a table's rows that only its own server understands (pages, row ids): one of `index` of `count`."""

    index: int
    count: int
    lower: Any
    upper: Any


@dataclass(frozen=True)
class TableQuery:
    """Rows and columns of one table.

    Attributes:
        table: as described by the snapshot that reads it.
        columns: names of those to read, in order.
        where: a SQL condition in the server's own words, from the declaration; None: all rows.
        watermark: what `lower` and `upper` are values of; None: no interval.
        lower: rows above it; None: from the beginning. Watermarks are text, exactly as the server gave them.
        upper: rows up to and with it. With a `watermark` and no `upper` there is no row.
        part: a range of the rows, from `Snapshot.split`; None: all.
    """

    table: TableSchema
    columns: tuple[str, ...]
    where: str | None = None
    watermark: Watermark | None = None
    lower: str | None = None
    upper: str | None = None
    part: Part | None = None


class Snapshot(Protocol):
    """A view of a database that does not move: every read through it, from any thread, sees one state.

    Where the server cannot give that, `facts` says so and every read is consistent in itself.
    """

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the manifest says of it.

        `isolation` in words, `one_state` (whether all reads of a table see the same), `taken_at` (ISO 8601, UTC), and
        what else names it (`id`, `lsn`).
        """
        ...

    def describe(self, table: TableName) -> TableSchema:
        """A table's declaration.

        Raises:
            NotFound: there is none of that name; with those there are.
            NotPermitted: it may not be read.
            UnsupportedColumn: a column's type has no counterpart, not even as text.
        """
        ...

    def count(self, query: TableQuery) -> int:
        """The number of rows of a query, counted by the server."""
        ...

    def count_null(self, table: TableSchema, column: str, where: str | None = None) -> int:
        """The number of rows whose `column` is NULL."""
        ...

    def find_largest(self, table: TableSchema, watermark: Watermark, where: str | None = None) -> str | None:
        """The largest watermark that an interval may end with now (lag applied), as exact text; None: there is none."""
        ...

    def schema_of(self, query: TableQuery) -> pa.Schema:
        """The Arrow schema of what `read` yields for a query, `source_type` and `note` in each field's metadata."""
        ...

    def read(self, query: TableQuery) -> Iterator[pa.RecordBatch]:
        """The rows, as batches of about BATCH_BYTES, in constant memory. Safe to call from several threads at once.

        Raises:
            UnexpectedValue: a value is not of its column's declared type, and `mismatches` is `fail`.
            ConnectionLost: the connection was cut; worth another try from the start.
            NotFound, NotPermitted: the table was dropped, or may not be read.
        """
        ...

    def split(self, query: TableQuery, parts: int) -> Sequence[TableQuery]:
        """The same rows as at most `parts` queries, where reading them beside each other sees the one snapshot.

        Otherwise the query itself, alone.
        """
        ...


@runtime_checkable
class TemporalSnapshot(Protocol):
    """A snapshot of a server whose tables can keep their past (SQL Server's system-versioned tables)."""

    def is_temporal(self, table: TableName) -> bool:
        """Whether a table keeps its past."""
        ...

    def read_as_of(self, query: TableQuery, moment: str) -> Iterator[pa.RecordBatch]:
        """The rows as they were at a moment, UTC, `YYYY-MM-DD hh:mm:ss`."""
        ...

    def count_as_of(self, query: TableQuery, moment: str) -> int:
        """The number of rows there were at a moment."""
        ...


class Server(Protocol):
    """One database of a server, reached at one address."""

    @property
    def kind(self) -> str:
        """`sqlite`, `postgresql`, `duckdb` or `mssql`."""
        ...

    def list_tables(self) -> list[TableName]:
        """All tables (no views, none of the system's) that this login can see, sorted. One query."""
        ...

    def open_snapshot(self) -> AbstractContextManager[Snapshot]:
        """A snapshot of now; closed with the block, and with it every connection it made.

        Raises:
            Unreachable: the server does not answer.
        """
        ...


def compare_watermarks(kind: WatermarkKind, one: str, other: str) -> int:
    """-1, 0 or 1 as `one` is before, equal to, or after `other`, by value."""
    if kind == "integer":
        first, second = int(one), int(other)
        return (first > second) - (first < second)
    # Datetimes are uniform ISO text of one column, row versions 0x and 16 hexadecimal digits: the text has the order.
    return (one > other) - (one < other)
