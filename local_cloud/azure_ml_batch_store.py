"""Batch jobs as they stand in the database: every change is one transaction."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_cloud.attempts import new_id
from local_cloud.clock import now_millis
from local_cloud.state import Database

WAITING, AT_WORK, ENDED = "waiting", "at work", "ended"

_TABLES = (
    """CREATE TABLE IF NOT EXISTS azure_ml_batch_jobs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, attempt_id INTEGER NOT NULL UNIQUE,
        endpoint TEXT NOT NULL, deployment TEXT NOT NULL, request TEXT NOT NULL, command TEXT NOT NULL,
        request_id TEXT, creator TEXT NOT NULL, held INTEGER NOT NULL, phase TEXT NOT NULL, status TEXT NOT NULL,
        code TEXT, message TEXT, accepted_at INTEGER NOT NULL, started_at INTEGER, ended_at INTEGER,
        cancel_asked_at INTEGER)""",
    "CREATE INDEX IF NOT EXISTS azure_ml_batch_jobs_active ON azure_ml_batch_jobs (phase, seq)",
    "CREATE INDEX IF NOT EXISTS azure_ml_batch_jobs_listed ON azure_ml_batch_jobs (endpoint, seq)",
)


@dataclass(frozen=True)
class JobRecord:
    """A job. Times are milliseconds since the epoch (UTC); `request` is what was asked for, `command` what is run."""

    seq: int
    name: str
    attempt_id: int
    endpoint: str
    deployment: str
    request: Mapping[str, Any]
    command: tuple[str, ...]
    request_id: str | None
    creator: str
    held: bool
    phase: str
    status: str
    code: str | None
    message: str | None
    accepted_at: int
    started_at: int | None
    ended_at: int | None
    cancel_asked_at: int | None


class JobStore:
    """Reads and changes jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(_TABLES)

    def accept(
        self,
        *,
        endpoint: str,
        deployment: str,
        request: Mapping[str, Any],
        command: list[str],
        request_id: str | None,
        creator: str,
        held: bool,
    ) -> JobRecord:
        """Record a new job. The same request id makes another job: no document promises anything else."""
        name = f"batchjob-{uuid.uuid4()}"
        values = (name, new_id(), endpoint, deployment)
        content = (json.dumps(dict(request)), json.dumps(command), request_id, creator, int(held))
        state = (WAITING, "Running" if held else "Preparing", now_millis())
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO azure_ml_batch_jobs (name, attempt_id, endpoint, deployment, request, command, request_id,"
                " creator, held, phase, status, accepted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, *content, *state),
            )
        found = self.find(name)
        assert found is not None  # noqa: S101 - it was inserted
        return found

    def find(self, name: str) -> JobRecord | None:
        """A job by its name."""
        rows = self._database.rows("SELECT * FROM azure_ml_batch_jobs WHERE name = ?", (name,))
        return _job(rows[0]) if rows else None

    def list_page(
        self, *, endpoint: str | None, deployment: str | None, before: int | None, limit: int
    ) -> list[JobRecord]:
        """At most `limit` jobs, newest first, accepted before the one with a sequence number."""
        rows = self._database.rows(
            """SELECT * FROM azure_ml_batch_jobs WHERE (:endpoint IS NULL OR endpoint = :endpoint)
                AND (:deployment IS NULL OR deployment = :deployment)
                AND (:before IS NULL OR seq < :before) ORDER BY seq DESC LIMIT :limit""",
            {"endpoint": endpoint, "deployment": deployment, "before": before, "limit": limit},
        )
        return [_job(row) for row in rows]

    def list_at_work(self) -> list[JobRecord]:
        """Jobs that were started and have not ended."""
        return [_job(row) for row in self._select(AT_WORK)]

    def list_waiting(self, limit: int) -> list[JobRecord]:
        """The next jobs to start, oldest first; held ones are none."""
        return [_job(row) for row in self._select(WAITING, "AND held = 0 AND cancel_asked_at IS NULL", limit)]

    def list_waiting_cancelled(self) -> list[JobRecord]:
        """Jobs that were cancelled before they were started."""
        return [_job(row) for row in self._select(WAITING, "AND cancel_asked_at IS NOT NULL")]

    def _select(self, phase: str, more: str = "", limit: int = -1) -> list[sqlite3.Row]:
        statement = f"SELECT * FROM azure_ml_batch_jobs WHERE phase = ? {more} ORDER BY seq LIMIT ?"  # noqa: S608
        return self._database.rows(statement, (phase, limit))

    def release_held(self) -> None:
        """Let the held jobs be started."""
        self._update("held = 0 WHERE phase = ? AND held = 1", (WAITING,))

    def set_status(self, name: str, status: str) -> None:
        """Show another status of a job that has not ended."""
        self._update("status = ? WHERE name = ? AND phase <> 'ended'", (status, name))

    def begin(self, name: str) -> None:
        """Record that a job is being started."""
        self._update("phase = ?, status = 'Running', started_at = ? WHERE name = ?", (AT_WORK, now_millis(), name))

    def ask_cancel(self, name: str) -> bool:
        """Ask for a job to be stopped; False where it has ended already."""
        changes = "cancel_asked_at = COALESCE(cancel_asked_at, ?), status = 'CancelRequested'"
        return self._update(f"{changes} WHERE name = ? AND phase <> 'ended'", (now_millis(), name)) > 0

    def end(self, name: str, status: str, *, code: str | None = None, message: str | None = None) -> None:
        """End a job as Completed, Failed or Canceled."""
        self._update(
            "phase = ?, status = ?, code = ?, message = ?, ended_at = ? WHERE name = ? AND phase <> 'ended'",
            (ENDED, status, code, message, now_millis(), name),
        )

    def _update(self, what: str, values: tuple[Any, ...]) -> int:
        with self._database.transaction() as connection:
            return connection.execute(f"UPDATE azure_ml_batch_jobs SET {what}", values).rowcount  # noqa: S608


def _job(row: sqlite3.Row) -> JobRecord:
    values: dict[str, Any] = dict(row)
    values["request"] = json.loads(values["request"])
    values["command"] = tuple(json.loads(values["command"]))
    values["held"] = bool(values["held"])
    return JobRecord(**values)
