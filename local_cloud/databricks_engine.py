"""Moves runs on: starts, watches, retries, stops and ends them. Everything it knows is in the database and on disk."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import replace

from local_cloud import endings
from local_cloud.attempts import AttemptFolders, Exit
from local_cloud.clock import now_millis
from local_cloud.databricks_store import AttemptRecord, RunRecord, RunStore
from local_cloud.endings import Ending
from local_cloud.faults import FaultBox
from local_cloud.rounds import Rounds

CANCELED = "canceled"
TIMED_OUT = "timed_out"
TASK_TIMED_OUT = "task_timed_out"
CLOUD_STOPPED = "cloud_stopped"

_log = logging.getLogger(__name__)


class Engine(Rounds):
    """One thread that goes over all active runs again and again."""

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
        super().__init__("databricks-engine", on_failure)
        self._store = store
        self._folders = folders
        self._faults = faults
        faults.on_clear(self.wake)

    def advance(self) -> bool:
        """Move every run on by a step, then let queued ones out."""
        runs = self._store.runs_at_work()
        for run in runs:
            self._advance_safely(run)
        return self._store.promote_queued() > 0 or bool(runs)

    def advance_stop(self) -> bool:
        """Ask every run whose workload was started to stop, and move it on."""
        runs = self._store.runs_at_work()
        at_work = [run for run in runs if self._folders.is_taken(self._store.attempts(run.run_id)[-1].attempt_id)]
        for run in at_work:
            self._store.request_stop(run.run_id, CLOUD_STOPPED)
            self._advance_safely(replace(run, stop_reason=run.stop_reason or CLOUD_STOPPED))
        return bool(at_work)

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
            self.wake()

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
            self._folders.stop(attempt.attempt_id, now_millis())
        elif attempt.stop_at is not None:
            self._folders.stop(attempt.attempt_id, attempt.stop_at)

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
