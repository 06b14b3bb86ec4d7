"""What SQL Server's catalog says of a database and its tables: the statements, and how their rows are read.

SQL Server 2016 and later, Azure SQL and SQL database in Fabric. Synapse pools and Fabric warehouses have fewer catalog
views and neither snapshots nor row versions: what they lack is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from resources.errors import UnsupportedColumn
from resources.servers.base import TableName
from resources.servers.sqlserver_statements import SqlServerTable, Statement, quote
from resources.servers.sqlserver_types import Declared, SqlServerColumn, map_column, spell_type

_EDITIONS = {
    5: "Azure SQL Database",
    6: "Synapse dedicated pool",
    8: "Azure SQL Managed Instance",
    9: "Azure SQL Edge",
    11: "Synapse serverless pool or Fabric warehouse",
    12: "SQL database in Fabric",
}
_WITHOUT_SNAPSHOTS = (6, 11)

EDITION = Statement("SELECT CONVERT(int, SERVERPROPERTY('EngineEdition'))")

_CLOCKS = "CONVERT(varchar(27), SYSUTCDATETIME(), 121), CONVERT(varchar(27), SYSDATETIME(), 121)"
_STATE = Statement(
    "SELECT DB_NAME(), USER_NAME(), "
    + _CLOCKS
    + """,
    d.snapshot_isolation_state, d.is_read_committed_snapshot_on,
    CONVERT(varchar(18), MIN_ACTIVE_ROWVERSION(), 1)
FROM (SELECT 1 AS one) AS here
LEFT JOIN sys.databases AS d ON d.name = DB_NAME()"""
)
_STATE_OF_POOL = Statement(f"SELECT DB_NAME(), USER_NAME(), {_CLOCKS}, 0, 0, NULL")

LIST_TABLES = Statement(
    """SELECT s.name, t.name
FROM sys.tables AS t
JOIN sys.schemas AS s ON s.schema_id = t.schema_id
WHERE t.is_ms_shipped = 0 AND t.is_external = 0"""
)
"""Tables of users, the history tables of temporal tables with them: their rows are nowhere else."""

FIND_READABLE = Statement(
    """SELECT TOP (1) s.name, t.name
FROM sys.tables AS t
JOIN sys.schemas AS s ON s.schema_id = t.schema_id
WHERE t.is_ms_shipped = 0 AND t.is_external = 0 AND t.is_memory_optimized = 0
    AND HAS_PERMS_BY_NAME(QUOTENAME(s.name) + N'.' + QUOTENAME(t.name), N'OBJECT', N'SELECT') = 1
ORDER BY t.object_id"""
)
"""A table whose reading can begin a snapshot."""

_DESCRIBE = """SELECT
    s.name, o.name, c.name, c.is_nullable, c.max_length, c.precision, c.scale,
    CASE WHEN ty.is_user_defined = 1 THEN COALESCE(base.name, ty.name) ELSE ty.name END,
    ty.is_assembly_type, c.is_masked, c.encryption_type, c.is_hidden, c.generated_always_type, c.is_column_set,
    key_column.key_ordinal, t.temporal_type, t.is_memory_optimized,
    HAS_PERMS_BY_NAME(QUOTENAME(s.name) + N'.' + QUOTENAME(o.name), N'OBJECT', N'SELECT', c.name, N'COLUMN')
FROM sys.objects AS o
JOIN sys.schemas AS s ON s.schema_id = o.schema_id
JOIN sys.columns AS c ON c.object_id = o.object_id
JOIN sys.types AS ty ON ty.user_type_id = c.user_type_id
LEFT JOIN sys.types AS base ON base.user_type_id = c.system_type_id AND base.is_user_defined = 0
LEFT JOIN sys.tables AS t ON t.object_id = o.object_id
LEFT JOIN sys.indexes AS pk ON pk.object_id = o.object_id AND pk.is_primary_key = 1
LEFT JOIN sys.index_columns AS key_column ON key_column.object_id = pk.object_id
    AND key_column.index_id = pk.index_id AND key_column.column_id = c.column_id
WHERE s.name = ? AND o.name = ? AND o.type IN ('U', 'V')
ORDER BY c.column_id"""

_MEASURE = """SELECT SUM(a.used_pages) * CONVERT(bigint, 8192)
FROM sys.partitions AS p
JOIN sys.allocation_units AS a ON a.container_id = CASE WHEN a.type = 2 THEN p.partition_id ELSE p.hobt_id END
WHERE p.object_id = OBJECT_ID(QUOTENAME(?) + N'.' + QUOTENAME(?)) AND p.index_id IN (0, 1)"""


@dataclass(frozen=True)
class DatabaseState:
    """A database, as it was before a snapshot of it began.

    Attributes:
        database, user: by their names there.
        edition: SERVERPROPERTY('EngineEdition').
        utc: the server's clock, UTC, as text of 27 characters.
        clock: the earlier of the server's UTC and local clock: whichever of them a column is filled from, rows
            before it are rows of the past.
        allows_snapshots: ALLOW_SNAPSHOT_ISOLATION is ON.
        reads_versions: READ_COMMITTED_SNAPSHOT is ON.
        oldest_active: MIN_ACTIVE_ROWVERSION() as text; None where there is none.
    """

    database: str
    user: str
    edition: int
    utc: str
    clock: str
    allows_snapshots: bool
    reads_versions: bool
    oldest_active: str | None

    @property
    def edition_name(self) -> str:
        """The edition in words."""
        return _EDITIONS.get(self.edition, "SQL Server")

    @property
    def has_levels(self) -> bool:
        """Whether sessions choose their isolation level: pools read at the level they have."""
        return self.edition not in _WITHOUT_SNAPSHOTS


def select_state(edition: int) -> Statement:
    """The statement for a database's state, one row."""
    return _STATE_OF_POOL if edition in _WITHOUT_SNAPSHOTS else _STATE


def read_state(edition: int, row: Sequence[Any]) -> DatabaseState:
    """The row of `select_state`."""
    database, user, utc, local, snapshots, versions, oldest = row
    return DatabaseState(
        str(database),
        str(user),
        edition,
        str(utc),
        min(str(utc), str(local)),
        # NULL: the login cannot see it. 2 and 3 are the transitions to OFF and ON: what begins in them fails or waits.
        snapshots == 1,
        bool(versions),
        None if oldest is None else str(oldest),
    )


def select_columns(table: TableName) -> Statement:
    """The statement for the columns of a table or view, one row a column."""
    return Statement(_DESCRIBE, (table.schema, table.table))


def select_size(table: TableName) -> Statement:
    """The statement for the bytes of a table without its other indexes; needs no permission but to see the table."""
    return Statement(_MEASURE, (table.schema, table.table))


def keep_exact(table: TableName, rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Those rows of `select_columns` that are of the table itself: the server may compare names without case."""
    return [row for row in rows if (str(row[0]), str(row[1])) == (table.schema, table.table)]


def may_select_any(rows: Sequence[Sequence[Any]]) -> bool:
    """Whether the login may read a column at least; what the server does not say counts as allowed."""
    return any(row[17] != 0 for row in rows)


def read_table(table: TableName, rows: Sequence[Sequence[Any]], estimated_bytes: int | None) -> SqlServerTable:
    """A table from the rows of `select_columns`.

    Left out: column sets (the XML of sparse columns that are there themselves) and the internal columns of graph
    tables. Hidden period columns are there.

    Raises:
        UnsupportedColumn: a type has no counterpart.
    """
    kept = [row for row in rows if not row[13] and not (row[11] and not row[12])]
    names = [str(row[2]) for row in kept]
    taken = set(names)
    columns: list[SqlServerColumn] = []
    for row in kept:
        declared = _read_declared(row)
        mapped = map_column(declared, quote, taken)
        if mapped is None:
            raise UnsupportedColumn(str(table), declared.name, spell_type(declared))
        columns += mapped
        taken |= {column.name for column in mapped}
    keys = sorted((int(row[14]), str(row[2])) for row in kept if row[14])
    return SqlServerTable(
        table,
        tuple(columns),
        tuple(name for _, name in keys),
        estimated_bytes,
        is_temporal=rows[0][15] == 2,
        is_memory_optimized=bool(rows[0][16]),
    )


def _read_declared(row: Sequence[Any]) -> Declared:
    return Declared(
        str(row[2]),
        str(row[7]),
        int(row[4]),
        int(row[5]),
        int(row[6]),
        nullable=bool(row[3]),
        clr=bool(row[8]),
        masked=bool(row[9]),
        encrypted=row[10] is not None,
        hidden=bool(row[11]),
    )
