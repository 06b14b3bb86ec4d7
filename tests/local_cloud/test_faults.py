from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from databricks.sdk.errors import InternalError

from .conftest import Workspace, lines, state_of, wait_for

RUN_NOW = "/api/2.2/jobs/run-now"
GET = "/api/2.2/jobs/runs/get"
LIST = "/api/2.2/jobs/runs/list"


def test_a_status_comes_before_anything_is_done(workspace: Workspace, journal: Path) -> None:
    workspace.order(kind="status", path=RUN_NOW, times=1, code=500)
    with pytest.raises(InternalError):
        workspace.run("plain", token="status", journal=journal)
    workspace.wait(workspace.run("plain", token="status", journal=journal))
    assert len(lines(journal)) == 1


def test_the_sdk_waits_out_a_429_as_told(workspace: Workspace) -> None:
    workspace.order(kind="status", path=RUN_NOW, times=1, code=429, retry_after=0)
    workspace.run("plain")
    assert workspace.local("GET", "requests")[f"POST {RUN_NOW}"] == 2


def test_a_lost_answer_makes_no_second_run_with_a_token(workspace: Workspace, journal: Path) -> None:
    workspace.order(kind="lost_answer", path=RUN_NOW)
    run = workspace.wait(workspace.run("plain", token="lost", journal=journal))
    assert workspace.local("GET", "requests")[f"POST {RUN_NOW}"] == 2, "the SDK sends it again by itself"
    assert [one.run_id for one in workspace.jobs.list_runs(start_time_from=run.start_time)] == [run.run_id]
    assert len(lines(journal)) == 1


def test_a_lost_answer_comes_after_the_work(workspace: Workspace, journal: Path) -> None:
    workspace.order(kind="lost_answer", path=RUN_NOW)
    body = {"job_id": workspace.ids["plain"], "job_parameters": {"journal": str(journal)}, "idempotency_token": "gone"}
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        httpx.post(f"{workspace.cloud.url}{RUN_NOW}", json=body, headers=workspace.client.config.authenticate())
    wait_for(lambda: lines(journal), "the run nobody was told of does its work")
    workspace.wait(workspace.run("plain", token="gone"))
    assert len(lines(journal)) == 1


def test_a_reset_connection_has_done_nothing(workspace: Workspace) -> None:
    workspace.order(kind="reset", path=GET)
    url = f"{workspace.cloud.url}{GET}?run_id=1"
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        httpx.get(url)
    assert httpx.get(url).status_code == 401


def test_a_delay_delays(workspace: Workspace) -> None:
    workspace.order(kind="delay", path=LIST, seconds=0.5)
    started = time.monotonic()
    next(workspace.jobs.list_runs(limit=1), None)
    assert time.monotonic() - started >= 0.5


def test_unknown_states_are_none_for_the_sdk(workspace: Workspace) -> None:
    run_id = workspace.run("plain")
    workspace.wait(run_id)
    workspace.order(kind="unknown_state", path=GET)
    run = workspace.jobs.get_run(run_id)
    assert run.state.life_cycle_state is None
    assert run.status.state is None
    assert state_of(workspace.jobs.get_run(run_id)) == "TERMINATED"
    workspace.order(kind="unknown_state", path=LIST, times=1)
    states = [run.state.life_cycle_state for run in workspace.jobs.list_runs(job_id=workspace.ids["plain"], limit=25)]
    assert states.count(None) == 1


def test_a_cloud_failure_ends_the_next_run_without_the_work(workspace: Workspace, journal: Path) -> None:
    workspace.order(kind="cloud_failure")
    failed = workspace.wait(workspace.run("plain", journal=journal))
    assert state_of(failed) == "INTERNAL_ERROR"
    details = failed.status.termination_details
    assert (details.code.value, details.type.value) == ("CLOUD_FAILURE", "CLOUD_FAILURE")
    assert workspace.jobs.get_run_output(failed.tasks[0].run_id).error == details.message
    assert not lines(journal)
    assert workspace.wait(workspace.run("plain", journal=journal)).state.result_state.value == "SUCCESS"


def test_held_runs_start_when_the_faults_are_cleared(workspace: Workspace, journal: Path) -> None:
    workspace.order(kind="hold")
    held = [workspace.run("plain", journal=journal) for _ in range(2)]
    for run_id in held:
        workspace.wait_for_state(run_id, "RUNNING")
    time.sleep(0.3)
    assert not lines(journal)
    assert workspace.local("DELETE", "faults") == {"faults": []}
    assert {workspace.wait(run_id).state.result_state.value for run_id in held} == {"SUCCESS"}
    assert len(lines(journal)) == 2


def test_a_held_run_can_be_cancelled(workspace: Workspace, journal: Path) -> None:
    workspace.order(kind="hold")
    run_id = workspace.run("plain", journal=journal)
    workspace.wait_for_state(run_id, "RUNNING")
    workspace.jobs.cancel_run(run_id)
    assert workspace.wait(run_id).state.result_state.value == "CANCELED"
    workspace.local("DELETE", "faults")
    assert not lines(journal)


def test_requests_are_counted_and_reset(workspace: Workspace) -> None:
    list(workspace.jobs.list())
    workspace.local("GET", "faults")
    assert workspace.local("GET", "requests") == {"GET /api/2.2/jobs/list": 1}
    assert workspace.local("DELETE", "requests") == {}


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ({"kind": "nonsense"}, "lost_answer"),
        ({"kind": "status"}, "needs code"),
        ({"kind": "delay"}, "needs seconds"),
        ({"kind": "hold", "colour": "red"}, "colour"),
    ],
)
def test_a_wrong_fault_is_refused(workspace: Workspace, fault: dict[str, str], problem: str) -> None:
    answer = httpx.post(f"{workspace.cloud.url}/_local/faults", json=fault)
    assert answer.status_code == 400
    assert problem in answer.text
