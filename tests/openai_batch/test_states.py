"""Every documented status and reason of a batch, and what it means here; unknown ones keep being asked for."""

from __future__ import annotations

from datetime import timedelta
from typing import get_args

import pytest
from openai.types import Batch, BatchError
from openai.types.batch import Errors

from resources.openai_states import NO_ROOM, TERMINAL, TRANSIENT, describe_failure, describe_running, read_phase


def make_batch(*codes: str | None) -> Batch:
    data = [BatchError(code=code, message=f"{code} it is", line=3) for code in codes]
    return Batch.construct(id="batch_1", status="failed", errors=Errors(object="list", data=data))


DOCUMENTED = get_args(Batch.model_fields["status"].annotation)


def test_every_documented_status_is_known() -> None:
    assert set(DOCUMENTED) == {
        *("validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"),
    }
    assert all(read_phase(status) != "unknown" for status in DOCUMENTED)


@pytest.mark.parametrize("status", ["validating", "in_progress", "finalizing", "cancelling", "In_Progress"])
def test_a_batch_under_way_is_running(status: str) -> None:
    found = describe_running(status)
    assert (found.state, found.unknown, found.transient) == ("running", False, False)


@pytest.mark.parametrize("status", ["completed", "failed", "expired", "cancelled", "canceled", "Completed"])
def test_a_batch_that_has_ended_has_ended(status: str) -> None:
    assert read_phase(status) == "ended"


@pytest.mark.parametrize("status", ["reticulating", "", None])
def test_a_status_nobody_knows_is_polled_on_with_a_warning(status: str | None) -> None:
    found = describe_running(status)
    assert (found.state, found.unknown) == ("running", True)


@pytest.mark.parametrize("code", sorted(TERMINAL))
def test_a_mistake_of_ours_is_not_tried_again(code: str) -> None:
    found = describe_failure(make_batch(code))
    assert (found.state, found.transient, found.requeue_after) == ("failed", False, None)
    assert found.message is not None
    assert f"{code} (line 3): {code} it is" in found.message
    assert found.remote_state == f"failed/{code}"


@pytest.mark.parametrize("codes", [*([code] for code in sorted(TRANSIENT)), []])
def test_a_failure_of_the_service_is_tried_again(codes: list[str]) -> None:
    found = describe_failure(make_batch(*codes))
    assert (found.state, found.transient, found.requeue_after) == ("failed", True, None)


@pytest.mark.parametrize("code", sorted(NO_ROOM))
def test_no_room_waits_longer_each_time(code: str) -> None:
    waits = [describe_failure(make_batch(code), refusals).requeue_after for refusals in (0, 1, 2, 20)]
    assert waits[0] is not None
    assert waits == [waits[0], 2 * waits[0], 4 * waits[0], timedelta(minutes=30)]


def test_a_reason_nobody_knows_is_not_tried_again() -> None:
    assert not describe_failure(make_batch("something_new")).transient


def test_a_deployment_that_is_not_there_is_told_with_its_field() -> None:
    assert "engine.deployment" in str(describe_failure(make_batch("model_not_found")).message)
