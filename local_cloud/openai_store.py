"""Files and batches as they stand in the database and on disk: every change is one transaction."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_cloud.openai_orders import Orders
from local_cloud.state import Database, StateFolder

ENDED = ("completed", "failed", "expired", "cancelled")
"""The statuses a batch stays in."""

_ACTIVE = f"status NOT IN {ENDED}"
_CLOCK = "openai_clock_ahead"
_TABLES = (
    """CREATE TABLE IF NOT EXISTS openai_files (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, file_id TEXT NOT NULL UNIQUE, purpose TEXT NOT NULL,
        filename TEXT NOT NULL, bytes INTEGER NOT NULL, created_at REAL NOT NULL, expires_at REAL)""",
    """CREATE TABLE IF NOT EXISTS openai_batches (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, batch_id TEXT NOT NULL UNIQUE, input_file_id TEXT NOT NULL,
        endpoint TEXT NOT NULL, metadata TEXT NOT NULL, output_seconds INTEGER, orders TEXT NOT NULL,
        tokens INTEGER NOT NULL, status TEXT NOT NULL, model TEXT, created_at REAL NOT NULL, expires_at REAL NOT NULL,
        in_progress_at REAL, finalizing_at REAL, completed_at REAL, failed_at REAL, expired_at REAL,
        cancelling_at REAL, cancelled_at REAL, total INTEGER NOT NULL DEFAULT 0, completed INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0, output_file_id TEXT, error_file_id TEXT, errors TEXT, usage TEXT)""",
    f"CREATE INDEX IF NOT EXISTS openai_batches_active ON openai_batches (seq) WHERE {_ACTIVE}",
)
_LIVE = "(expires_at IS NULL OR expires_at > :now)"


@dataclass(frozen=True)
class FileRecord:
    """A file. Times are seconds since the epoch (UTC); ``expires_at`` is None for one that stays."""

    seq: int
    file_id: str
    purpose: str
    filename: str
    bytes: int
    created_at: float
    expires_at: float | None


@dataclass(frozen=True)
class BatchRecord:
    """A batch. Times are seconds since the epoch (UTC); counts are requests; ``tokens`` is what it enqueues."""

    seq: int
    batch_id: str
    input_file_id: str
    endpoint: str
    metadata: dict[str, str] | None
    output_seconds: int | None
    orders: Orders
    tokens: int
    status: str
    model: str | None
    created_at: float
    expires_at: float
    in_progress_at: float | None
    finalizing_at: float | None
    completed_at: float | None
    failed_at: float | None
    expired_at: float | None
    cancelling_at: float | None
    cancelled_at: float | None
    total: int
    completed: int
    failed: int
    output_file_id: str | None
    error_file_id: str | None
    errors: list[dict[str, Any]] | None
    usage: dict[str, Any] | None

    @property
    def has_ended(self) -> bool:
        """Whether its status is final."""
        return self.status in ENDED


class OpenAIStore:
    """Reads and changes files and batches."""

    def __init__(self, database: Database, state: StateFolder) -> None:
        self._database = database
        self._root = state.root / "openai"
        for folder in (self.files_folder, self.batches_folder, self.staging):
            folder.mkdir(parents=True, exist_ok=True)
        database.create(_TABLES)
        self._ahead = float(database.setting(_CLOCK, lambda: "0"))

    @property
    def files_folder(self) -> Path:
        """One file an uploaded or produced file, named by its id."""
        return self._root / "files"

    @property
    def batches_folder(self) -> Path:
        """One file a batch that has not ended: its input, whatever becomes of the uploaded file."""
        return self._root / "batches"

    @property
    def staging(self) -> Path:
        """Files that are being written."""
        return self._root / "staging"

    @property
    def seen(self) -> Path:
        """The database of the custom_ids that batches have processed; written by the worker alone."""
        return self._root / "seen.sqlite"

    def now(self) -> float:
        """The service's time, in seconds since the epoch."""
        return time.time() + self._ahead

    def set_clock(self, ahead_seconds: float) -> None:
        """Set the service's clock ahead of the machine's, so that files and batches expire without waiting."""
        self._database.keep_setting(_CLOCK, str(ahead_seconds))
        self._ahead = ahead_seconds

    def path(self, file_id: str) -> Path:
        """Where a file's content is."""
        return self.files_folder / file_id

    def input_of(self, batch_id: str) -> Path:
        """Where a batch's input is, until it has ended."""
        return self.batches_folder / f"{batch_id}.jsonl"

    def clean_up(self) -> None:
        """Remove what a killed server has left half done; only before anything else happens."""
        for path in self.staging.iterdir():
            path.unlink()
        active = set(self.active_ids())
        for path in self.batches_folder.iterdir():
            if path.stem not in active:
                path.unlink()
        kept = {row["file_id"] for row in self._database.rows("SELECT file_id FROM openai_files")}
        for path in self.files_folder.iterdir():
            if path.name not in kept:
                path.unlink()

    def add_file(self, staged: Path, filename: str, expiry_seconds: int | None) -> FileRecord:
        """Take up an uploaded file."""
        file_id, now = f"file-{secrets.token_hex(16)}", self.now()
        size = staged.stat().st_size
        staged.replace(self.path(file_id))
        expires = None if expiry_seconds is None else now + expiry_seconds
        with self._database.transaction() as connection:
            seq = _insert_file(connection, (file_id, "batch", filename, size, now, expires))
        return FileRecord(seq, file_id, "batch", filename, size, now, expires)

    def file(self, file_id: str) -> FileRecord | None:
        """A file that is there and has not expired."""
        rows = self._database.rows(
            f"SELECT * FROM openai_files WHERE file_id = :id AND {_LIVE}",  # noqa: S608
            {"id": file_id, "now": self.now()},
        )
        return FileRecord(**rows[0]) if rows else None

    def count_files(self, *, with_expiry: bool) -> int:
        """How many input files there are, with an expiry or without one."""
        condition = "IS NOT NULL" if with_expiry else "IS NULL"
        rows = self._database.rows(
            f"SELECT COUNT(*) AS n FROM openai_files WHERE purpose = 'batch' AND expires_at {condition} AND {_LIVE}",  # noqa: S608
            {"now": self.now()},
        )
        return int(rows[0]["n"])

    def list_files(self, *, purpose: str | None, after: int | None, limit: int, newest_first: bool) -> list[FileRecord]:
        """At most ``limit`` files beyond the one with a sequence number."""
        comparison, order = ("<", "DESC") if newest_first else (">", "ASC")
        rows = self._database.rows(
            f"SELECT * FROM openai_files WHERE (:purpose IS NULL OR purpose = :purpose) AND {_LIVE}"  # noqa: S608
            f" AND (:after IS NULL OR seq {comparison} :after) ORDER BY seq {order} LIMIT :limit",
            {"purpose": purpose, "after": after, "limit": limit, "now": self.now()},
        )
        return [FileRecord(**row) for row in rows]

    def delete_file(self, file_id: str) -> None:
        """Delete a file; a batch at work on it keeps its input."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM openai_files WHERE file_id = ?", (file_id,))
        self.path(file_id).unlink(missing_ok=True)

    def remove_expired(self) -> None:
        """Delete the files whose time has come."""
        for row in self._database.rows("SELECT file_id FROM openai_files WHERE expires_at <= ?", (self.now(),)):
            self.delete_file(row["file_id"])

    def add_batch(
        self,
        file: FileRecord,
        *,
        endpoint: str,
        metadata: dict[str, str] | None,
        output_seconds: int | None,
        window_seconds: int,
        orders: Orders,
        tokens: int,
    ) -> BatchRecord:
        """Accept a batch.

        Raises:
            FileNotFoundError: the input was deleted in this moment.
        """
        batch_id, now = f"batch_{secrets.token_hex(16)}", self.now()
        self.input_of(batch_id).hardlink_to(self.path(file.file_id))
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO openai_batches (batch_id, input_file_id, endpoint, metadata, output_seconds, orders,"
                " tokens, status, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'validating', ?, ?)",
                (
                    *(batch_id, file.file_id, endpoint, json.dumps(metadata), output_seconds),
                    *(json.dumps(orders.to_json()), tokens, now, now + window_seconds),
                ),
            )
            row = connection.execute("SELECT * FROM openai_batches WHERE batch_id = ?", (batch_id,)).fetchone()
        return _batch(row)

    def batch(self, batch_id: str) -> BatchRecord | None:
        """A batch by its id."""
        rows = self._database.rows("SELECT * FROM openai_batches WHERE batch_id = ?", (batch_id,))
        return _batch(rows[0]) if rows else None

    def list_batches(self, *, before: int | None, limit: int) -> list[BatchRecord]:
        """At most ``limit`` batches, newest first, created before the one with a sequence number."""
        rows = self._database.rows(
            "SELECT * FROM openai_batches WHERE (:before IS NULL OR seq < :before) ORDER BY seq DESC LIMIT :limit",
            {"before": before, "limit": limit},
        )
        return [_batch(row) for row in rows]

    def active_ids(self) -> list[str]:
        """The batches that have not ended, oldest first."""
        rows = self._database.rows(f"SELECT batch_id FROM openai_batches WHERE {_ACTIVE} ORDER BY seq")  # noqa: S608
        return [row["batch_id"] for row in rows]

    def enqueued_tokens(self) -> int:
        """The tokens of all batches that have not ended."""
        rows = self._database.rows(f"SELECT COALESCE(SUM(tokens), 0) AS n FROM openai_batches WHERE {_ACTIVE}")  # noqa: S608
        return int(rows[0]["n"])

    def move(self, batch_id: str, status: str, *, expected: Sequence[str], **columns: Any) -> bool:
        """Move a batch on and set columns; False when it is not in one of the expected statuses any more."""
        allowed = ", ".join(f"'{one}'" for one in expected)
        with self._database.transaction() as connection:
            return self._set(connection, batch_id, status, f"status IN ({allowed})", columns)

    def note_progress(self, batch_id: str, completed: int, failed: int) -> None:
        """Record how far a batch is."""
        with self._database.transaction() as connection:
            connection.execute(
                f"UPDATE openai_batches SET completed = ?, failed = ? WHERE batch_id = ? AND {_ACTIVE}",  # noqa: S608
                (completed, failed, batch_id),
            )

    def finish(self, batch: BatchRecord, status: str, *, files: Sequence[FileRecord], **columns: Any) -> None:
        """End a batch, and register the files it has produced with it (their content is in place)."""
        with self._database.transaction() as connection:
            for file in files:
                connection.execute("DELETE FROM openai_files WHERE file_id = ?", (file.file_id,))
                values = (file.file_id, file.purpose, file.filename, file.bytes, file.created_at, file.expires_at)
                _insert_file(connection, values)
            self._set(connection, batch.batch_id, status, _ACTIVE, columns)
        self.input_of(batch.batch_id).unlink(missing_ok=True)

    def _set(
        self, connection: sqlite3.Connection, batch_id: str, status: str, condition: str, columns: Mapping[str, Any]
    ) -> bool:
        """Set a batch's status, the moment it came to it, and columns, where a condition holds: whether it did."""
        sets = "".join(f", {name} = :{name}" for name in columns)
        changed = connection.execute(
            f"UPDATE openai_batches SET status = :status, {status}_at = COALESCE({status}_at, :now){sets}"  # noqa: S608
            f" WHERE batch_id = :batch_id AND {condition}",
            {
                **{name: _to_column(name, value) for name, value in columns.items()},
                **{"status": status, "now": self.now(), "batch_id": batch_id},
            },
        )
        return changed.rowcount > 0


def _to_column(name: str, value: Any) -> Any:
    return json.dumps(value) if name in ("errors", "usage") else value


def _insert_file(connection: sqlite3.Connection, values: tuple[Any, ...]) -> int:
    cursor = connection.execute(
        "INSERT INTO openai_files (file_id, purpose, filename, bytes, created_at, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        values,
    )
    return int(cursor.lastrowid or 0)


def _batch(row: sqlite3.Row) -> BatchRecord:
    values: dict[str, Any] = dict(row)
    for name in ("metadata", "errors", "usage"):
        values[name] = None if values[name] is None else json.loads(values[name])
    values["orders"] = Orders.from_json(json.loads(values["orders"]))
    return BatchRecord(**values)
