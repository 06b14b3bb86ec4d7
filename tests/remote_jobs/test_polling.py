"""One tick looks at every outstanding job: states, failures with their messages, deadlines, retries, unknown states."""

from __future__ import annotations

import logging
from datetime import timedelta

import httpx
import pytest

from resources.remote_jobs import RemoteRun
from tests.remote_jobs.conftest import Bench


def test_a_failure_carries_the_jobs_own_words(bench: Bench) -> None:
    job = bench.submit("fail")
    bench.tick_until(lambda: not bench.get(job).outstanding)
    ended = bench.get(job)
    assert (ended.state, ended.remote_state) == ("failed", "INTERNAL_ERROR/FAILED/RUN_EXECUTION_ERROR")
    assert "TrainingError: the training data is empty" in (ended.message or "")
    assert len(bench.ledger.list_jobs()) == 1, "a mistake in the data is not worth another try"


def test_a_cloud_failure_is_tried_again_up_to_the_limit(bench: Bench) -> None:
    bench.order(kind="cloud_failure", times=1)
    first = bench.submit()
    bench.tick_until(lambda: not bench.ledger.list_outstanding())
    newest, oldest = bench.ledger.list_jobs()
    assert (oldest.submission_key, oldest.state) == (first.submission_key, "failed")
    assert (newest.try_number, newest.state) == (2, "succeeded")
    bench.order(kind="cloud_failure", times=None)
    bench.submit(partition="2")
    bench.tick_until(lambda: not bench.ledger.list_outstanding())
    assert [job.state for job in bench.ledger.list_jobs() if job.partition == "2"] == ["failed", "failed"]


def test_a_job_past_its_deadline_is_cancelled_and_has_failed(bench: Bench) -> None:
    job = bench.submit("slow", deadline=timedelta(minutes=1))
    bench.tick()
    assert bench.get(job).outstanding
    bench.tick(ahead=timedelta(minutes=2))
    bench.tick_until(lambda: not bench.get(job).outstanding)
    ended = bench.get(job)
    assert ended.state == "failed"
    assert "The deadline of" in (ended.message or "")
    (run,) = [r for r in bench.runs() if str(r.run_id) == ended.remote_id]
    assert run.state.result_state.value == "CANCELED"


def test_an_unknown_state_keeps_polling_and_warns(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    job = bench.submit()
    bench.order(kind="unknown_state", path="/api/2.2/jobs/runs/*", times=1)
    with caplog.at_level(logging.WARNING):
        bench.tick()
    assert bench.get(job).outstanding
    assert "a state this version does not know" in caplog.text
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert bench.get(job).state == "succeeded"


def test_a_run_cancelled_in_databricks_is_cancelled_here(bench: Bench) -> None:
    job = bench.submit("slow")
    bench.service.client.jobs.cancel_run(int(job.remote_id or 0))
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert bench.get(job).state == "cancelled"


@pytest.mark.parametrize("fault", [{"kind": "status", "code": 503}, {"kind": "reset"}, {"kind": "status", "code": 429}])
def test_a_service_that_is_down_loses_nothing(
    bench: Bench, fault: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    job = bench.submit()
    bench.order(path="/api/*", times=None, **fault)
    with caplog.at_level(logging.WARNING):
        bench.tick()
    assert "the jobs stay in the ledger" in caplog.text
    assert bench.get(job).outstanding
    httpx.delete(f"{bench.cloud.url}/_local/faults")
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert bench.get(job).state == "succeeded"


def test_a_run_that_databricks_forgot_has_failed_and_holds_up_no_other(bench: Bench) -> None:
    gone = bench.open(partition="gone")
    bench.ledger.record_submitted(gone.submission_key, RemoteRun("999", None))
    other = bench.submit()
    bench.tick_until(lambda: not bench.ledger.list_outstanding())
    assert (bench.get(gone).state, bench.get(gone).remote_state) == ("failed", "NOT_FOUND")
    assert "no longer knows run 999" in (bench.get(gone).message or "")
    assert bench.get(other).state == "succeeded"


def test_a_job_that_cannot_be_cancelled_holds_up_no_other(bench: Bench) -> None:
    stuck, other = bench.submit("slow", "stuck", deadline=timedelta(minutes=1)), bench.submit()
    bench.order(kind="status", code=403, path="/api/2.2/jobs/runs/cancel", times=None)
    bench.tick(ahead=timedelta(minutes=2))
    bench.tick_until(lambda: not bench.get(other).outstanding)
    assert bench.get(stuck).outstanding
    bench.tick(ahead=timedelta(minutes=30))
    assert bench.get(stuck).state == "failed", "after a grace it counts as failed whatever the service does"
    assert "The service did not stop the job" in (bench.get(stuck).message or "")


def test_many_jobs_are_polled_by_list(bench: Bench) -> None:
    bench.order(kind="hold")
    for number in range(30):
        bench.submit(partition=str(number))
    httpx.delete(f"{bench.cloud.url}/_local/requests")
    assert bench.tick().polled == 30
    counts = httpx.get(f"{bench.cloud.url}/_local/requests").json()
    assert sum(n for path, n in counts.items() if "/api/" in path) <= 3
    httpx.delete(f"{bench.cloud.url}/_local/faults")
    bench.tick_until(lambda: not bench.ledger.list_outstanding(), seconds=60)
    assert {job.state for job in bench.ledger.list_jobs()} == {"succeeded"}
