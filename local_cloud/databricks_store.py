"""Runs and their attempts as they stand in the database: every change is one transaction."""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from local_cloud.attempts import new_id
from local_cloud.bundle import JobSpec
from local_cloud.clock import now_millis
from local_cloud.endings import SKIPPED, TERMINAL, Ending
from local_cloud.state import Database

_AT_WORK = "ended_at IS NULL AND (phase != 'QUEUED' OR stop_reason IS NOT NULL)"
_TABLES = (
    """CREATE TABLE IF NOT EXISTS databricks_runs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT, run_id INTEGER NOT NULL UNIQUE, job_id INTEGER NOT NULL,
        token TEXT UNIQUE, job TEXT NOT NULL, parameters TEXT NOT NULL, creator TEXT NOT NULL, fault TEXT,
        phase TEXT NOT NULL, accepted_at INTEGER NOT NULL, dequeued_at INTEGER, ended_at INTEGER,
        stop_reason TEXT, ending TEXT)""",
    """CREATE TABLE IF NOT EXISTS databricks_attempts (
        attempt_id INTEGER PRIMARY KEY, run_id INTEGER NOT NULL REFERENCES databricks_runs (run_id),
        number INTEGER NOT NULL, phase TEXT NOT NULL, not_before INTEGER NOT NULL, started_at INTEGER,
        stop_at INTEGER, stop_reason TEXT, ended_at INTEGER, exit_code INTEGER, ending TEXT,
        UNIQUE (run_id, number))""",
    "CREATE INDEX IF NOT EXISTS databricks_runs_queued ON databricks_runs (job_id, seq, stop_reason)"
    " WHERE phase = 'QUEUED'",
    "CREATE INDEX IF NOT EXISTS databricks_runs_active ON databricks_runs (seq) WHERE ended_at IS NULL",
    # Looked at many times a second, whatever the number of runs that only wait.
    f"CREATE INDEX IF NOT EXISTS databricks_runs_at_work ON databricks_runs (seq) WHERE {_AT_WORK}",
)


@dataclass(frozen=True)
class RunRecord:
    """A run. Times are milliseconds since the epoch (UTC); ``stop_reason`` is why it is to end before its time."""

    seq: int
    run_id: int
    job: JobSpec
    parameters: dict[str, str]
    creator: str
    fault: str | None
    phase: str
    accepted_at: int
    dequeued_at: int | None
    ended_at: int | None
    stop_reason: str | None
    ending: Ending | None

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self.phase not in TERMINAL


@dataclass(frozen=True)
class AttemptRecord:
    """One attempt of a run's task. ``not_before`` is when it may start, ``stop_at`` when it was told to stop."""

    attempt_id: int
    run_id: int
    number: int
    phase: str
    not_before: int
    started_at: int | None
    stop_at: int | None
    stop_reason: str | None
    ended_at: int | None
    exit_code: int | None
    ending: Ending | None


@dataclass(frozen=True)
class RunFilter:
    """What to list. Times are milliseconds since the epoch, both ends included."""

    job_id: int | None = None
    active: bool | None = None
    start_from: int | None = None
    start_to: int | None = None


class RunStore:
    """Reads and changes runs and attempts."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(_TABLES)

    def accept(
        self,
        job: JobSpec,
        parameters: Mapping[str, str],
        *,
        token: str | None,
        queue: bool,
        creator: str,
        choose_fault: Callable[[], str | None],
    ) -> tuple[int, bool]:
        """Accept a run, or find the one its token has already started: (run id, whether it is new).

        The place in the queue is decided here, in the same transaction: PENDING with a free slot, otherwise QUEUED,
        or SKIPPED when queueing is off. The first attempt is recorded with it.

        Args:
            job: The job as it is now; the run keeps it whatever becomes of the bundle.
            parameters: All job parameters.
            token: The idempotency token.
            queue: Whether the run may wait.
            creator: Who asked for it.
            choose_fault: Asked for the fault to do to the run, only when it is new.
        """
        with self._database.transaction() as connection:
            if token is not None:
                row = connection.execute("SELECT run_id FROM databricks_runs WHERE token = ?", (token,)).fetchone()
                if row:
                    return int(row["run_id"]), False
            free = _free_slots(connection, job) > 0 and not _queued(connection, job.job_id)
            phase = "PENDING" if free else "QUEUED" if queue and job.max_concurrent_runs > 0 else "SKIPPED"
            ending = _dump(SKIPPED) if phase == "SKIPPED" else None
            run_id, now, fault = new_id(), now_millis(), choose_fault()
            values = (run_id, job.job_id, token, job.model_dump_json(), json.dumps(dict(parameters)), creator, fault)
            times = (now, now if phase == "PENDING" else None, now if phase == "SKIPPED" else None)
            connection.execute(
                "INSERT INTO databricks_runs (run_id, job_id, token, job, parameters, creator, fault, phase,"
                " accepted_at, dequeued_at, ended_at, ending) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, phase, *times, ending),
            )
            _insert_attempt(connection, run_id, 0, phase, now)
            if phase == "SKIPPED":
                _end_attempt(connection, run_id, SKIPPED, None, now)
            return run_id, True

    def run(self, run_id: int) -> RunRecord | None:
        """A run by its id."""
        rows = self._database.rows("SELECT * FROM databricks_runs WHERE run_id = ?", (run_id,))
        return _run(rows[0]) if rows else None

    def attempt(self, attempt_id: int) -> AttemptRecord | None:
        """An attempt by its own run id."""
        rows = self._database.rows("SELECT * FROM databricks_attempts WHERE attempt_id = ?", (attempt_id,))
        return _attempt(rows[0]) if rows else None

    def attempts(self, run_id: int) -> list[AttemptRecord]:
        """A run's attempts, oldest first."""
        rows = self._database.rows("SELECT * FROM databricks_attempts WHERE run_id = ? ORDER BY number", (run_id,))
        return [_attempt(row) for row in rows]

    def list_runs(self, wanted: RunFilter, *, before_seq: int | None, limit: int) -> list[RunRecord]:
        """At most ``limit`` runs, newest first, accepted before the one with a sequence number."""
        active = None if wanted.active is None else int(wanted.active)
        rows = self._database.rows(
            """SELECT * FROM databricks_runs WHERE (:job_id IS NULL OR job_id = :job_id)
                AND (:active IS NULL OR (ended_at IS NULL) = :active)
                AND (:start_from IS NULL OR accepted_at >= :start_from)
                AND (:start_to IS NULL OR accepted_at <= :start_to)
                AND (:before IS NULL OR seq < :before) ORDER BY seq DESC LIMIT :limit""",
            {**asdict(wanted), "active": active, "before": before_seq, "limit": limit},
        )
        return [_run(row) for row in rows]

    def runs_at_work(self) -> list[RunRecord]:
        """Active runs that are not waiting for a slot, and waiting ones that are to stop, in the order accepted."""
        rows = self._database.rows(f"SELECT * FROM databricks_runs WHERE {_AT_WORK} ORDER BY seq")  # noqa: S608
        return [_run(row) for row in rows]

    def promote_queued(self) -> int:
        """Let queued runs out, oldest first, as far as their jobs have free slots: how many came out."""
        queued = "FROM databricks_runs WHERE phase = 'QUEUED' AND stop_reason IS NULL"
        jobs = [row["job_id"] for row in self._database.rows(f"SELECT DISTINCT job_id {queued}")]
        promoted = 0
        for job_id in jobs:
            with self._database.transaction() as connection:
                oldest = f"SELECT * {queued} AND job_id = ? ORDER BY seq LIMIT ?"
                first = connection.execute(oldest, (job_id, 1)).fetchone()
                free = 0 if first is None else _free_slots(connection, _run(first).job)
                for run in connection.execute(oldest, (job_id, max(0, free))).fetchall():
                    promoted += 1
                    connection.execute(
                        "UPDATE databricks_runs SET dequeued_at = ? WHERE run_id = ?", (now_millis(), run["run_id"])
                    )
                    _set_phase(connection, run["run_id"], "PENDING")
        return promoted

    def request_stop(self, run_id: int, reason: str) -> bool:
        """Ask for an active run to be stopped; the first reason stays. False when it has ended already."""
        with self._database.transaction() as connection:
            changed = connection.execute(
                "UPDATE databricks_runs SET stop_reason = COALESCE(stop_reason, ?)"
                " WHERE run_id = ? AND ended_at IS NULL",
                (reason, run_id),
            )
            return changed.rowcount > 0

    def set_phase(self, run_id: int, phase: str, *, started_at: int | None = None) -> None:
        """Move a run and its last attempt to a phase."""
        with self._database.transaction() as connection:
            _set_phase(connection, run_id, phase)
            if started_at is not None:
                connection.execute(
                    "UPDATE databricks_attempts SET started_at = ? WHERE run_id = ? AND ended_at IS NULL",
                    (started_at, run_id),
                )

    def set_run_phase(self, run_id: int, phase: str) -> None:
        """Move a run alone to a phase, its attempt staying where it is."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE databricks_runs SET phase = ? WHERE run_id = ?", (phase, run_id))

    def begin_stop(self, run_id: int, reason: str) -> None:
        """Record that the attempt at work is about to be told to stop, and why."""
        with self._database.transaction() as connection:
            _set_phase(connection, run_id, "TERMINATING")
            connection.execute(
                "UPDATE databricks_attempts SET stop_reason = ?, stop_at = ? WHERE run_id = ? AND ended_at IS NULL",
                (reason, now_millis(), run_id),
            )

    def end_run(
        self, run_id: int, ending: Ending, *, attempt_ending: Ending | None = None, exit_code: int | None = None
    ) -> None:
        """End a run, and its last attempt with it: as the run, unless it ends otherwise."""
        now = now_millis()
        with self._database.transaction() as connection:
            _end_attempt(connection, run_id, attempt_ending or ending, exit_code, now)
            connection.execute(
                "UPDATE databricks_runs SET phase = ?, ended_at = ?, ending = ? WHERE run_id = ?",
                (ending.life_cycle, now, _dump(ending), run_id),
            )

    def retry(self, failed: AttemptRecord, ending: Ending, *, exit_code: int | None, not_before: int) -> None:
        """End an attempt and record the next one, which waits until ``not_before``."""
        with self._database.transaction() as connection:
            _end_attempt(connection, failed.run_id, ending, exit_code, now_millis())
            _insert_attempt(connection, failed.run_id, failed.number + 1, "WAITING_FOR_RETRY", not_before)


def _insert_attempt(connection: sqlite3.Connection, run_id: int, number: int, phase: str, not_before: int) -> None:
    connection.execute(
        "INSERT INTO databricks_attempts (attempt_id, run_id, number, phase, not_before) VALUES (?, ?, ?, ?, ?)",
        (new_id(), run_id, number, phase, not_before),
    )
    _set_phase(connection, run_id, phase)


def _set_phase(connection: sqlite3.Connection, run_id: int, phase: str) -> None:
    connection.execute("UPDATE databricks_runs SET phase = ? WHERE run_id = ?", (phase, run_id))
    connection.execute(
        "UPDATE databricks_attempts SET phase = ? WHERE run_id = ? AND ended_at IS NULL", (phase, run_id)
    )


def _end_attempt(connection: sqlite3.Connection, run_id: int, ending: Ending, exit_code: int | None, now: int) -> None:
    connection.execute(
        "UPDATE databricks_attempts SET phase = ?, ended_at = ?, exit_code = ?, ending = ?"
        " WHERE run_id = ? AND ended_at IS NULL",
        (ending.life_cycle, now, exit_code, _dump(ending), run_id),
    )


def _free_slots(connection: sqlite3.Connection, job: JobSpec) -> int:
    at_work = connection.execute(
        "SELECT COUNT(*) AS n FROM databricks_runs WHERE job_id = ? AND phase <> 'QUEUED' AND ended_at IS NULL",
        (job.job_id,),
    ).fetchone()
    return job.max_concurrent_runs - int(at_work["n"])


def _queued(connection: sqlite3.Connection, job_id: int) -> bool:
    statement = "SELECT 1 FROM databricks_runs WHERE job_id = ? AND phase = 'QUEUED' LIMIT 1"
    return connection.execute(statement, (job_id,)).fetchone() is not None


def _dump(ending: Ending) -> str:
    return json.dumps(asdict(ending))


def _load(text: str | None) -> Ending | None:
    return None if text is None else Ending(**json.loads(text))


@functools.lru_cache(maxsize=256)
def _job(text: str) -> JobSpec:
    return JobSpec.model_validate_json(text)


def _run(row: sqlite3.Row) -> RunRecord:
    values: dict[str, Any] = dict(row)
    for name in ("job_id", "token"):
        values.pop(name)
    values["job"] = _job(values["job"])
    values["parameters"] = json.loads(values["parameters"])
    values["ending"] = _load(values["ending"])
    return RunRecord(**values)


def _attempt(row: sqlite3.Row) -> AttemptRecord:
    return AttemptRecord(**{**dict(row), "ending": _load(row["ending"])})
