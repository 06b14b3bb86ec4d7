"""Every state Azure ML documents has a meaning here; a state nobody knows keeps the polling going."""

from __future__ import annotations

from typing import Any

import pytest
from azure.ai.ml._restclient.arm_ml_service.models import JobStatus
from hypothesis import given
from hypothesis import strategies as st

from resources.azure_ml_states import ENDED, RUNNING, TRANSIENT_CODES, UNTOLD, describe_status

# The enumeration of the batch jobs' own API, 2020-09-01-dataplanepreview.
DOCUMENTED = {
    *("NotStarted", "Starting", "Provisioning", "Preparing", "Queued", "Running", "Finalizing", "CancelRequested"),
    *("Completed", "Failed", "Canceled", "NotResponding", "Paused", "Unknown"),
}


def answer(status: Any, **properties: Any) -> dict[str, Any]:
    return {"name": "j", "properties": {"status": status, **properties}}


def test_the_table_holds_every_documented_state_and_every_one_of_the_sdk() -> None:
    assert RUNNING | set(ENDED) | UNTOLD == DOCUMENTED
    assert {state.value for state in JobStatus} <= DOCUMENTED


@pytest.mark.parametrize("state", sorted(RUNNING))
def test_a_job_that_has_not_ended_is_running(state: str) -> None:
    status = describe_status(answer(state))
    assert (status.state, status.unknown, status.remote_state) == ("running", False, state)


@pytest.mark.parametrize(
    ("state", "ours"), [("Completed", "succeeded"), ("Failed", "failed"), ("Canceled", "cancelled")]
)
def test_only_completed_is_success(state: str, ours: str) -> None:
    for written in (state, state.lower(), state.upper()):
        assert describe_status(answer(written)).state == ours
    assert describe_status({"Properties": {"Status": state}}).state == ours


@pytest.mark.parametrize("state", ["Unknown", "Hibernating", "Cancelled", "Success", "", None, 7])
def test_an_unknown_state_keeps_polling_and_is_said_to_be_unknown(state: Any) -> None:
    status = describe_status(answer(state))
    assert (status.state, status.unknown) == ("running", True)


@given(st.text())
def test_no_other_word_ever_ends_a_job(word: str) -> None:
    known = {state.casefold() for state in ENDED}
    assert (describe_status(answer(word)).state == "running") == (word.casefold() not in known)


@pytest.mark.parametrize("found", [{}, {"properties": None}, {"properties": {}}])
def test_an_answer_without_a_state_ends_nothing(found: dict[str, Any]) -> None:
    status = describe_status(found)
    assert (status.state, status.unknown, status.remote_state) == ("running", True, "no status")


@pytest.mark.parametrize("code", [*sorted(TRANSIENT_CODES), "UserError", "ValidationError", "Anything"])
def test_what_is_worth_another_try(code: str) -> None:
    status = describe_status(answer("Failed", error={"code": code, "message": "said so"}))
    assert (status.state, status.remote_state, status.message) == ("failed", f"Failed/{code}", "said so")
    assert status.transient == (code in TRANSIENT_CODES)


def test_a_failure_without_a_reason_is_not_tried_again_and_says_where_to_look() -> None:
    status = describe_status(answer("Failed"))
    assert not status.transient
    assert "the job's page and logs have it" in (status.message or "")
