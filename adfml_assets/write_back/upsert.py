"""Staged rows into their table by one set-based statement: what is new is inserted, what differs is updated.

SQLite, PostgreSQL and DuckDB: INSERT ... ON CONFLICT DO UPDATE ... WHERE it differs, in key order. SQL Server: MERGE,
see `sqlserver_merge`. Others, and tables whose keys no index keeps unique: UPDATE, then INSERT of what is not there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adfml_assets.write_back.errors import DuplicateKeys, NullKeys
from adfml_assets.write_back.sqlserver_merge import merge
from adfml_assets.write_back.target import is_unique
from adfml_assets.write_back.written import Written

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy import Connection

_EXAMPLES = 5

# What PostgreSQL counts by itself for the transaction: to have the statement return what was new takes longer. A row
# that was inserted in vain, because another writer was faster, counts as inserted and deleted. No row: not counted.
_INSERTED = """
SELECT pg_stat_get_xact_tuples_inserted(c.oid) - pg_stat_get_xact_tuples_deleted(c.oid) FROM pg_class c
WHERE c.oid = to_regclass(:name) AND c.relkind = 'r' AND current_setting('track_counts')::boolean
"""


@dataclass(frozen=True)
class Upsert:
    """What is written where.

    Attributes:
        target: the table.
        staging: where the rows are now.
        keys: the target's columns that identify a row.
        values: each target column that is written, and the expression over the staging table that it gets.
        guard: the column that keeps a row as it is where it is larger there; None: rows are always overwritten.
        unique: whether an index of the target keeps the keys unique.
        ordered: whether the rows were staged in the order of their keys, and so are found in it.
    """

    target: sa.Table
    staging: sa.Table
    keys: tuple[str, ...]
    values: Mapping[str, sa.ColumnElement[Any]]
    guard: str | None = None
    unique: bool = True
    ordered: bool = False

    @property
    def others(self) -> list[str]:
        """The columns that are no keys."""
        return [name for name in self.values if name not in self.keys]

    def match(self, source: Any) -> sa.ColumnElement[bool]:
        """Whether a row of the target has the key of a row of `source`, which has expressions by name."""
        import sqlalchemy as sa

        return sa.and_(*(self.target.c[key] == source[key] for key in self.keys))

    def differs(self, source: Any) -> sa.ColumnElement[bool]:
        """Whether a row of the target may and has to be changed to be as a row of `source`."""
        import sqlalchemy as sa

        changed = sa.or_(sa.false(), *(self._compare(self.target.c[name], source[name]) for name in self.others))
        if self.guard is None:
            return changed
        there = self.target.c[self.guard]
        return sa.and_(sa.or_(there.is_(None), there <= source[self.guard]), changed)

    def _compare(self, there: sa.Column[Any], new: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        import sqlalchemy as sa
        from sqlalchemy.dialects.postgresql import JSONB

        if isinstance(there.type, sa.JSON) and not isinstance(there.type, JSONB):
            # PostgreSQL's json has no equality.
            return sa.cast(there, sa.Text).is_distinct_from(sa.cast(new, sa.Text))
        return there.is_distinct_from(new)


def upsert_staged(
    connection: Connection,
    target: sa.Table,
    staging: sa.Table,
    keys: Sequence[str],
    *,
    values: Mapping[str, sa.ColumnElement[Any]] | None = None,
    newer: str | None = None,
    overwrite_newer: bool = False,
    distinct: bool = False,
    ordered: bool = False,
) -> Written:
    """Write rows that are in a table of the same database, within the caller's transaction.

    Columns of the target that are not written keep what they have. On SQLite begin the transaction with BEGIN IMMEDIATE
    where others write, too.

    Args:
        target: as the database has it.
        staging: the rows.
        keys: the target's columns that identify a row.
        values: each target column that is written, and the expression over the staging table that it gets; None: all
            columns of the staging table, under their own names.
        newer: the column whose larger value wins; None: rows are always overwritten.
        overwrite_newer: whether rows with a larger `newer` are overwritten all the same.
        distinct: whether no two rows can have one key, so that nothing has to look for them.
        ordered: whether the rows were staged in the order of their keys.

    Raises:
        NullKeys, DuplicateKeys: staged rows have no key, or not their own; nothing was written.
    """
    started = time.monotonic()
    given = dict(values) if values is not None else {column.name: column for column in staging.columns}
    guard = None if overwrite_newer else newer
    upsert = Upsert(target, staging, tuple(keys), given, guard, is_unique(connection, target, keys), ordered)
    expressions = {key: given[key] for key in keys}
    require_keys(connection, staging, expressions, target.fullname)
    if not distinct:
        require_unique(connection, staging, expressions, target)
    written = run_upsert(connection, upsert, count_rows(connection, staging))
    return written.add(Written(0, seconds=time.monotonic() - started))


def run_upsert(connection: Connection, upsert: Upsert, rows: int) -> Written:
    """Write staged rows whose keys are known to be there and unique.

    Args:
        rows: how many are staged.
    """
    if rows == 0:
        return Written(0)
    dialect = connection.dialect.name
    if dialect == "mssql":
        inserted, updated = merge(connection, upsert)
    elif dialect == "postgresql" and upsert.unique:
        inserted, updated = _upsert_postgresql(connection, upsert, rows)
    elif dialect == "sqlite" and upsert.unique:
        inserted, updated = _upsert_sqlite(connection, upsert, rows)
    elif dialect == "duckdb" and upsert.unique:
        inserted, updated = _upsert_duckdb(connection, upsert)
    else:
        inserted, updated = _update_and_insert(connection, upsert)
    # Where nothing keeps keys unique, a row may have changed several.
    rest = max(rows - inserted - updated, 0)
    kept = _count_newer(connection, upsert) if rest and upsert.guard is not None else 0
    return Written(rows, inserted, updated, rest - kept, kept)


def _select(upsert: Upsert) -> sa.Select[Any]:
    import sqlalchemy as sa

    order = [] if upsert.ordered else [value for key in upsert.keys if _reads_rows(value := upsert.values[key])]
    columns = [value.label(name) for name, value in upsert.values.items()]
    # SQLite would take the ON of ON CONFLICT for that of a join.
    return sa.select(*columns).select_from(upsert.staging).where(sa.true()).order_by(*order)


def _reads_rows(expression: sa.ColumnElement[Any]) -> bool:
    """Whether an expression is another one in each row."""
    import sqlalchemy as sa
    from sqlalchemy.sql import visitors

    return any(isinstance(part, sa.Column) for part in visitors.iterate(expression))


def _build_on_conflict(insert: Any, upsert: Upsert) -> Any:
    """INSERT ... SELECT ... ON CONFLICT, with the dialect's own INSERT."""
    statement = insert.from_select(list(upsert.values), _select(upsert), include_defaults=False)
    if not upsert.others:
        return statement.on_conflict_do_nothing(index_elements=list(upsert.keys))
    new = statement.excluded
    changes = {name: new[name] for name in upsert.others}
    where = upsert.differs(new)
    return statement.on_conflict_do_update(index_elements=list(upsert.keys), set_=changes, where=where)


def build_postgresql_upsert(upsert: Upsert) -> sa.Insert:
    """The upsert; DuckDB's is the same."""
    from sqlalchemy.dialects.postgresql import insert

    return _build_on_conflict(insert(upsert.target), upsert)


def build_sqlite_upsert(upsert: Upsert) -> sa.Insert:
    """The upsert."""
    from sqlalchemy.dialects.sqlite import insert

    return _build_on_conflict(insert(upsert.target), upsert)


def _upsert_postgresql(connection: Connection, upsert: Upsert, rows: int) -> tuple[int, int]:
    import sqlalchemy as sa

    name = connection.dialect.identifier_preparer.format_table(upsert.target)
    counted = sa.text(_INSERTED).bindparams(name=name)
    before = connection.execute(counted).scalar()
    missing = count_missing(connection, upsert, rows) if before is None else 0
    changed = _run(connection, build_postgresql_upsert(upsert))
    after = connection.execute(counted).scalar()
    # A trigger may insert more rows.
    inserted = missing if before is None or after is None else min(after - before, changed)
    return inserted, changed - inserted


def _upsert_sqlite(connection: Connection, upsert: Upsert, rows: int) -> tuple[int, int]:
    # Nobody else writes until the transaction ends. To count a table takes SQLite a look at its pages, which is faster
    # than to look for every row where there are fewer pages than rows.
    schema = connection.dialect.identifier_preparer.quote(upsert.target.schema or "main")
    few_pages = connection.exec_driver_sql(f"PRAGMA {schema}.page_count").scalar_one() < rows
    before = count_rows(connection, upsert.target) if few_pages else 0
    missing = 0 if few_pages else count_missing(connection, upsert, rows)
    changed = _run(connection, build_sqlite_upsert(upsert))
    # A trigger may insert more rows.
    inserted = min(count_rows(connection, upsert.target) - before, changed) if few_pages else missing
    return inserted, changed - inserted


def _upsert_duckdb(connection: Connection, upsert: Upsert) -> tuple[int, int]:
    # Its transactions see one state, and it counts a table without looking at the rows.
    before = count_rows(connection, upsert.target)
    changed = _run(connection, build_postgresql_upsert(upsert))
    inserted = count_rows(connection, upsert.target) - before
    return inserted, changed - inserted


def count_missing(connection: Connection, upsert: Upsert, rows: int) -> int:
    """How many of the staged rows are not in the target."""
    import sqlalchemy as sa

    there = sa.exists().where(upsert.match(upsert.values)).correlate(upsert.staging)
    query = sa.select(sa.func.count()).select_from(upsert.staging).where(there)
    return rows - int(connection.execute(query).scalar_one())


def _run(connection: Connection, statement: sa.Executable) -> int:
    """Run a statement. Returns how many rows it changed."""
    result: Any = connection.execute(statement, execution_options={"preserve_rowcount": True})
    return int(result.rowcount)


def _update_and_insert(connection: Connection, upsert: Upsert) -> tuple[int, int]:
    import sqlalchemy as sa

    if connection.dialect.name == "postgresql":
        # No index keeps two writers from inserting one key each.
        name = connection.dialect.identifier_preparer.format_table(upsert.target)
        connection.exec_driver_sql(f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE")
    updated = 0
    if upsert.others:
        changes = {name: upsert.values[name] for name in upsert.others}
        condition = sa.and_(upsert.match(upsert.values), upsert.differs(upsert.values))
        updated = _run(connection, upsert.target.update().values(changes).where(condition))
    there = sa.exists().where(upsert.match(upsert.values)).correlate(upsert.staging)
    missing = _select(upsert).where(~there)
    insert = upsert.target.insert().from_select(list(upsert.values), missing, include_defaults=False)
    return _run(connection, insert), updated


def _count_newer(connection: Connection, upsert: Upsert) -> int:
    """Staged rows that have a newer one in the target: after the upsert these are the ones that it left."""
    import sqlalchemy as sa

    assert upsert.guard is not None  # noqa: S101 - the caller looked
    found, new = upsert.target.c[upsert.guard], upsert.values[upsert.guard]
    # A row without a date of its own is older than each that has one.
    newer = sa.or_(found > new, sa.and_(found.is_not(None), new.is_(None)))
    there = sa.exists().where(upsert.match(upsert.values), newer).correlate(upsert.staging)
    query = sa.select(sa.func.count()).select_from(upsert.staging).where(there)
    return int(connection.execute(query).scalar_one())


def count_rows(connection: Connection, table: sa.Table) -> int:
    """How many rows a table has."""
    import sqlalchemy as sa

    return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def require_keys(
    connection: Connection, staging: sa.Table, keys: Mapping[str, sa.ColumnElement[Any]], table: str
) -> None:
    """Make sure that no staged row has NULL in its key.

    Args:
        keys: the table's key columns and the expressions over the staging table that they get.
        table: for messages.

    Raises:
        NullKeys: some have; with examples.
    """
    import sqlalchemy as sa

    missing = sa.or_(*(value.is_(None) for value in keys.values()))
    rows = connection.execute(sa.select(sa.func.count()).select_from(staging).where(missing)).scalar_one()
    if rows:
        query = sa.select(*keys.values()).select_from(staging).where(missing).limit(_EXAMPLES)
        raise NullKeys(table, list(keys), rows, [tuple(row) for row in connection.execute(query)])


def require_unique(
    connection: Connection, staging: sa.Table, keys: Mapping[str, sa.ColumnElement[Any]], target: sa.Table
) -> None:
    """Make sure that no two staged rows have one key, as the table compares them.

    Args:
        keys: the table's key columns and the expressions over the staging table that they get.
        target: the table.

    Raises:
        DuplicateKeys: some have; with examples.
    """
    import sqlalchemy as sa

    columns = [value.label(name) for name, value in keys.items()]
    staged = sa.select(*columns).select_from(staging)
    # SQLAlchemy does not read SQLite's collations: there the columns take them from the first of the two selects.
    none = sa.select(*(target.c[name] for name in keys)).where(sa.false())
    rows = (sa.union_all(none, staged) if connection.dialect.name == "sqlite" else staged).subquery()
    doubled = sa.select(*rows.columns).group_by(*rows.columns).having(sa.func.count() > 1).limit(_EXAMPLES)
    found = [tuple(row) for row in connection.execute(doubled)]
    if found:
        raise DuplicateKeys(target.fullname, list(keys), found)
