"""The state folder every service of the local cloud shares: its paths, its database, its settings."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_cloud.errors import StateInUseError

_SETTINGS = "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)"


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old text or the whole new one, never a part."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


@dataclass(frozen=True)
class StateFolder:
    """Where everything the local cloud keeps lies. ``root`` is absolute."""

    root: Path

    @classmethod
    def at(cls, path: Path | str) -> StateFolder:
        """The state folder at a path, without creating anything."""
        return cls(Path(path).expanduser().resolve())

    def create(self) -> None:
        """Create the folder, readable by its owner only (it holds the signing secret and the logs)."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.runs.mkdir(exist_ok=True)
        self.mlflow_artifacts.mkdir(parents=True, exist_ok=True)

    @property
    def database(self) -> Path:
        """The SQLite database of all services."""
        return self.root / "cloud.sqlite"

    @property
    def address(self) -> Path:
        """The file that says where the running cloud answers; absent while none runs."""
        return self.root / "address.json"

    @property
    def log(self) -> Path:
        """The log of a cloud started by `local_cloud.process.LocalCloud`."""
        return self.root / "server.log"

    @property
    def runs(self) -> Path:
        """One folder an attempt: its order, claim, log and result."""
        return self.root / "runs"

    @property
    def mlflow_artifacts(self) -> Path:
        """Where MLflow keeps models and files."""
        return self.root / "mlflow" / "artifacts"

    @property
    def mlflow_database(self) -> Path:
        """MLflow's own database: mlflow-skinny refuses its old file store."""
        return self.root / "mlflow" / "mlflow.sqlite"

    def mlflow_environment(self) -> dict[str, str]:
        """The environment variables that make any MLflow client use this folder's tracking store and registry.

        A SQLite store keeps artifacts in ``./mlruns`` of whoever creates an experiment first, unless told otherwise
        by the second variable.
        """
        return {
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.mlflow_database}",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": self.mlflow_artifacts.as_uri(),
        }

    def read_address(self) -> dict[str, Any] | None:
        """What address.json says, or None when it is missing or not an address."""
        try:
            found = json.loads(self.address.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        return found if isinstance(found, dict) and {"url", "pid", "created"} <= found.keys() else None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one server; the system frees it when that process dies, however it dies.

        Raises:
            StateInUseError: another server holds it.
        """
        with (self.root / "lock").open("a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise StateInUseError(self.root, f"process {lock.read().strip() or 'unknown'}") from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield


class Database:
    """The SQLite database in WAL mode: one connection, one transaction at a time, from any thread.

    The state lock keeps other processes out, so that one connection behind a lock is all the concurrency control
    there is to get right.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=NORMAL")
        self.create([_SETTINGS])

    def create(self, statements: Sequence[str]) -> None:
        """Create a service's tables where they are missing."""
        with self.transaction() as connection:
            for statement in statements:
                connection.execute(statement)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed on leaving, rolled back when the block raises."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query."""
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def setting(self, name: str, make: Callable[[], str]) -> str:
        """A setting's value, made and kept the first time it is asked for."""
        with self.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO settings VALUES (?, ?)", (name, make()))
            found = connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
            return str(found["value"])

    def keep_setting(self, name: str, value: str) -> None:
        """Set a setting."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def close(self) -> None:
        """Close the connection; what was committed stays."""
        with self._lock:
            self._connection.close()
