"""A control database made before there were migrations: what it lacks of the first revision is added."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import produce_migrations
from alembic.operations import Operations, ops
from alembic.runtime.migration import MigrationContext

from resources.control_errors import NotAControlDatabase
from resources.migrations.history import first_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

_ADDING = (ops.CreateTableOp, ops.CreateIndexOp, ops.AddColumnOp)


def adopt(connection: Connection, address: str) -> None:
    """Give a database of an older version the tables, columns and indexes of the first revision that it lacks.

    A column that came later may be NULL there, also where the first revision has it NOT NULL: its rows have no value.

    Raises:
        NotAControlDatabase: a table of ours lacks what even the oldest version had: its primary key's columns.
    """
    _add(MigrationContext.configure(connection), list_missing(connection, address))


def write_adoption_sql(connection: Connection, address: str) -> str:
    """What `adopt` would run, as SQL."""
    written = io.StringIO()
    options = {"as_sql": True, "output_buffer": written, "literal_binds": True}
    dialect = connection.dialect.name
    _add(MigrationContext.configure(dialect_name=dialect, opts=options), list_missing(connection, address))
    return written.getvalue()


def list_missing(connection: Connection, address: str) -> list[ops.MigrateOperation]:
    """What a database of an older version lacks of the first revision."""
    metadata = first_tables()
    _require_keys(connection, metadata, address)
    options = {"include_name": lambda name, kind, _: kind != "table" or name in metadata.tables}
    found = produce_migrations(MigrationContext.configure(connection, opts=options), metadata).upgrade_ops
    return [operation for operation in _list_operations(found) if isinstance(operation, _ADDING)]


def _add(context: MigrationContext, missing: list[ops.MigrateOperation]) -> None:
    operations = Operations(context)
    for operation in missing:
        if isinstance(operation, ops.AddColumnOp):
            operation.column.nullable = True
        operations.invoke(operation)


def _list_operations(container: Any) -> Iterator[Any]:
    for operation in container.ops:
        if isinstance(operation, ops.OpContainer):
            yield from _list_operations(operation)
        else:
            yield operation


def _require_keys(connection: Connection, metadata: Any, address: str) -> None:
    import sqlalchemy as sa

    inspector = sa.inspect(connection)
    for name in sorted(set(inspector.get_table_names()) & set(metadata.tables)):
        wanted = {column.name for column in metadata.tables[name].primary_key}
        if missing := wanted - {column["name"] for column in inspector.get_columns(name)}:
            raise NotAControlDatabase(address, f"{name} has no column {', '.join(sorted(missing))}")
