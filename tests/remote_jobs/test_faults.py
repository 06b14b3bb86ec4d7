"""Whatever one request meets, the job runs once and ends as it did: no false success, nothing lost, nothing twice."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import httpx
import pytest

from resources.errors import ResourceError
from resources.submission import cancel_job
from tests.faults import FAULTS
from tests.remote_jobs.conftest import Bench

CALLS = {
    "find the job": "/api/*/jobs/list",
    "submit": "/api/*/jobs/run-now",
    "list runs": "/api/*/jobs/runs/list",
    "get a run": "/api/*/jobs/runs/get",
    "read its output": "/api/*/jobs/runs/get-output",
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("call", "mode"),
    [
        ("find the job", "ok"),
        ("submit", "ok"),
        ("list runs", "ok"),
        ("get a run", "ok"),
        ("get a run", "fail"),
        ("read its output", "fail"),
    ],
)
def test_a_job_runs_once_and_ends_as_it_did(bench: Bench, call: str, fault: str, mode: str) -> None:
    bench.order(**FAULTS[fault], path=CALLS[call], times=1)
    if call == "list runs":
        # One job alone is asked for by its id: only several are listed.
        with suppress(ResourceError):
            bench.submit(mode, partition="2")
    job = bench.open(mode)
    with suppress(ResourceError):
        bench.submit(mode)
    if bench.get(job).state == "failed":
        # It was not taken, as nothing had been sent: the run that submitted failed, and is started again.
        assert bench.get(job).remote_state == "NOT_SUBMITTED"
        assert bench.count_runs(job) == 0
        job = bench.submit(mode)
    bench.tick(ahead=timedelta(minutes=2))
    bench.tick_until(lambda: not bench.ledger.list_outstanding())
    assert bench.get(job).state == ("succeeded" if mode == "ok" else "failed")
    if mode == "fail":
        assert "the training data is empty" in (bench.get(job).message or "") or call == "read its output"
    assert bench.count_runs(job) == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_cancel_is_repeated_until_the_job_has_stopped(bench: Bench, fault: str) -> None:
    job = bench.submit("slow")
    bench.order(**FAULTS[fault], path="/api/*/jobs/runs/cancel", times=1)
    with suppress(ResourceError):
        cancel_job(bench.ledger, bench.service, job, "because")
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert (bench.get(job).state, bench.get(job).message) == ("cancelled", "because")
    assert bench.count_runs(job) == 1
    assert httpx.get(f"{bench.cloud.url}/_local/faults").json()["faults"] == []
