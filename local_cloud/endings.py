"""How runs and their attempts end, in the words of the Jobs API.

As on the service (the test server of its own CLI records the measurement), a run whose task fails reports the life
cycle state INTERNAL_ERROR, while the task itself is TERMINATED. Only the termination details tell a failed workload
(CLIENT_ERROR) from a failed platform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LifeCycle = Literal["TERMINATED", "SKIPPED", "INTERNAL_ERROR"]
TERMINAL: frozenset[str] = frozenset({"TERMINATED", "SKIPPED", "INTERNAL_ERROR"})
WORKLOAD_FAILED = "Workload failed, see run output for details"


@dataclass(frozen=True)
class Ending:
    """The end of a run or an attempt: state, result, and the termination details."""

    life_cycle: LifeCycle
    result: str
    code: str
    type: str
    message: str

    @property
    def by_user_or_timeout(self) -> bool:
        """Whether a user or a time limit ended it."""
        return self.result in ("CANCELED", "TIMEDOUT")


SUCCESS = Ending("TERMINATED", "SUCCESS", "SUCCESS", "SUCCESS", "")
CANCELED = Ending("TERMINATED", "CANCELED", "USER_CANCELED", "CLIENT_ERROR", "Run cancelled.")
TIMED_OUT = Ending("TERMINATED", "TIMEDOUT", "CANCELED", "CLIENT_ERROR", "Run timed out.")
WORKLOAD_FAILURE = Ending("TERMINATED", "FAILED", "RUN_EXECUTION_ERROR", "CLIENT_ERROR", WORKLOAD_FAILED)
SKIPPED = Ending(
    "SKIPPED",
    "MAXIMUM_CONCURRENT_RUNS_REACHED",
    "MAX_CONCURRENT_RUNS_EXCEEDED",
    "CLIENT_ERROR",
    "Run skipped because the maximum number of concurrent runs of the job was reached and queueing is off.",
)


def cloud_failure(message: str) -> Ending:
    """The platform failed the run, not the workload: worth another try."""
    return Ending("INTERNAL_ERROR", "FAILED", "CLOUD_FAILURE", "CLOUD_FAILURE", message)


def internal_error(message: str) -> Ending:
    """The local cloud itself could not go on with a run."""
    return Ending("INTERNAL_ERROR", "FAILED", "INTERNAL_ERROR", "INTERNAL_ERROR", message)


def of_run(task_key: str, task: Ending) -> Ending:
    """How a run ends whose task ended so, for good."""
    if task.life_cycle != "TERMINATED" or task.result == "SUCCESS":
        return task
    message = f"Task {task_key} failed with message: {task.message.rstrip('.')}."
    return Ending("INTERNAL_ERROR", task.result, task.code, task.type, message)
