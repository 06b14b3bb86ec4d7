"""The table that rows are written to: made as they need it, or held against what they need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from adfml_assets.write_back.arrow_types import build_type, fits
from adfml_assets.write_back.errors import TargetInvalid
from resources.errors import NotFound

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy import Connection


@dataclass(frozen=True)
class Target:
    """Where rows go, and how.

    Attributes:
        database, schema, table: the table; None as schema: the database's default.
        keys: the columns that identify a row.
        newer: the column whose larger value wins, for example SnapshotDate: a row that has a larger one than the row to
            be written stays as it is. None: what is written last wins.
        overwrite_newer: whether even such rows are overwritten.
        create: whether the table is made where it does not exist.
        types: the types of columns that are made, where the rows' own types do not say enough, for example lengths.
        optional: columns that are left out where the table does not have them.
        batch_rows: rows of a transaction at most, each of which is whole or not there; a run that goes on after one
            that died begins where that one ended. None: all rows in one transaction.
    """

    database: str
    schema: str | None
    table: str
    keys: tuple[str, ...]
    newer: str | None = None
    overwrite_newer: bool = False
    create: bool = True
    types: Mapping[str, sa.types.TypeEngine[Any]] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    batch_rows: int | None = None

    @property
    def full_name(self) -> str:
        """database.schema.table, as messages name it."""
        return ".".join(part for part in (self.database, self.schema, self.table) if part)

    @property
    def guard(self) -> str | None:
        """The column that keeps newer rows as they are; None: they are overwritten."""
        return None if self.overwrite_newer else self.newer


@dataclass(frozen=True)
class OpenedTarget:
    """A table that can take the rows.

    Attributes:
        table: as the database has it.
        left_out: optional columns that it does not have.
        unique: whether an index of exactly the keys keeps them unique.
    """

    table: sa.Table
    left_out: tuple[str, ...]
    unique: bool


def open_target(connection: Connection, target: Target, kinds: Mapping[str, pa.DataType]) -> OpenedTarget:
    """Make the table where it does not exist, in a transaction of its own; else make sure it can take the rows.

    Args:
        kinds: the columns to be written with the Arrow types of their values.

    Raises:
        NotFound: a key or `newer` is none of these columns, or the table is not there and is not to be made.
        TargetInvalid: the table cannot take them; with everything that is wrong.
    """
    for name in (*target.keys, *([target.newer] if target.newer else [])):
        if name not in kinds:
            raise NotFound("column", name, f"the rows to be written to {target.full_name}", kinds)
    _require_table(connection, target, kinds)
    with connection.begin():
        table = reflect_table(connection, target.schema, target.table)
        left_out = tuple(
            name for name in kinds if name in target.optional - set(target.keys) and name not in table.columns
        )
        written = {name: kind for name, kind in kinds.items() if name not in left_out}
        problems = list(_find_problems(table, written, connection.dialect.name))
        if problems:
            raise TargetInvalid(target.full_name, problems)
        return OpenedTarget(table, left_out, is_unique(connection, table, target.keys))


def reflect_table(connection: Connection, schema: str | None, table: str) -> sa.Table:
    """A table as the database has it."""
    import sqlalchemy as sa

    return sa.Table(table, sa.MetaData(), schema=schema, autoload_with=connection, resolve_fks=False)


def is_unique(connection: Connection, table: sa.Table, keys: Sequence[str]) -> bool:
    """Whether a primary key, a unique constraint or a whole unique index is over exactly these columns.

    One that may be checked at the end of a transaction only (PostgreSQL: DEFERRABLE) does not count.
    """
    import sqlalchemy as sa

    wanted, deferred = set(keys), _find_deferred(connection, table)
    if {column.name for column in table.primary_key} == wanted and table.primary_key.name not in deferred:
        return True
    inspector = sa.inspect(connection)
    for constraint in inspector.get_unique_constraints(table.name, table.schema):
        if set(constraint["column_names"]) == wanted and constraint["name"] not in deferred:
            return True
    return any(
        index["unique"]
        and set(index["column_names"]) == wanted
        and not _is_partial(index)
        and index["name"] not in deferred
        for index in inspector.get_indexes(table.name, table.schema)
    )


def _find_deferred(connection: Connection, table: sa.Table) -> set[str]:
    """The names of keys, and of their indexes, that ON CONFLICT does not take."""
    import sqlalchemy as sa

    if connection.dialect.name != "postgresql":
        return set()
    query = "SELECT conname FROM pg_constraint WHERE conrelid = to_regclass(:name) AND condeferrable"
    name = connection.dialect.identifier_preparer.format_table(table)
    return set(connection.execute(sa.text(query), {"name": name}).scalars())


def _is_partial(index: Any) -> bool:
    options = index.get("dialect_options", {})
    return "expressions" in index or any(
        name.endswith("_where") and value is not None for name, value in options.items()
    )


def has_table(connection: Connection, schema: str | None, table: str) -> bool:
    """Whether there is such a table or view, in a transaction of its own."""
    import sqlalchemy as sa

    with connection.begin():
        return sa.inspect(connection).has_table(table, schema=schema)


def make_table(connection: Connection, table: sa.Table) -> None:
    """Make a table, in a transaction of its own; that another run has just made it is no error."""
    import sqlalchemy as sa

    try:
        with connection.begin():
            table.create(connection, checkfirst=False)
    except sa.exc.DBAPIError:
        if not has_table(connection, table.schema, table.name):
            raise


def _require_table(connection: Connection, target: Target, kinds: Mapping[str, pa.DataType]) -> None:
    import sqlalchemy as sa

    if has_table(connection, target.schema, target.table):
        return
    if target.create:
        if connection.dialect.name in ("sqlite", "duckdb") and (problems := list(_find_doubled(kinds))):
            raise TargetInvalid(target.full_name, problems)
        make_table(connection, _build_table(target, kinds))
        return
    with connection.begin():
        inspector = sa.inspect(connection)
        existing = [*inspector.get_table_names(target.schema), *inspector.get_view_names(target.schema)]
    raise NotFound("table", target.table, f"database '{target.database}'", existing)


def _find_doubled(names: Iterable[str]) -> Iterator[str]:
    """Columns that would be one, where a database does not look at the case of names."""
    known: dict[str, str] = {}
    for name in names:
        if known.setdefault(name.lower(), name) != name:
            yield f"columns {known[name.lower()]} and {name} would be one: this database does not look at case"


def _build_table(target: Target, kinds: Mapping[str, pa.DataType]) -> sa.Table:
    import sqlalchemy as sa

    columns: list[sa.Column[Any]] = []
    # The primary key has its columns in the order of the table's.
    for name in dict.fromkeys([*target.keys, *kinds]):
        is_key = name in target.keys
        made = target.types.get(name)
        if made is None:
            made = build_type(kinds[name], is_key=is_key)
        columns.append(sa.Column(name, made, primary_key=is_key, autoincrement=False, nullable=not is_key))
    return sa.Table(target.table, sa.MetaData(), *columns, schema=target.schema)


def _find_problems(table: sa.Table, kinds: Mapping[str, pa.DataType], dialect: str) -> Iterator[str]:
    for name, kind in kinds.items():
        if name not in table.columns:
            close = get_close_matches(name, table.columns.keys(), n=1)
            hint = f" (it has {close[0]})" if close else ""
            yield f"there is no column {name} for {kind}{hint}"
            continue
        column = table.columns[name]
        identity = column.identity
        if column.computed is not None or (identity is not None and (identity.always or dialect == "mssql")):
            yield f"column {name} is computed by the database, and is to be written"
        elif not fits(kind, column.type, dialect):
            yield f"column {name} is {column.type!r}, which does not hold {kind}"
    for column in table.columns:
        if column.name not in kinds and _must_be_given(column, table, dialect):
            yield f"column {column.name} is NOT NULL without a default, and is not written"


def _must_be_given(column: sa.Column[Any], table: sa.Table, dialect: str) -> bool:
    import sqlalchemy as sa
    from sqlalchemy.dialects.mssql import TIMESTAMP

    if column.nullable or any(one is not None for one in (column.server_default, column.computed, column.identity)):
        return False
    # SQLite's row numbers and SQL Server's rowversion come by themselves.
    if dialect == "sqlite" and isinstance(column.type, sa.Integer) and list(table.primary_key) == [column]:
        return False
    return not isinstance(column.type, TIMESTAMP)
