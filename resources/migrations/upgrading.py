"""Opening a control database, and changing its tables: one process at a time, whole or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

import sqlalchemy as sa

from resources.control_errors import DatabaseNewer, NotMigrated, UpgradeNeeded
from resources.control_tables import metadata, schema_changes
from resources.database import describe_address
from resources.migrations import revisions
from resources.migrations.revisions import FoundRevision, find_revision, find_revision_within, version_table
from resources.redaction import redact

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

LOCK_SECONDS = 30
_LOCK_NUMBER = 0x6164666D6C  # "adfml": one lock of PostgreSQL's for all who change these tables
# alembic's environment belongs to the process, not to a thread.
_alembic = threading.Lock()


@dataclass(frozen=True)
class Upgrade:
    """What was done to a database.

    Attributes:
        found: the revision it was at; None: it had none.
        adopted: whether it was made before there were migrations.
        applied: the revisions that were run, oldest first; for a new database only the newest.
    """

    found: str | None
    adopted: bool
    applied: tuple[str, ...]


def require_tables(engine: Engine) -> None:
    """Make sure that a control database has this code's tables: one query where it has.

    A new database gets them. One that lacks only additions gets those, as code of before can go on using it.

    Raises:
        UpgradeNeeded: it is older, and what is pending changes more than it adds.
        DatabaseNewer: newer code has changed it so that this code cannot use it.
        NotAControlDatabase, NotMigrated: see `upgrade`.
    """
    with engine.connect() as connection:
        found = find_revision(connection)
    if not found.is_usable:
        _require_not_newer(engine, found)
        upgrade(engine, additions_only=True)


def upgrade(engine: Engine, *, additions_only: bool = False) -> Upgrade:
    """Bring a control database to this code's revision; another process that does so at the same time is waited for.

    Raises:
        DatabaseNewer: it is newer than this code, and cannot be used by it.
        UpgradeNeeded: with `additions_only`, more than additions are pending.
        NotAControlDatabase: its tables are not ours.
        NotMigrated: somebody holds the tables, or the login may not change them.
    """
    with _alembic, _telling_refusals(engine), _holding_lock(engine) as connection:
        found = find_revision_within(connection)
        if found.is_usable:
            return Upgrade(found.revision, adopted=False, applied=())
        _require_not_newer(engine, found)
        if found.revision is None and not revisions.list_own_tables(connection, metadata):
            _create(connection)
            return Upgrade(None, adopted=False, applied=(revisions.HEAD,))
        return _run_pending(engine, connection, found, additions_only=additions_only)


def write_pending_sql(engine: Engine) -> str:
    """What `upgrade` would run now, as SQL; "" where nothing is pending.

    Raises:
        DatabaseNewer: it is newer than this code.
        NotAControlDatabase: its tables are not ours.
    """
    from resources.migrations.adoption import write_adoption_sql
    from resources.migrations.history import write_sql, write_stamp_sql

    dialect = engine.dialect.name
    with engine.connect() as connection:
        found = find_revision(connection)
        if found.is_usable:
            return ""
        _require_not_newer(engine, found)
        with _alembic, connection.begin():
            if found.revision is not None or not revisions.list_own_tables(connection, metadata):
                return write_sql(dialect, found.revision)
            recognised = write_adoption_sql(connection, describe_address(engine))
            return recognised + write_stamp_sql(dialect, revisions.FIRST) + write_sql(dialect, revisions.FIRST)


def _run_pending(engine: Engine, connection: Connection, found: FoundRevision, *, additions_only: bool) -> Upgrade:
    from resources.migrations import history
    from resources.migrations.adoption import adopt

    pending = history.list_pending(found.revision or revisions.FIRST)
    breaking = [str(one.revision) for one in pending if not history.is_additive(one)]
    if breaking and additions_only:
        reason = f"revision {' and '.join(breaking)} changes what older code uses"
        raise UpgradeNeeded(describe_address(engine), found.revision or revisions.FIRST, revisions.HEAD, reason)
    if found.revision is None:
        adopt(connection, describe_address(engine))
        history.stamp(connection, revisions.FIRST)
    history.migrate(connection)
    applied = tuple(str(one.revision) for one in pending)
    return Upgrade(found.revision, adopted=found.revision is None, applied=applied)


def _create(connection: Connection) -> None:
    # The tables as they are now, not all revisions one after the other: tests/migrations holds both equal.
    from resources.control import utc_now

    metadata.create_all(connection, checkfirst=False)
    version_table.create(connection)
    connection.execute(version_table.insert().values(version_num=revisions.HEAD))
    change = {
        "revision": revisions.HEAD,
        "compatible_from": revisions.COMPATIBLE_FROM,
        "applied_at": utc_now(),
        "applied_by": f"adfml {version('adfml')}",
    }
    connection.execute(schema_changes.insert().values(change))


def _require_not_newer(engine: Engine, found: FoundRevision) -> None:
    if found.is_newer and not found.is_usable:
        raise DatabaseNewer(describe_address(engine), str(found.revision), revisions.HEAD)


@contextmanager
def _holding_lock(engine: Engine) -> Iterator[Connection]:
    """A transaction that no other of its kind runs beside. All three databases take DDL back with it."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK_NUMBER})"))
        elif engine.dialect.name == "mssql":
            connection.execute(sa.text(SQL_SERVER_LOCK))
        # SQLite: the transaction began by taking the write lock.
        yield connection


SQL_SERVER_LOCK = f"""
SET LOCK_TIMEOUT {LOCK_SECONDS * 1000};
DECLARE @taken int;
EXECUTE @taken = sp_getapplock @Resource = N'adfml_schema', @LockMode = N'Exclusive', @LockOwner = N'Transaction',
    @LockTimeout = {LOCK_SECONDS * 1000};
IF @taken < 0 THROW 51000, N'lock request time out: another process changes the tables', 1;
"""


@contextmanager
def _telling_refusals(engine: Engine) -> Iterator[None]:
    try:
        yield
    except sa.exc.DBAPIError as error:
        text = redact(str(error.orig).strip().splitlines()[0])
        state = getattr(error.orig, "sqlstate", None)
        low = text.lower()
        if state == "55P03" or "database is locked" in low or "lock request time out" in low:
            remedy = "Another process holds them: try again when it has ended"
        elif state == "42501" or "readonly" in low or "permission" in low:
            remedy = "Run `adfml upgrade` with a login that may change tables"
        else:
            raise
        raise NotMigrated(describe_address(engine), text, remedy) from error
