"""Moves batch jobs on: starts, watches, stops and ends them. Everything it knows is in the database and on disk."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable

from local_cloud.attempts import AttemptFolders, Exit
from local_cloud.azure_ml_batch_store import JobRecord, JobStore
from local_cloud.databricks_store import now_millis
from local_cloud.faults import FaultBox
from local_cloud.logs import read_log

STOP_GRACE_MILLIS = 2_000
"""How long a workload has between SIGTERM and SIGKILL."""

USER_ERROR, SERVICE_ERROR = "UserError", "ServiceError"

_SLOTS = max(2, os.cpu_count() or 2)
_POLL_SECONDS = 0.04
_STOP_SECONDS = 15.0
_log = logging.getLogger(__name__)


class Engine:
    """One thread that goes over the jobs at work, and starts the next ones as slots get free.

    A start after a crash needs no code of its own: the first round finds the same rows and files a later one would.
    """

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
        self._store = store
        self._folders = folders
        self._faults = faults
        self._on_failure = on_failure
        self._terminated: set[int] = set()
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="azure-ml-batch-engine", daemon=True)
        faults.on_clear(self.wake)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Make it look at once."""
        self._woken.set()

    def stop(self) -> None:
        """Stop every workload at work, wait until their ends are recorded, and end the thread."""
        self._stopping.set()
        self._woken.set()
        self._thread.join(_STOP_SECONDS)
        if self._thread.is_alive():
            _log.error("The engine of batch jobs did not stop within %s s.", _STOP_SECONDS)

    def _work(self) -> None:
        try:
            while not self._stopping.is_set():
                self._woken.clear()
                busy = self._round()
                self._woken.wait(_POLL_SECONDS if busy else None)
            self._stop_workloads()
        except Exception:
            _log.exception("The engine of batch jobs failed and stops the local cloud.")
            self._on_failure()

    def _round(self) -> bool:
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
            self._stop(job)

    def _stop(self, job: JobRecord) -> None:
        if job.attempt_id not in self._terminated and self._folders.signal(job.attempt_id, signal.SIGTERM):
            self._terminated.add(job.attempt_id)
        if now_millis() - (job.cancel_asked_at or 0) > STOP_GRACE_MILLIS:
            self._folders.signal(job.attempt_id, signal.SIGKILL)

    def _finish(self, job: JobRecord, exit_code: int) -> None:
        if job.status != "Finalizing" and exit_code == 0 and job.cancel_asked_at is None:
            self._store.set_status(job.name, "Finalizing")
            self._woken.set()
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

    def _stop_workloads(self) -> None:
        for job in self._store.list_at_work():
            if self._folders.claim(job.attempt_id) is not None or self._folders.has_started(job.attempt_id):
                self._folders.signal(job.attempt_id, signal.SIGTERM)
                self._folders.abandon(job.attempt_id)
                message = "The local cloud was stopped while this job was at work."
                self._store.end(job.name, "Failed", code=SERVICE_ERROR, message=message)
