"""How far a partition has been written that takes several transactions: kept in the database that it is written to.

A row of the table `adfml_write_back` is changed in the transaction of the batch it counts: both are there, or neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from adfml_assets.write_back.target import has_table, make_table
from adfml_assets.write_back.written import Written

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy import Connection

TABLE = "adfml_write_back"

_COUNTS = ("inserted", "updated", "unchanged", "kept_newer", "marked")
_ATTEMPTS = 5


@dataclass(frozen=True)
class Partition:
    """What is written.

    Attributes:
        asset: the key of the asset whose partition it is.
        partition: its key.
        digest: of everything that decides what is written: the partition's files and how they are written.
    """

    asset: str
    partition: str
    digest: str


@dataclass(frozen=True)
class Progress:
    """How far a partition has been written.

    Attributes:
        rows_done: rows in key order that are written.
        written: what became of them.
    """

    rows_done: int
    written: Written


@cache
def build_table(schema: str | None) -> sa.Table:
    """The table, in a schema."""
    import sqlalchemy as sa

    return sa.Table(
        TABLE,
        sa.MetaData(),
        sa.Column("asset", sa.Unicode(200), primary_key=True),
        sa.Column("partition_key", sa.Unicode(100), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in ("rows_done", *_COUNTS)),
        schema=schema,
    )


def begin(connection: Connection, schema: str | None, of: Partition) -> Progress:
    """Where to go on: at the first row, unless an earlier run has begun to write just the same.

    Commits; makes the table where it does not exist.
    """
    import sqlalchemy as sa

    table = build_table(schema)
    if not has_table(connection, schema, TABLE):
        make_table(connection, table)
    for attempt in range(_ATTEMPTS):
        try:
            with connection.begin():
                found = find(connection, schema, of)
                if found is not None:
                    return found
                # Of just the same rows another run may have begun meanwhile: its progress stays, and is found next.
                connection.execute(table.delete().where(_is_of(table, of), table.c.digest != of.digest))
                return _insert(connection, table, of)
        except sa.exc.IntegrityError:
            # Another run has begun at the same moment.
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def restart(connection: Connection, schema: str | None, of: Partition) -> Progress:
    """Begin at the first row whatever was written. Commits."""
    with connection.begin():
        table = build_table(schema)
        connection.execute(table.delete().where(_is_of(table, of)))
        return _insert(connection, table, of)


def _insert(connection: Connection, table: sa.Table, of: Partition) -> Progress:
    connection.execute(table.insert().values(_to_row(of)))
    return Progress(0, Written(0))


def find(connection: Connection, schema: str | None, of: Partition) -> Progress | None:
    """How far it has been written; None: not begun, ended, or begun with other rows."""
    import sqlalchemy as sa

    table = build_table(schema)
    row = connection.execute(sa.select(table).where(_is_of(table, of), table.c.digest == of.digest)).one_or_none()
    if row is None:
        return None
    counts = Written(row.rows_done, row.inserted, row.updated, row.unchanged, row.kept_newer, row.marked)
    return Progress(row.rows_done, counts)


def is_begun_otherwise(connection: Connection, schema: str | None, of: Partition) -> bool:
    """Whether the partition is being written with other rows."""
    import sqlalchemy as sa

    table = build_table(schema)
    query = sa.select(table.c.digest).where(_is_of(table, of), table.c.digest != of.digest)
    return connection.execute(query).one_or_none() is not None


def claim(connection: Connection, schema: str | None, of: Partition, start: int, stop: int) -> bool:
    """Take the rows from `start` up to before `stop` for this transaction; another one waits until it ends.

    Returns:
        Whether they are this transaction's: False where another run has written them meanwhile.
    """
    table = build_table(schema)
    mine = (_is_of(table, of), table.c.digest == of.digest, table.c.rows_done == start)
    return connection.execute(table.update().values(rows_done=stop).where(*mine)).rowcount == 1


def note(connection: Connection, schema: str | None, of: Partition, batch: Written) -> None:
    """Add what became of the rows that were claimed."""
    table = build_table(schema)
    added = {name: table.c[name] + getattr(batch, name) for name in _COUNTS}
    connection.execute(table.update().values(added).where(_is_of(table, of)))


def end(connection: Connection, schema: str | None, of: Partition) -> None:
    """All rows are written: a later run begins with the first again, and finds whether somebody has changed them."""
    table = build_table(schema)
    connection.execute(table.delete().where(_is_of(table, of)))


def _is_of(table: sa.Table, of: Partition) -> sa.ColumnElement[bool]:
    import sqlalchemy as sa

    return sa.and_(table.c.asset == of.asset, table.c.partition_key == of.partition)


def _to_row(of: Partition) -> dict[str, str | int]:
    counts = dict.fromkeys(("rows_done", *_COUNTS), 0)
    return {"asset": of.asset, "partition_key": of.partition, "digest": of.digest, **counts}
