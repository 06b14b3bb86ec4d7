"""The control database: what must survive every crash. Ledger of jobs, watermark intervals, claims, models."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import dagster as dg
from pydantic import Field, PrivateAttr

from resources.database import build_engine, describe_address, open_connection
from resources.duckdb_file import write_alone
from resources.errors import Unreachable
from resources.settings import CONTROL

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from resources.alerts.register import AlertRegister
    from resources.claims import Claims
    from resources.intervals import Intervals
    from resources.ledger import Ledger
    from resources.model_registry import ModelRegistry
    from resources.removals import Removals
    from resources.retrainings import Retrainings

T = TypeVar("T")


class ControlDatabase(dg.ConfigurableResource):
    """The control database at ADFML_CONTROL_URL (SQLite, PostgreSQL or SQL Server). Tables are made on first use."""

    connect_timeout_seconds: int = Field(default=30, description="How long to wait for a connection or lock, seconds.")
    _engine: Any = PrivateAttr(default=None)
    _sources: dict[str, Any] = PrivateAttr(default_factory=dict)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    @property
    def engine(self) -> Engine:
        """The engine, with every table in place.

        Raises:
            SettingMissing: ADFML_CONTROL_URL.
            Unreachable: the database does not answer.
        """
        with self._lock:
            if self._engine is None:
                self._engine = build_control_engine(CONTROL.read(), self.connect_timeout_seconds)
        return self._engine

    @property
    def ledger(self) -> Ledger:
        """The ledger of remote jobs."""
        from resources.ledger import Ledger

        return Ledger(self.engine)

    @property
    def intervals(self) -> Intervals:
        """The watermark intervals of incremental extracts."""
        from resources.intervals import Intervals

        return Intervals(self.engine)

    def find_intervals(self, database: str, source: Engine | None) -> Intervals:
        """Where the watermark intervals of a database are kept: here, or in the source itself.

        Args:
            database: its name, for messages.
            source: its engine where the table ArchiveWatermark is in the source; None: it is in the control database.

        Raises:
            NotFound: the source has no table ArchiveWatermark; `resources/sql` has its DDL.
        """
        from resources.database import require_table
        from resources.intervals import Intervals

        if source is None:
            return self.intervals
        with self._lock:
            if database not in self._sources:
                engine = build_engine(
                    source.url.render_as_string(hide_password=False), CONTROL, self.connect_timeout_seconds
                )
                if engine.dialect.name == "sqlite":
                    _begin_immediately(engine)
                with open_connection(engine, database, CONTROL) as connection:
                    require_table(connection, database, None, "ArchiveWatermark")
                self._sources[database] = engine
        return Intervals(self._sources[database])

    @property
    def claims(self) -> Claims:
        """Who may make which partition visible."""
        from resources.claims import Claims

        return Claims(self.engine)

    @property
    def removals(self) -> Removals:
        """What retention removes."""
        from resources.removals import Removals

        return Removals(self.engine)

    @property
    def models(self) -> ModelRegistry:
        """The registry of models: versions, verdicts, aliases."""
        from resources.model_registry import ModelRegistry

        return ModelRegistry(self.engine)

    @property
    def alerts(self) -> AlertRegister:
        """What has failed, and what is to be told of it."""
        from resources.alerts.register import AlertRegister

        return AlertRegister(self.engine)

    @property
    def retrainings(self) -> Retrainings:
        """The trainings that drift asked for."""
        from resources.retrainings import Retrainings

        return Retrainings(self.engine)


def build_control_engine(url: str, timeout_seconds: int = 30) -> Engine:
    """An engine for the control database, with this code's tables in it.

    Raises:
        Unreachable: it does not answer, or its file cannot be made.
        UpgradeNeeded, DatabaseNewer, NotMigrated, NotAControlDatabase: see `resources.migrations.upgrading`.
    """
    from resources.migrations.upgrading import require_tables

    engine = connect_control(url, timeout_seconds)
    require_tables(engine)
    return engine


def connect_control(url: str, timeout_seconds: int = 30) -> Engine:
    """An engine for the control database, whatever tables it has; a SQLite file that does not exist is made.

    Raises:
        Unreachable: it does not answer, or its file cannot be made.
    """
    engine = build_engine(url, CONTROL, timeout_seconds)
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine, timeout_seconds)
        _require_sqlite(engine)
    else:
        with open_connection(engine, "control", CONTROL):
            pass
    return engine


def _prepare_sqlite(engine: Engine, timeout_seconds: int) -> None:
    import sqlite3

    import sqlalchemy as sa
    import tenacity

    # Of several processes that open a new file one changes its mode; the others are refused at once, and do not wait.
    patiently = tenacity.Retrying(
        retry=tenacity.retry_if_exception(lambda e: isinstance(e, sqlite3.OperationalError) and "locked" in str(e)),
        wait=tenacity.wait_random(0.005, 0.05),
        stop=tenacity.stop_after_delay(timeout_seconds),
        reraise=True,
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        patiently(connection.execute, "PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    _begin_immediately(engine)


def _require_sqlite(engine: Engine) -> None:
    from pathlib import Path

    import sqlalchemy as sa

    try:
        if engine.url.database and engine.url.database != ":memory:":
            Path(engine.url.database).absolute().parent.mkdir(parents=True, exist_ok=True)
        engine.connect().close()
    except (OSError, sa.exc.DBAPIError) as error:
        reason = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        check = f"the path in {CONTROL.name}, and that it may be written"
        raise Unreachable("Database 'control'", describe_address(engine), str(reason), check) from None


def _begin_immediately(engine: Engine) -> None:
    """Make every transaction on a SQLite engine take the write lock at its beginning."""
    import sqlalchemy as sa

    @sa.event.listens_for(engine, "connect")
    def _leave_to_us(connection: Any, _record: Any) -> None:
        # Transactions are begun by _begin_immediate; pysqlite's own begin would be a deferred one, which fails with
        # "database is locked" instead of waiting when two readers want to write.
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def _begin_immediate(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def begin(engine: Engine) -> Iterator[Connection]:
    """A transaction on the control database that sees no other writer's half: committed at the end, or not at all."""
    # SQLite's and DuckDB's files have one writer at a time, and no name for what their transactions are.
    isolation = {} if engine.dialect.name in {"sqlite", "duckdb"} else {"isolation_level": "SERIALIZABLE"}
    with (
        engine.connect().execution_options(**isolation) as connection,
        write_alone(connection),
        connection.begin(),
    ):
        yield connection


def run_transaction(engine: Engine, action: Callable[[Connection], T]) -> T:
    """Run an action in a transaction of `begin`; one that the server ended to let another through is run again.

    The action must be repeatable: only its last run counts in the database, but each of them happened.
    """
    import tenacity

    @tenacity.retry(
        retry=tenacity.retry_if_exception(lost_to_another),
        wait=tenacity.wait_random_exponential(multiplier=0.02, max=1),
        stop=tenacity.stop_after_delay(60),
        reraise=True,
    )
    def run() -> T:
        with begin(engine) as connection:
            return action(connection)

    return run()


def lost_to_another(error: BaseException) -> bool:
    """Whether a transaction failed only because another one came first: serialization failure, deadlock, equal key."""
    import sqlalchemy as sa

    if isinstance(error, sa.exc.IntegrityError):
        return True
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    if type(error.orig).__name__ == "TransactionException":  # DuckDB's, which has no numbers
        return any(words in str(error.orig) for words in ("onflict", "Failed to commit"))
    # mssql-python gives the server's error number in its message only: 1205 deadlock, 3960 snapshot conflict.
    state = getattr(error.orig, "sqlstate", None)
    return state in {"40001", "40P01"} or any(code in str(error.orig) for code in ("1205", "3960"))


def deployment_id(engine: Engine) -> str:
    """This deployment's own id, made once: two deployments on one workspace never share a submission's token."""
    import sqlalchemy as sa

    from resources.control_tables import deployments

    def find_or_make(connection: Connection) -> str:
        found = connection.execute(sa.select(deployments.c.id)).scalar()
        if found:
            return str(found)
        new = uuid.uuid4().hex
        connection.execute(deployments.insert().values(id=new, created_at=utc_now()))
        return new

    return run_transaction(engine, find_or_make)


def utc_now() -> datetime:
    """Now, with its zone."""
    return datetime.now(UTC)
