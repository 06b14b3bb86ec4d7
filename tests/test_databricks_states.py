"""Every state Databricks documents has a meaning here; a state nobody knows keeps the polling going."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from databricks.sdk.service.jobs import Run, RunLifeCycleState, RunResultState, TerminationCodeCode

from resources.databricks_states import ENDED, RESULTS, RUNNING, TRANSIENT_CODES, describe_status


def run(life_cycle: str | None, result: str | None = None, code: str | None = None, kind: str | None = None) -> Run:
    state: dict[str, Any] = {"life_cycle_state": life_cycle, "state_message": "said so"}
    if result:
        state["result_state"] = result
    status = {"termination_details": {"code": code, "type": kind}} if code or kind else None
    return Run.from_dict({"run_id": 1, "state": state, **({"status": status} if status else {})})


def test_the_tables_hold_every_state_of_the_sdk() -> None:
    assert {state.value for state in RunLifeCycleState} == RUNNING | ENDED
    assert {state.value for state in RunResultState} == set(RESULTS)
    assert {code.value for code in TerminationCodeCode} >= TRANSIENT_CODES


@pytest.mark.parametrize(("life_cycle", "result"), list(product(sorted(RUNNING), [None, *RESULTS])))
def test_a_run_that_has_not_ended_is_running(life_cycle: str, result: str | None) -> None:
    status = describe_status(run(life_cycle, result))
    assert (status.state, status.unknown) == ("running", False)


@pytest.mark.parametrize("result", RESULTS)
def test_only_success_is_success(result: str) -> None:
    status = describe_status(run("TERMINATED", result))
    assert (status.state == "succeeded") == result.startswith("SUCCESS")
    assert status.message == "said so"


def test_an_unknown_life_cycle_state_keeps_polling() -> None:
    status = describe_status(run("DEFRAGMENTING"))
    assert (status.state, status.unknown, status.remote_state) == ("running", True, "UNKNOWN")
    assert describe_status(Run(run_id=1)).unknown


def test_an_ended_run_with_an_unknown_result_has_failed() -> None:
    status = describe_status(run("TERMINATED", "MOSTLY_FINE"))
    assert (status.state, status.transient) == ("failed", False)


@pytest.mark.parametrize(
    ("given", "transient"),
    [
        (("TERMINATED", "FAILED", "RUN_EXECUTION_ERROR", "CLIENT_ERROR"), False),
        (("TERMINATED", "FAILED", "CLOUD_FAILURE", "CLOUD_FAILURE"), True),
        (("TERMINATED", "FAILED", "DRIVER_ERROR", None), True),
        (("TERMINATED", "TIMEDOUT", None, None), False),
        (("TERMINATED", "MAXIMUM_CONCURRENT_RUNS_REACHED", None, None), True),
        (("TERMINATED", "CANCELED", "USER_CANCELED", None), False),
        (("TERMINATED", "SUCCESS", "SUCCESS", "SUCCESS"), False),
        (("SKIPPED", None, None, None), True),
        (("INTERNAL_ERROR", None, None, None), True),
        (("INTERNAL_ERROR", "FAILED", None, None), False),
        (("INTERNAL_ERROR", "FAILED", "RUN_EXECUTION_ERROR", "CLIENT_ERROR"), False),
        (("INTERNAL_ERROR", "FAILED", "CLOUD_FAILURE", "CLOUD_FAILURE"), True),
        (("INTERNAL_ERROR", "FAILED", "INVALID_RUN_CONFIGURATION", "CLIENT_ERROR"), False),
    ],
)
def test_what_is_worth_another_try(given: tuple[Any, ...], transient: bool) -> None:
    assert describe_status(run(*given)).transient is transient
