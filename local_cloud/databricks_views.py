"""Runs and jobs as the Jobs API 2.2 shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from local_cloud.bundle import JobSpec
from local_cloud.databricks_store import AttemptRecord, RunRecord
from local_cloud.endings import TERMINAL, Ending
from local_cloud.logs import WorkloadLog

_V2_STATES = {"WAITING_FOR_RETRY": "WAITING"}
_MESSAGES = {"RUNNING": "In run", "WAITING_FOR_RETRY": "Waiting for retry"}
_QUEUED = "Queued due to reaching maximum concurrent runs limit of the job."
_SHOWN_ATTEMPTS = 100
"""The service shows at most 100 elements of an array on one page; older attempts are left out here."""


@dataclass(frozen=True)
class RunViews:
    """Renders runs; ``base_url`` is where the cloud answers."""

    base_url: str

    def run(self, run: RunRecord, attempts: list[AttemptRecord], *, with_tasks: bool) -> dict[str, Any]:
        """A run as runs/get shows it, or as runs/list does without ``expand_tasks``."""
        shown: dict[str, Any] = {
            "job_id": run.job.job_id,
            "run_id": run.run_id,
            "job_run_id": run.run_id,
            "number_in_job": run.run_id,
            "original_attempt_run_id": run.run_id,
            "creator_user_name": run.creator,
            "run_name": run.job.name,
            "run_type": "JOB_RUN",
            "trigger": "ONE_TIME",
            "format": "MULTI_TASK",
            "run_page_url": self.page_url(run),
            "start_time": run.accepted_at,
            "end_time": run.ended_at or 0,
            "setup_duration": 0,
            "execution_duration": 0,
            "cleanup_duration": 0,
            "queue_duration": (run.dequeued_at or run.ended_at or run.accepted_at) - run.accepted_at,
            "run_duration": (run.ended_at - run.accepted_at) if run.ended_at else 0,
            "attempt_number": attempts[-1].number,
            "job_parameters": self._parameters(run),
            **self._state(run.phase, run.ending),
        }
        if with_tasks:
            shown["tasks"] = [self._task(run, attempt) for attempt in attempts[-_SHOWN_ATTEMPTS:]]
        return shown

    def task_run(self, run: RunRecord, attempt: AttemptRecord) -> dict[str, Any]:
        """One attempt as runs/get shows it when it is asked for by its own run id."""
        return {
            **self.run(run, [attempt], with_tasks=False),
            **self._task(run, attempt),
            "job_run_id": run.run_id,
            "number_in_job": attempt.attempt_id,
            "original_attempt_run_id": attempt.attempt_id,
            "run_name": run.job.task.task_key,
        }

    def output(self, run: RunRecord, attempt: AttemptRecord, log: WorkloadLog) -> dict[str, Any]:
        """An attempt's output as runs/get-output shows it."""
        shown: dict[str, Any] = {
            "metadata": self.task_run(run, attempt),
            "logs": log.text,
            "logs_truncated": log.truncated,
        }
        if attempt.ending is not None and attempt.ending.result != "SUCCESS":
            own_end = attempt.ending.code == "RUN_EXECUTION_ERROR"
            shown["error"] = (log.error if own_end and log.error else None) or _plain_error(attempt)
            if log.trace is not None:
                shown["error_trace"] = log.trace
        return shown

    def job(self, job: JobSpec, *, created: int, creator: str, expand: bool) -> dict[str, Any]:
        """A job as jobs/get shows it, or as jobs/list does without ``expand_tasks``."""
        hidden = () if expand else ("tasks", "environments", "job_clusters")
        return {
            "job_id": job.job_id,
            "creator_user_name": creator,
            "created_time": created,
            "settings": {key: value for key, value in job.settings.items() if key not in hidden},
        }

    def page_url(self, run: RunRecord) -> str:
        """The page of a run for people."""
        return f"{self.base_url}/jobs/{run.job.job_id}/runs/{run.run_id}"

    def _task(self, run: RunRecord, attempt: AttemptRecord) -> dict[str, Any]:
        started = attempt.started_at or 0
        task = run.job.settings["tasks"][0]
        kept = {key: task[key] for key in ("spark_python_task", "environment_key", "description") if key in task}
        return {
            **kept,
            "task_key": run.job.task.task_key,
            "run_id": attempt.attempt_id,
            "run_if": "ALL_SUCCESS",
            "run_page_url": f"{self.page_url(run)}#attempt-{attempt.number}",
            "attempt_number": attempt.number,
            "start_time": started,
            "end_time": attempt.ended_at or 0,
            "setup_duration": 0,
            "execution_duration": attempt.ended_at - started if attempt.ended_at and started else 0,
            "cleanup_duration": 0,
            **self._state(attempt.phase, attempt.ending),
        }

    def _parameters(self, run: RunRecord) -> list[dict[str, str]]:
        return [
            {"name": one.name, "default": one.default, "value": run.parameters[one.name]} for one in run.job.parameters
        ]

    def _state(self, phase: str, ending: Ending | None) -> dict[str, Any]:
        message = ending.message if ending else _QUEUED if phase == "QUEUED" else _MESSAGES.get(phase, "")
        state: dict[str, Any] = {
            "life_cycle_state": phase,
            "state_message": message,
            "user_cancelled_or_timedout": ending.by_user_or_timeout if ending else False,
        }
        status: dict[str, Any] = {"state": "TERMINATED" if phase in TERMINAL else _V2_STATES.get(phase, phase)}
        if ending is not None:
            state["result_state"] = ending.result
            status["termination_details"] = {"code": ending.code, "type": ending.type, "message": ending.message}
        if phase == "QUEUED":
            state["queue_reason"] = _QUEUED
            status["queue_details"] = {"code": "MAX_CONCURRENT_RUNS_REACHED", "message": _QUEUED}
        return {"state": state, "status": status}


def _plain_error(attempt: AttemptRecord) -> str:
    if attempt.ending is not None and attempt.ending.code != "RUN_EXECUTION_ERROR":
        return attempt.ending.message
    code = attempt.exit_code
    if code is not None and code < 0:
        return f"The workload was killed by signal {-code} and wrote nothing."
    return f"The workload ended with exit code {code} and wrote nothing."
