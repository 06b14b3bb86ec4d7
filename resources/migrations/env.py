"""alembic's entry: runs revisions on the connection it is given, or writes them as SQL."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import Any

import sqlalchemy as sa
from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo

from resources.control import utc_now
from resources.control_tables import metadata, schema_changes
from resources.migrations.history import find_compatible_from
from resources.migrations.revisions import CHANGES_SINCE, version_table


def note_change(
    ctx: MigrationContext, step: MigrationInfo, heads: Collection[Any], run_args: Mapping[str, Any]
) -> None:
    """Write a revision's row into adfml_schema_changes; as SQL where SQL is written."""
    revision = step.up_revision_id
    if revision is None or revision < CHANGES_SINCE:
        return
    values: dict[str, Any] = {
        "revision": revision,
        "compatible_from": find_compatible_from(context.script, revision),
        "applied_at": utc_now(),
        "applied_by": f"adfml {version('adfml')}",
    }
    if context.is_offline_mode() and ctx.dialect.name == "mssql":
        # Its DATETIME takes no text with microseconds, and reads dates by the session's language.
        values["applied_at"] = sa.func.sysutcdatetime()
    ctx.execute(schema_changes.insert().values(values))


def run(connection: sa.Connection | None) -> None:
    """Run what alembic was told to, in one transaction: on a connection, or as SQL for a dialect."""
    where: dict[str, Any] = {"connection": connection}
    if connection is None:
        where = {"dialect_name": context.config.attributes["dialect"], "literal_binds": True}
    context.configure(
        target_metadata=metadata,
        version_table=version_table.name,
        on_version_apply=note_change,
        render_as_batch=True,  # SQLite cannot change a column: the table is copied
        include_name=_is_ours,
        **where,
    )
    with context.begin_transaction():
        context.run_migrations()


def _is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    return kind != "table" or name in metadata.tables


if context.is_offline_mode():
    run(None)
elif (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:  # the command `alembic`, by a developer who writes a revision
    from resources.database import build_engine
    from resources.settings import CONTROL

    with build_engine(CONTROL.read(), CONTROL).connect() as opened:
        run(opened)
