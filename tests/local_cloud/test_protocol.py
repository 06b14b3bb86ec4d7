from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from databricks.sdk.errors import BadRequest, InvalidParameterValue, NotFound, ResourceDoesNotExist

from local_cloud.bundle import job_id_of

from .conftest import Workspace, lines


def test_one_token_is_one_run_whoever_sends_it_how_often(workspace: Workspace, journal: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        run_ids = set(pool.map(lambda _: workspace.run("plain", token="one-and-only", journal=journal), range(16)))
    assert len(run_ids) == 1
    workspace.wait(run_ids.pop())
    assert len(lines(journal)) == 1
    assert workspace.run("plain", token="another", journal=journal) != workspace.run("plain", journal=journal)


def test_a_token_has_at_most_64_characters(workspace: Workspace) -> None:
    with pytest.raises(InvalidParameterValue, match="at most 64"):
        workspace.run("plain", token="x" * 65)
    token = "y" * 64
    assert workspace.run("plain", token=token) == workspace.run("plain", token=token)


def test_wrong_requests_get_the_errors_of_the_service(workspace: Workspace) -> None:
    with pytest.raises(InvalidParameterValue, match=r"Job 12345 does not exist\."):
        workspace.jobs.run_now(12345)
    with pytest.raises(InvalidParameterValue, match="does not define the job parameters"):
        workspace.run("plain", colour="red")
    with pytest.raises(BadRequest, match="Could not parse request object"):
        workspace.jobs.run_now(workspace.ids["plain"], job_parameters={"seconds": 1})  # type: ignore[dict-item]
    with pytest.raises(InvalidParameterValue, match="can not be used in combination with python_params"):
        workspace.jobs.run_now(workspace.ids["plain"], job_parameters={"text": "a"}, python_params=["b"])
    with pytest.raises(ResourceDoesNotExist, match=r"Run 12345 does not exist\."):
        workspace.jobs.get_run(12345)
    with pytest.raises(ResourceDoesNotExist, match=r"Run 12345 does not exist\."):
        workspace.jobs.get_run_output(12345)
    with pytest.raises(InvalidParameterValue, match=r"Run 12345 does not exist\."):
        workspace.jobs.cancel_run(12345)
    with pytest.raises(ResourceDoesNotExist, match=r"Job 12345 does not exist\."):
        workspace.jobs.get(12345)
    with pytest.raises(NotFound, match="No API found for 'POST /api/2"):
        workspace.jobs.create(name="new")


def test_jobs_are_listed_and_keep_their_ids(workspace: Workspace) -> None:
    assert workspace.ids["plain"] == job_id_of("tests", "plain")
    assert {job.settings.name for job in workspace.jobs.list(limit=2)} == set(workspace.ids)
    assert [job.job_id for job in workspace.jobs.list(name="FLAKY")] == [workspace.ids["flaky"]]
    assert not list(workspace.jobs.list(name="fla"))
    job = workspace.jobs.get(workspace.ids["flaky"])
    assert job.settings.tasks[0].max_retries == 2
    assert [one.name for one in job.settings.parameters] == ["mode", "journal", "seconds", "text"]
    expanded = next(iter(workspace.jobs.list(name="flaky", expand_tasks=True)))
    assert expanded.settings.tasks[0].spark_python_task.python_file.endswith("/work.py")


def test_sixty_runs_are_listed_page_by_page(workspace: Workspace) -> None:
    workspace.order(kind="hold")
    before = int(time.time() * 1000)
    started = [workspace.run("single") for _ in range(60)]
    job_id = workspace.ids["single"]
    workspace.local("DELETE", "requests")
    active = [run.run_id for run in workspace.jobs.list_runs(job_id=job_id, active_only=True, limit=25)]
    assert active == started[::-1]
    assert workspace.local("GET", "requests") == {"GET /api/2.2/jobs/runs/list": 3}
    assert [run.run_id for run in workspace.jobs.list_runs(job_id=job_id, start_time_from=before)] == started[::-1]
    assert not list(workspace.jobs.list_runs(job_id=job_id, start_time_from=before, start_time_to=before - 1))
    assert not list(workspace.jobs.list_runs(job_id=job_id, start_time_from=before, completed_only=True))

    first = workspace.jobs.list_runs(job_id=job_id, limit=5, active_only=True)
    seen = [next(first).run_id for _ in range(5)]
    newer = workspace.run("single")
    seen += [run.run_id for run in first]
    assert seen == started[::-1], "a run that comes while paging must not shift the pages"

    for run_id in [*started, newer]:
        workspace.jobs.cancel_run(run_id)
    assert {workspace.wait(run_id).state.result_state.value for run_id in started} == {"CANCELED"}
    workspace.wait(newer)
    done = list(workspace.jobs.list_runs(job_id=job_id, start_time_from=before, completed_only=True))
    assert [run.run_id for run in done] == [newer, *started[::-1]]
    assert done[0].tasks == []
    expanded = next(workspace.jobs.list_runs(job_id=job_id, expand_tasks=True))
    assert expanded.tasks[0].task_key == "main"


def test_listing_refuses_what_the_service_refuses(workspace: Workspace) -> None:
    for wrong in ({"limit": 26}, {"limit": -1}, {"active_only": True, "completed_only": True}, {"offset": 5}):
        with pytest.raises(InvalidParameterValue):
            list(workspace.jobs.list_runs(**wrong))
    with pytest.raises(InvalidParameterValue, match="Invalid page token"):
        list(workspace.jobs.list_runs(page_token="nonsense"))
