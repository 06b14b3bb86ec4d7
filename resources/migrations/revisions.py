"""Which revision a control database is at, and which one this code needs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from resources.control_tables import schema_changes

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

FIRST = "0001"
HEAD = "0004"
# The oldest revision whose code can use a database at HEAD: every revision after it only added something.
COMPATIBLE_FROM = "0001"
# The revision that made adfml_schema_changes.
CHANGES_SINCE = "0002"

# As alembic makes it, under a name of our own: the database may be Dagster's too, which has an alembic_version.
version_table = sa.Table(
    "adfml_schema_version",
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name="adfml_schema_version_pkc"),
)
_FORM = re.compile(r"\d{4}")


@dataclass(frozen=True)
class FoundRevision:
    """What a database says of itself.

    Attributes:
        revision: None where it has no version table: it is new, or older than the migrations.
        compatible_from: of a revision newer than HEAD, the oldest one whose code may use it; None: not said.
    """

    revision: str | None
    compatible_from: str | None = None

    @property
    def is_newer(self) -> bool:
        """Whether it was changed by code that is newer than this."""
        return self.revision is not None and (_FORM.fullmatch(self.revision) is None or self.revision > HEAD)

    @property
    def is_usable(self) -> bool:
        """Whether this code can work with it as it is."""
        if not self.is_newer:
            return self.revision == HEAD
        return self.compatible_from is not None and self.compatible_from <= HEAD


def find_revision(connection: Connection) -> FoundRevision:
    """What a database says of itself: one query where it is at HEAD."""
    try:
        found = _read(connection)
    except (sa.exc.OperationalError, sa.exc.ProgrammingError):
        with connection.begin():
            if not sa.inspect(connection).has_table(version_table.name):
                return FoundRevision(None)
        # Another process has just made it; if it was something else, it comes again.
        found = _read(connection)
    with connection.begin():
        return _describe(connection, found)


def _read(connection: Connection) -> list[str]:
    with connection.begin():
        return list(connection.execute(sa.select(version_table.c.version_num)).scalars())


def find_revision_within(connection: Connection) -> FoundRevision:
    """The same inside of a transaction, which a query of a missing table would end."""
    if not sa.inspect(connection).has_table(version_table.name):
        return FoundRevision(None)
    return _describe(connection, list(connection.execute(sa.select(version_table.c.version_num)).scalars()))


def _describe(connection: Connection, revisions: list[str]) -> FoundRevision:
    found = FoundRevision(" and ".join(sorted(revisions)) or None)
    if not found.is_newer or not sa.inspect(connection).has_table(schema_changes.name):
        return found
    query = sa.select(schema_changes.c.compatible_from).where(schema_changes.c.revision == found.revision)
    return FoundRevision(found.revision, connection.execute(query).scalar())


def list_own_tables(connection: Connection, metadata: sa.MetaData) -> list[str]:
    """Which of the control database's tables are there."""
    return sorted(set(sa.inspect(connection).get_table_names()) & set(metadata.tables))


def is_sqlite(engine: Engine) -> bool:
    """Whether the control database is a file."""
    return engine.dialect.name == "sqlite"
