"""Moves runs on: starts, watches, retries, stops and ends them. Everything it knows is in the database and on disk."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable

from local_cloud import endings
from local_cloud.attempts import AttemptFolders, Exit
from local_cloud.databricks_store import AttemptRecord, RunRecord, RunStore, now_millis
from local_cloud.endings import Ending
from local_cloud.faults import FaultBox

STOP_GRACE_MILLIS = 2_000
"""How long a workload has between SIGTERM and SIGKILL."""

CANCELED = "canceled"
TIMED_OUT = "timed_out"
TASK_TIMED_OUT = "task_timed_out"
CLOUD_STOPPED = "cloud_stopped"

_POLL_SECONDS = 0.04
_STOP_SECONDS = 15.0
_log = logging.getLogger(__name__)


class Engine:
    """One thread that goes over all active runs again and again.

    A start after a crash needs no code of its own: the first round finds the same rows and files a later one would.
    """

    def __init__(
        self, store: RunStore, folders: AttemptFolders, faults: FaultBox, on_failure: Callable[[], None]
    ) -> None:
        """Create the engine, not yet started.

        Args:
            store: The runs.
            folders: Where attempts are run.
            faults: Consulted for ``hold``; clearing the faults wakes the engine.
            on_failure: Called when the engine cannot go on at all, so that the server ends instead of standing still.
        """
        self._store = store
        self._folders = folders
        self._faults = faults
        self._on_failure = on_failure
        self._terminated: set[int] = set()
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="databricks-engine", daemon=True)
        faults.on_clear(self.wake)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Make it look at once instead of at the next poll."""
        self._woken.set()

    def stop(self) -> None:
        """Stop every workload at work, wait until their ends are recorded, and end the thread.

        Queued and waiting runs stay as they are: the next start on this state folder takes them up.
        """
        self._stopping.set()
        self._woken.set()
        self._thread.join(_STOP_SECONDS)
        if self._thread.is_alive():
            _log.error("The engine did not stop within %s s.", _STOP_SECONDS)

    def _work(self) -> None:
        try:
            while not self._stopping.is_set():
                self._woken.clear()
                busy = self._round()
                self._woken.wait(_POLL_SECONDS if busy else None)
            self._stop_workloads()
        except Exception:
            _log.exception("The engine failed and stops the local cloud.")
            self._on_failure()

    def _round(self) -> bool:
        runs = self._store.runs_at_work()
        for run in runs:
            self._advance_safely(run)
        return self._store.promote_queued() > 0 or bool(runs)

    def _stop_workloads(self) -> None:
        at_work = [run for run in self._store.active_runs() if self._is_at_work(run)]
        for run in at_work:
            self._store.request_stop(run.run_id, CLOUD_STOPPED)
        while at_work:
            for run in at_work:
                self._advance_safely(run)
            self._woken.clear()
            self._woken.wait(_POLL_SECONDS)
            fresh = [self._store.run(run.run_id) for run in at_work]
            at_work = [run for run in fresh if run is not None and run.is_active]

    def _is_at_work(self, run: RunRecord) -> bool:
        last = self._store.attempts(run.run_id)[-1]
        return self._folders.has_started(last.attempt_id) or self._folders.claim(last.attempt_id) is not None

    def _advance_safely(self, run: RunRecord) -> None:
        attempt = self._store.attempts(run.run_id)[-1]
        try:
            self._advance(run, attempt)
        except Exception as error:
            _log.exception("Run %s cannot go on.", run.run_id)
            self._folders.abandon(attempt.attempt_id)
            ending = endings.internal_error(f"The local cloud cannot go on with this run: {error!r}")
            self._store.end_run(run.run_id, ending)

    def _advance(self, run: RunRecord, attempt: AttemptRecord) -> None:
        reason = self._stop_reason(run)
        if attempt.phase == "PENDING":
            self._launch(run, attempt, reason)
        elif attempt.phase in ("RUNNING", "TERMINATING"):
            self._watch(run, attempt, reason or self._task_time_out(run, attempt))
        elif reason is not None:
            self._store.end_run(run.run_id, _stopped(reason))
        elif attempt.phase == "WAITING_FOR_RETRY" and now_millis() >= attempt.not_before:
            self._store.set_phase(run.run_id, "PENDING")
            self._woken.set()

    def _launch(self, run: RunRecord, attempt: AttemptRecord, reason: str | None) -> None:
        claim = self._folders.claim(attempt.attempt_id)
        if claim is not None and not claim.withdrawn:
            self._store.set_phase(run.run_id, "RUNNING", started_at=claim.claimed_at)
        elif reason is not None:
            if self._folders.withdraw(attempt.attempt_id):
                self._store.end_run(run.run_id, _stopped(reason))
        elif run.fault == "cloud_failure":
            ending = endings.cloud_failure(
                "The cloud provider could not supply the compute (a fault that was ordered)."
            )
            self._store.end_run(run.run_id, ending)
        elif run.fault == "hold" and self._faults.holds():
            if run.phase != "RUNNING":
                self._store.set_run_phase(run.run_id, "RUNNING")
        elif not self._folders.start(attempt.attempt_id, _command(run, attempt)):
            said = self._folders.supervisor_log(attempt.attempt_id) or "nothing"
            ending = endings.cloud_failure(f"The supervisor of the workload ended before it started it, saying: {said}")
            self._store.end_run(run.run_id, ending)

    def _watch(self, run: RunRecord, attempt: AttemptRecord, reason: str | None) -> None:
        outcome = self._folders.outcome(attempt.attempt_id)
        if isinstance(outcome, Exit):
            self._finish(run, attempt, outcome.exit_code)
        elif outcome is not None:
            lost = endings.cloud_failure(f"The run was lost: {outcome}.")
            self._store.end_run(run.run_id, _stopped(attempt.stop_reason) if attempt.stop_reason else lost)
        elif attempt.stop_at is None and reason is not None:
            self._store.begin_stop(run.run_id, reason)
            self._terminate(attempt.attempt_id)
        elif attempt.stop_at is not None and now_millis() - attempt.stop_at > STOP_GRACE_MILLIS:
            self._folders.signal(attempt.attempt_id, signal.SIGKILL)
        elif attempt.stop_at is not None:
            self._terminate(attempt.attempt_id)

    def _terminate(self, attempt_id: int) -> None:
        # Once is enough: a second SIGTERM could cut short what the workload does on the first.
        if attempt_id not in self._terminated and self._folders.signal(attempt_id, signal.SIGTERM):
            self._terminated.add(attempt_id)

    def _finish(self, run: RunRecord, attempt: AttemptRecord, exit_code: int) -> None:
        reason = attempt.stop_reason
        if reason in (CANCELED, TIMED_OUT, CLOUD_STOPPED):
            self._store.end_run(run.run_id, _stopped(reason), exit_code=exit_code)
            return
        task = run.job.task
        if reason == TASK_TIMED_OUT:
            ending, again = endings.TIMED_OUT, task.retry_on_timeout
        else:
            ending, again = (endings.SUCCESS, False) if exit_code == 0 else (endings.WORKLOAD_FAILURE, True)
        tries_left = task.max_retries < 0 or attempt.number < task.max_retries
        if again and tries_left and run.stop_reason is None:
            # The service counts the interval from the start of the failed attempt, not from its end.
            earliest = (attempt.started_at or 0) + task.min_retry_interval_millis
            self._store.retry(attempt, ending, exit_code=exit_code, not_before=max(now_millis(), earliest))
        else:
            run_ending = endings.of_run(task.task_key, ending)
            self._store.end_run(run.run_id, run_ending, attempt_ending=ending, exit_code=exit_code)

    def _stop_reason(self, run: RunRecord) -> str | None:
        if run.stop_reason is not None:
            return run.stop_reason
        limit = run.job.timeout_seconds * 1000
        if limit and run.dequeued_at is not None and now_millis() - run.dequeued_at > limit:
            self._store.request_stop(run.run_id, TIMED_OUT)
            return TIMED_OUT
        return None

    def _task_time_out(self, run: RunRecord, attempt: AttemptRecord) -> str | None:
        limit = run.job.task.timeout_seconds * 1000
        late = limit and attempt.started_at is not None and now_millis() - attempt.started_at > limit
        return TASK_TIMED_OUT if late else None


def _stopped(reason: str) -> Ending:
    if reason == CLOUD_STOPPED:
        return endings.cloud_failure("The local cloud was stopped while this run was at work.")
    return endings.TIMED_OUT if reason in (TIMED_OUT, TASK_TIMED_OUT) else endings.CANCELED


def _command(run: RunRecord, attempt: AttemptRecord) -> list[str]:
    values = {
        "job.id": str(run.job.job_id),
        "job.name": run.job.name,
        "job.run_id": str(run.run_id),
        "task.name": run.job.task.task_key,
        "task.run_id": str(attempt.attempt_id),
        "task.execution_count": str(attempt.number + 1),
    }
    python_file = run.job.task.spark_python_task.python_file
    return [sys.executable, python_file, *run.job.command_line(run.parameters, values)]
