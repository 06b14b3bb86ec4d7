"""Moves batch jobs on: starts, watches, stops and ends them. Everything it knows is in the database and on disk."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from local_cloud.attempts import AttemptFolders, Exit
from local_cloud.azure_ml_batch_store import JobRecord, JobStore
from local_cloud.clock import now_millis
from local_cloud.faults import FaultBox
from local_cloud.logs import read_log
from local_cloud.rounds import Rounds

USER_ERROR, SERVICE_ERROR = "UserError", "ServiceError"

_SLOTS = max(2, os.cpu_count() or 2)
_log = logging.getLogger(__name__)


class Engine(Rounds):
    """One thread that goes over the jobs at work, and starts the next ones as slots get free."""

    def __init__(
        self, store: JobStore, folders: AttemptFolders, faults: FaultBox, on_failure: Callable[[], None]
    ) -> None:
        """Create the engine, not yet started.

        Args:
            store: The jobs.
            folders: Where their work is run.
            faults: Clearing them releases what is held.
            on_failure: Called when the engine cannot go on at all, so that the server ends instead of standing still.
        """
        super().__init__("azure-ml-batch-engine", on_failure)
        self._store = store
        self._folders = folders
        self._faults = faults
        self._stop_asked_at: int | None = None
        faults.on_clear(self.wake)

    def advance(self) -> bool:
        """Move every job at work on by a step, then start the next ones."""
        if not self._faults.holds():
            self._store.release_held()
        for job in self._store.list_waiting_cancelled():
            # A supervisor of an earlier server may be on its way to it.
            if self._folders.withdraw(job.attempt_id):
                self._store.end(job.name, "Canceled")
            else:
                self._store.begin(job.name)
        at_work = self._store.list_at_work()
        for job in at_work:
            self._guard(job, self._watch)
        free = _SLOTS - len(at_work)
        waiting = self._store.list_waiting(max(0, free) + 1)
        for job in waiting[: max(0, free)]:
            self._guard(job, self._launch)
        for job in waiting[max(0, free) :]:
            if job.status == "Preparing":
                self._store.set_status(job.name, "Queued")
        return bool(at_work or waiting)

    def _guard(self, job: JobRecord, advance: Callable[[JobRecord], None]) -> None:
        try:
            advance(job)
        except Exception as error:
            _log.exception("Job %s cannot go on.", job.name)
            self._folders.abandon(job.attempt_id)
            message = f"The local cloud cannot go on with this job: {error!r}"
            self._store.end(job.name, "Failed", code=SERVICE_ERROR, message=message)

    def _launch(self, job: JobRecord) -> None:
        fault = self._faults.take_behaviour("azure_ml_batch.service_error")
        if fault is not None:
            message = "The compute could not be supplied (a fault that was ordered)."
            self._store.end(job.name, "Failed", code=SERVICE_ERROR, message=message)
            return
        self._store.begin(job.name)

    def _watch(self, job: JobRecord) -> None:
        claim = self._folders.claim(job.attempt_id)
        if claim is None:
            if not self._folders.start(job.attempt_id, list(job.command)):
                said = self._folders.supervisor_log(job.attempt_id) or "nothing"
                message = f"The supervisor of the job ended before it started it, saying: {said}"
                self._store.end(job.name, "Failed", code=SERVICE_ERROR, message=message)
            return
        outcome = self._folders.outcome(job.attempt_id)
        if isinstance(outcome, Exit):
            self._finish(job, outcome.exit_code)
        elif outcome is not None:
            status = "Canceled" if job.cancel_asked_at is not None else "Failed"
            self._store.end(job.name, status, code=SERVICE_ERROR, message=f"The job was lost: {outcome}.")
        elif job.cancel_asked_at is not None:
            self._folders.stop(job.attempt_id, job.cancel_asked_at)

    def _finish(self, job: JobRecord, exit_code: int) -> None:
        if job.status != "Finalizing" and exit_code == 0 and job.cancel_asked_at is None:
            self._store.set_status(job.name, "Finalizing")
            self.wake()
        elif exit_code == 0:
            # What was cancelled too late is done.
            self._store.end(job.name, "Completed")
        elif job.cancel_asked_at is not None:
            self._store.end(job.name, "Canceled")
        else:
            said = read_log(self._folders.log(job.attempt_id)).error
            killed = f"The job's process was killed by signal {-exit_code}." if exit_code < 0 else None
            message = said or killed or f"The job's process ended with exit code {exit_code} and wrote nothing."
            self._store.end(job.name, "Failed", code=USER_ERROR, message=message)

    def advance_stop(self) -> bool:
        """Stop every job whose workload was started."""
        self._stop_asked_at = self._stop_asked_at or now_millis()
        at_work = [job for job in self._store.list_at_work() if self._folders.is_taken(job.attempt_id)]
        for job in at_work:
            self._guard(job, self._stop)
        return bool(at_work)

    def _stop(self, job: JobRecord) -> None:
        if self._folders.claim(job.attempt_id) is None:
            self._folders.abandon(job.attempt_id)
        elif self._folders.outcome(job.attempt_id) is None:
            self._folders.stop(job.attempt_id, self._stop_asked_at or now_millis())
            return
        message = "The local cloud was stopped while this job was at work."
        self._store.end(job.name, "Failed", code=SERVICE_ERROR, message=message)
