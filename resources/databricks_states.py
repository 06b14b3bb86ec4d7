"""Every state a Databricks run can be in, and what it means here.

Source: Databricks Jobs API 2.2, RunLifeCycleState, RunResultState and TerminationCodeCode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from resources.remote_jobs import RemoteState, RemoteStatus

if TYPE_CHECKING:
    from databricks.sdk.service.jobs import BaseRun, Run

RUNNING = frozenset({"QUEUED", "PENDING", "RUNNING", "TERMINATING", "BLOCKED", "WAITING_FOR_RETRY"})
ENDED = frozenset({"TERMINATED", "SKIPPED", "INTERNAL_ERROR"})

RESULTS: dict[str, RemoteState] = {
    "SUCCESS": "succeeded",
    # Databricks counts these as success; whether the result is there is verified when it is collected.
    "SUCCESS_WITH_FAILURES": "succeeded",
    "FAILED": "failed",
    "TIMEDOUT": "failed",
    "CANCELED": "cancelled",
    "MAXIMUM_CONCURRENT_RUNS_REACHED": "failed",
    "EXCLUDED": "failed",
    "UPSTREAM_FAILED": "failed",
    "UPSTREAM_CANCELED": "cancelled",
    "DISABLED": "failed",
}

TRANSIENT_RESULTS = frozenset({"MAXIMUM_CONCURRENT_RUNS_REACHED"})
TRANSIENT_TYPES = frozenset({"CLOUD_FAILURE", "INTERNAL_ERROR"})
TRANSIENT_CODES = frozenset(
    {
        "CLOUD_FAILURE",
        "CLUSTER_ERROR",
        "CLUSTER_REQUEST_LIMIT_EXCEEDED",
        "DRIVER_ERROR",
        "INTERNAL_ERROR",
        "MAX_CONCURRENT_RUNS_EXCEEDED",
        "MAX_JOB_QUEUE_SIZE_EXCEEDED",
        "WORKSPACE_RUN_LIMIT_EXCEEDED",
    }
)


def describe_status(run: BaseRun | Run) -> RemoteStatus:
    """How a run stands. A life-cycle state nobody knows means: still running, and worth a warning.

    The SDK gives None for words it does not know, never the word itself.
    """
    state = run.state
    life_cycle = state.life_cycle_state.value if state and state.life_cycle_state else None
    result = state.result_state.value if state and state.result_state else None
    details = run.status.termination_details if run.status else None
    code = details.code.value if details and details.code else None
    kind = details.type.value if details and details.type else None
    message = (state.state_message if state else None) or (details.message if details else None)

    if life_cycle not in ENDED:
        return RemoteStatus("running", life_cycle or "UNKNOWN", unknown=life_cycle not in RUNNING)
    shown = "/".join(filter(None, (life_cycle, result, code if code != result else None)))
    if life_cycle == "SKIPPED":
        return RemoteStatus("failed", shown, message or "The run was skipped.", transient=True)
    if life_cycle == "INTERNAL_ERROR":
        # A failed task is reported under this state too. It is the caller's mistake, and no failure of Databricks.
        theirs = kind in TRANSIENT_TYPES or code in TRANSIENT_CODES if kind or code else result is None
        return RemoteStatus("failed", shown, message or "Databricks failed.", transient=theirs)
    if result not in RESULTS:
        return RemoteStatus("failed", shown, message or "The run ended with a result this version does not know.")
    transient = result in TRANSIENT_RESULTS or kind in TRANSIENT_TYPES or code in TRANSIENT_CODES
    return RemoteStatus(RESULTS[result], shown, message or None, transient=transient and RESULTS[result] == "failed")
