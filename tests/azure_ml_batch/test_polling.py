"""One tick looks at every outstanding job: few requests for many jobs, deadlines, retries, and whatever goes wrong."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import timedelta

import pytest

from resources.control import utc_now
from resources.remote_jobs import RemoteRun
from tests.azure_ml_batch.conftest import Bench
from tests.faults import FAULTS

JOBS = "/azureml/batch/tiny/jobs"
SILENT = {name: fault for name, fault in FAULTS.items() if name != "slow"} | {
    "503 with Retry-After 0": {"kind": "status", "code": 503, "retry_after": 0}
}
"""Those that keep an answer away."""
ALL = FAULTS | SILENT | {"unknown state": {"kind": "unknown_state"}}


def test_a_failure_carries_the_jobs_own_words(bench: Bench) -> None:
    job = bench.submit("fail")
    bench.tick_until(lambda: not bench.get(job).outstanding)
    ended = bench.get(job)
    assert (ended.state, ended.remote_state) == ("failed", "Failed/UserError")
    assert ended.message == "ScoringError: the input has no rows"
    assert len(bench.ledger.list_jobs()) == 1, "a mistake in the data is not worth another try"


def test_a_failure_of_the_service_is_tried_again_in_another_folder(bench: Bench) -> None:
    bench.order(kind="behaviour", name="azure_ml_batch.service_error")
    first = bench.submit()
    bench.tick_until(lambda: not bench.ledger.list_outstanding())
    newest, oldest = bench.ledger.list_jobs()
    assert (oldest.submission_key, oldest.state, oldest.remote_state) == (
        first.submission_key,
        "failed",
        "Failed/ServiceError",
    )
    assert (newest.try_number, newest.state) == (2, "succeeded")
    assert [path.name for path in (bench.folder / "out").iterdir()] == [f"submission-{newest.token[:20]}"]


def test_a_job_past_its_deadline_is_cancelled_and_has_failed(bench: Bench) -> None:
    job = bench.submit("slow", deadline=timedelta(minutes=1))
    bench.tick()
    assert bench.get(job).outstanding
    bench.tick(ahead=timedelta(minutes=2))
    bench.tick_until(lambda: not bench.get(job).outstanding)
    ended = bench.get(job)
    assert ended.state == "failed"
    assert "The deadline of" in (ended.message or "")
    (remote,) = [one for one in bench.listed() if one["name"] == ended.remote_id]
    assert remote["properties"]["status"] == "Canceled"


def test_a_job_cancelled_in_azure_ml_is_cancelled_here(bench: Bench) -> None:
    """The Until loop of the pattern waits for Completed or Failed, and so for ever."""
    job = bench.submit("slow")
    bench.service.workspace.client.jobs.begin_cancel(str(job.remote_id), polling=False)
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert (bench.get(job).state, bench.get(job).remote_state) == ("cancelled", "Canceled")


def test_cancelling_a_job_that_has_ended_is_no_error(bench: Bench) -> None:
    job = bench.submit()
    bench.tick_until(lambda: not bench.get(job).outstanding)
    bench.service.cancel(bench.get(job))
    assert bench.get(job).state == "succeeded"


@pytest.mark.parametrize("many", [False, True], ids=["get", "list"])
@pytest.mark.parametrize("fault", ALL)
def test_a_fault_while_polling_ends_no_job_wrongly(bench: Bench, fault: str, many: bool) -> None:
    count = 2 if many else 1
    bench.order(kind="hold")
    jobs = [bench.submit(partition=str(number)) for number in range(count)]
    bench.order(method="GET", path=JOBS if many else f"{JOBS}/*", times=2, **ALL[fault])
    bench.tick()
    assert all(bench.get(job).outstanding for job in jobs)
    bench.clear()
    bench.tick_until(lambda: not bench.ledger.list_outstanding())
    assert {bench.get(job).state for job in jobs} == {"succeeded"}
    assert [bench.count(job) for job in jobs] == [1] * count


@pytest.mark.parametrize("fault", SILENT)
def test_a_service_that_stays_away_loses_nothing(bench: Bench, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    job = bench.submit()
    bench.order(method="GET", path=f"{JOBS}*", times=None, **SILENT[fault])
    # What ends the waiting is the time for one request's repetitions, not the tick's: the tick has more than it needs.
    with caplog.at_level(logging.WARNING):
        bench.tick()
    assert "the jobs stay in the ledger" in caplog.text
    assert bench.count_requests(f"{JOBS}/{job.remote_id}") > 0
    assert bench.get(job).outstanding
    bench.clear()
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert bench.get(job).state == "succeeded"


@pytest.mark.parametrize("fault", FAULTS | SILENT)
def test_a_fault_while_cancelling_cancels_all_the_same(bench: Bench, fault: str) -> None:
    job = bench.submit("slow", deadline=timedelta(minutes=1))
    bench.order(method="POST", path="/subscriptions/*/cancel", times=1, **(FAULTS | SILENT)[fault])
    bench.tick_until(lambda: bool(bench.tick(ahead=timedelta(minutes=2)) and not bench.get(job).outstanding))
    assert bench.get(job).state == "failed"
    (remote,) = [one for one in bench.listed() if one["name"] == job.remote_id]
    assert remote["properties"]["status"] == "Canceled"


def test_an_unknown_state_keeps_polling_and_warns(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    job = bench.submit()
    bench.order(kind="unknown_state", path=f"{JOBS}/*", times=1)
    with caplog.at_level(logging.WARNING):
        bench.tick()
    assert bench.get(job).outstanding
    assert "a state this version does not know" in caplog.text
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert bench.get(job).state == "succeeded"


def test_a_job_nobody_knows_any_more_has_failed_and_holds_up_no_other(bench: Bench) -> None:
    gone, other = bench.open(partition="gone"), bench.submit(partition="other")
    fresh = bench.ledger.record_submitted(gone.submission_key, RemoteRun("batchjob-gone", None))
    ((_, status),) = bench.service.poll([fresh], stop_at=float("inf"))
    assert (status.state, status.unknown) == ("running", True), "a new job need not be visible at once"
    old = replace(fresh, submitted_at=utc_now() - timedelta(hours=1))
    found = {job.partition: status for job, status in bench.service.poll([old, other], stop_at=float("inf"))}
    assert (found["gone"].state, found["gone"].remote_state) == ("failed", "NOT_FOUND")
    assert "no longer knows job batchjob-gone" in (found["gone"].message or "")
    bench.tick_until(lambda: not bench.get(other).outstanding)


def test_an_endpoint_that_is_away_holds_up_no_other(bench: Bench) -> None:
    away = bench.open(partition="away", request={"scoring_uri": "http://127.0.0.1:9/jobs"})
    bench.ledger.record_submitted(away.submission_key, RemoteRun("batchjob-1", None))
    jobs = [bench.submit(partition=str(number)) for number in range(2)]
    bench.tick_until(lambda: not any(bench.get(job).outstanding for job in jobs))
    assert bench.get(away).outstanding


def test_many_jobs_take_few_requests(bench: Bench) -> None:
    bench.order(kind="hold")
    token = bench.service.calls._sign_in(f"{bench.cloud.url}{JOBS}")
    body = {"properties": {"InputData": {"mode": {"JobInputType": "Literal", "Value": "ok"}}, "OutputData": {}}}
    jobs = []
    for number in range(120):
        place = (bench.folder / "out" / str(number)).as_uri()
        body["properties"]["OutputData"] = {"result": {"JobOutputType": "UriFolder", "Uri": place}}
        answer = bench.client.post(f"{bench.cloud.url}{JOBS}", json=body, headers=token).raise_for_status().json()
        opened = bench.open(partition=str(number))
        jobs.append(bench.ledger.record_submitted(opened.submission_key, RemoteRun(answer["name"], None)))
    bench.client.delete(f"{bench.cloud.url}/_local/requests")
    found = {job.remote_id: status.state for job, status in bench.service.poll(jobs, stop_at=float("inf"))}
    assert found == {job.remote_id: "running" for job in jobs}
    assert 0 < sum(bench.requests().values()) <= 0.2 * len(jobs)
    for job in jobs:
        bench.service.cancel(job)


def test_without_time_no_job_is_asked_for(bench: Bench) -> None:
    job = bench.submit()
    assert list(bench.service.poll([job], stop_at=0)) == []
