from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from databricks.sdk.errors import InvalidParameterValue, OperationFailed

from .conftest import Workspace, lines, running, state_of, wait_for


def result_of(run: object) -> tuple[str, str, str]:
    details = run.status.termination_details
    return run.state.result_state.value, details.code.value, details.type.value


def test_a_run_does_the_work_with_its_parameters(workspace: Workspace) -> None:
    text = 'two words, "quotes", {{job.id}} and ünïcode'
    before = int(time.time() * 1000) - 1
    run_id = workspace.run("plain", text=text)
    run = workspace.wait(run_id)
    assert (state_of(run), run.status.state.value) == ("TERMINATED", "TERMINATED")
    assert result_of(run) == ("SUCCESS", "SUCCESS", "SUCCESS")
    assert {one.name: one.value for one in run.job_parameters} == {
        "mode": "ok",
        "journal": "",
        "seconds": "0",
        "text": text,
    }
    assert before <= run.start_time <= run.tasks[0].start_time <= run.tasks[0].end_time <= run.end_time
    output = workspace.jobs.get_run_output(run.tasks[0].run_id)
    assert f"text: {text}" in output.logs
    assert f"run: {run_id}" in output.logs
    assert workspace.cloud.environment()["MLFLOW_TRACKING_URI"] in output.logs
    assert output.error is None
    assert output.metadata.job_run_id == run_id


def test_a_failed_workload_is_told_with_its_message_and_trace(workspace: Workspace) -> None:
    run = workspace.wait(workspace.run("plain", mode="fail"))
    # As the service has it: the task is TERMINATED, the run INTERNAL_ERROR, and only the details tell why.
    assert state_of(run) == "INTERNAL_ERROR"
    assert result_of(run) == ("FAILED", "RUN_EXECUTION_ERROR", "CLIENT_ERROR")
    assert run.state.state_message == "Task main failed with message: Workload failed, see run output for details."
    task = run.tasks[0]
    assert (state_of(task), task.state.result_state.value) == ("TERMINATED", "FAILED")
    output = workspace.jobs.get_run_output(task.run_id)
    assert output.error == "TrainingError: the training data is empty"
    assert output.error_trace.startswith("Traceback (most recent call last):")
    for part in ("JSONDecodeError", "direct cause", "RuntimeError: the model is not a model", "TrainingError"):
        assert part in output.error_trace
    with pytest.raises(OperationFailed, match="Workload failed"):
        workspace.jobs.wait_get_run_job_terminated_or_skipped(run.run_id)


def test_a_failed_attempt_is_retried_after_the_interval(workspace: Workspace, journal: Path) -> None:
    run_id = workspace.run("flaky", mode="flaky", journal=journal)
    waiting = workspace.wait_for_state(run_id, "WAITING_FOR_RETRY")
    assert waiting.status.state.value == "WAITING"
    run = workspace.wait(run_id)
    assert result_of(run)[0] == "SUCCESS"
    assert len(lines(journal)) == 3
    assert [task.attempt_number for task in run.tasks] == [0, 1, 2]
    assert [task.state.result_state.value for task in run.tasks] == ["FAILED", "FAILED", "SUCCESS"]
    assert run.attempt_number == 2
    assert run.tasks[1].start_time - run.tasks[0].start_time >= 250
    first = workspace.jobs.get_run_output(run.tasks[0].run_id)
    assert first.error == "ValueError: attempt 1 fails"
    assert workspace.jobs.get_run(run.tasks[1].run_id).attempt_number == 1


def test_a_success_is_not_retried(workspace: Workspace, journal: Path) -> None:
    assert [task.attempt_number for task in workspace.wait(workspace.run("flaky", journal=journal)).tasks] == [0]
    assert len(lines(journal)) == 1


def test_what_a_workload_leaves_behind_is_ended_with_it(workspace: Workspace, journal: Path) -> None:
    assert result_of(workspace.wait(workspace.run("plain", mode="parent", journal=journal)))[0] == "SUCCESS"
    assert len(lines(journal)) == 2
    wait_for(lambda: not running(journal), "the child it did not wait for is gone")


def test_retries_end(workspace: Workspace, journal: Path) -> None:
    run = workspace.wait(workspace.run("flaky", mode="fail", journal=journal))
    assert result_of(run) == ("FAILED", "RUN_EXECUTION_ERROR", "CLIENT_ERROR")
    assert len(lines(journal)) == 3


def test_a_run_over_its_time_is_stopped_and_not_retried(workspace: Workspace, journal: Path) -> None:
    run = workspace.wait(workspace.run("hurried", journal=journal, seconds=60))
    assert state_of(run) == "TERMINATED"
    assert result_of(run) == ("TIMEDOUT", "CANCELED", "CLIENT_ERROR")
    assert run.state.user_cancelled_or_timedout
    assert len(lines(journal)) == 1
    wait_for(lambda: not running(journal), "the workload is gone")


def test_a_task_over_its_time_is_retried_where_the_job_says_so(workspace: Workspace, journal: Path) -> None:
    strict = workspace.run("strict", seconds=60)
    run = workspace.wait(workspace.run("impatient", journal=journal, seconds=60))
    assert [task.state.result_state.value for task in run.tasks] == ["TIMEDOUT", "TIMEDOUT"]
    assert result_of(run)[0] == "TIMEDOUT"
    assert len(lines(journal)) == 2
    assert [task.state.result_state.value for task in workspace.wait(strict).tasks] == ["TIMEDOUT"]


def test_cancelling_ends_the_workload_and_its_children(workspace: Workspace, journal: Path) -> None:
    run_id = workspace.run("plain", mode="parent", journal=journal, seconds=60)
    wait_for(lambda: len(lines(journal)) == 2, "the workload has started its child")
    workspace.jobs.cancel_run(run_id)
    run = workspace.wait(run_id)
    assert state_of(run) == "TERMINATED"
    assert result_of(run) == ("CANCELED", "USER_CANCELED", "CLIENT_ERROR")
    assert run.state.user_cancelled_or_timedout
    wait_for(lambda: not running(journal), "workload and child are gone")
    workspace.jobs.cancel_run(run_id)
    assert workspace.jobs.get_run(run_id).end_time == run.end_time


def test_a_workload_that_ignores_sigterm_is_killed(workspace: Workspace, journal: Path) -> None:
    run_id = workspace.run("plain", mode="stubborn", journal=journal, seconds=60)
    started = workspace.wait_for_state(run_id, "RUNNING")
    wait_for(lambda: "ready" in workspace.jobs.get_run_output(started.tasks[0].run_id).logs, "it ignores SIGTERM")
    workspace.jobs.cancel_run(started.tasks[0].run_id)
    workspace.wait_for_state(run_id, "TERMINATING")
    assert result_of(workspace.wait(run_id))[0] == "CANCELED"
    wait_for(lambda: not running(journal), "the workload is gone")


def test_runs_queue_in_order_behind_the_limit(workspace: Workspace, journal: Path) -> None:
    first = workspace.run("single", seconds=60)
    second = workspace.run("single", journal=journal)
    third = workspace.run("single", journal=journal)
    fourth = workspace.run("single", journal=journal)
    queued = workspace.jobs.get_run(second)
    assert (state_of(queued), queued.status.state.value) == ("QUEUED", "QUEUED")
    assert queued.status.queue_details.code.value == "MAX_CONCURRENT_RUNS_REACHED"
    workspace.jobs.cancel_run(third)
    assert result_of(workspace.wait(third))[0] == "CANCELED"
    workspace.jobs.cancel_run(first)
    assert result_of(workspace.wait(second))[0] == "SUCCESS"
    assert result_of(workspace.wait(fourth))[0] == "SUCCESS"
    assert workspace.jobs.get_run(second).tasks[0].end_time <= workspace.jobs.get_run(fourth).tasks[0].start_time
    assert workspace.jobs.get_run(second).queue_duration > 0
    assert len(lines(journal)) == 2


def test_without_a_queue_a_run_too_many_is_skipped(workspace: Workspace) -> None:
    first = workspace.run("picky", seconds=60)
    skipped = workspace.jobs.get_run(workspace.run("picky"))
    assert state_of(skipped) == "SKIPPED"
    assert result_of(skipped)[:2] == ("MAXIMUM_CONCURRENT_RUNS_REACHED", "MAX_CONCURRENT_RUNS_EXCEEDED")
    queued = workspace.client.api_client.do(
        "POST", "/api/2.2/jobs/run-now", body={"job_id": workspace.ids["picky"], "queue": {"enabled": True}}
    )
    assert state_of(workspace.jobs.get_run(queued["run_id"])) == "QUEUED"
    workspace.jobs.cancel_run(first)
    assert result_of(workspace.wait(queued["run_id"]))[0] == "SUCCESS"


def test_the_output_is_that_of_a_task_not_of_a_run(workspace: Workspace) -> None:
    run = workspace.wait(workspace.run("plain"))
    with pytest.raises(InvalidParameterValue, match="output of each individual task run instead"):
        workspace.jobs.get_run_output(run.run_id)


def test_the_run_page_opens_without_a_token(workspace: Workspace) -> None:
    run = workspace.wait(workspace.run("plain", mode="fail", text="<script>alert(1)</script>"))
    page = httpx.get(run.run_page_url)
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]
    for part in ("plain", "FAILED", "attempt 0", "TrainingError: the training data is empty", str(run.run_id)):
        assert part in page.text
    assert "&lt;script&gt;" in page.text
    assert "<script>" not in page.text
    assert "refresh" not in page.text
    assert httpx.get(run.run_page_url[:-1] + "x").status_code == 404
