"""A DuckDB file as a database: one process at a time has it open, and who comes second waits for a while."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.engine import URL

# The last of them: a thread of this process closes it just now.
_HELD = re.compile(r"Could not set lock on file|being used by another process|Unique file handle conflict")
_HOLDER = re.compile(r"Conflicting lock is held in (?P<program>.*?) ?\(PID (?P<process>\d+)\)")

CHECK = "what that process does, and wait until it has ended or close it: one process at a time opens a DuckDB file"
"""What to do where another process has the file."""

_WRITERS: defaultdict[Path, threading.RLock] = defaultdict(threading.RLock)


def create_duckdb_engine(url: URL, timeout_seconds: float) -> Engine:
    """An engine that waits where another process has the file open, and keeps no connection.

    A connection that is kept would keep every other process out for as long as this one lives.

    Args:
        timeout_seconds: how long to wait.
    """
    import sqlalchemy as sa

    options: dict[str, Any] = {"hide_parameters": True}
    if url.database and url.database != ":memory:":
        options["poolclass"] = sa.pool.NullPool
    engine = sa.create_engine(url, **options)

    @sa.event.listens_for(engine, "do_connect")
    def connect(dialect: sa.Dialect, record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
        import tenacity

        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_held),
            wait=tenacity.wait_random_exponential(multiplier=0.02, max=0.5),
            stop=tenacity.stop_after_delay(timeout_seconds),
            reraise=True,
        )
        return again(lambda: dialect.connect(*arguments, **options))

    return engine


def is_held(error: BaseException) -> bool:
    """Whether a file could not be opened because another process has it."""
    return _HELD.search(str(error)) is not None


def describe_holder(error: BaseException) -> str:
    """Which process has the file, as DuckDB says it."""
    found = _HOLDER.search(str(error))
    return f"process {found['process']} ({found['program']}) has it open" if found else "another process has it open"


@contextmanager
def write_alone(connection: Connection) -> Iterator[None]:
    """Let one thread of this process at a time write to a DuckDB file; of other databases as many as there are.

    DuckDB keeps two transactions that insert one key apart only by failing one of them, and keeps nothing apart where
    no index is over the key. Another process does not have the file.
    """
    if connection.dialect.name != "duckdb" or not connection.engine.url.database:
        yield
        return
    with _WRITERS[Path(connection.engine.url.database).resolve()]:
        yield
