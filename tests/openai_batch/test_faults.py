"""The fault matrix: each fault of the network and the service in each call, and the end is the same as without it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import httpx
import pytest

import tests.faults
from resources.errors import OutcomeUnknown, ResourceError
from resources.openai_batch import OpenAIBatch
from resources.submission import submit_job
from tests.openai_batch.conftest import Bench, make_feedback

ROWS = 6
CALLS = (
    ("POST", "/openai/v1/files"),
    ("POST", "/openai/v1/batches"),
    ("GET", "/openai/v1/batches/*"),
    ("GET", "/openai/v1/batches"),
    ("GET", "/openai/v1/files/*/content"),
    ("DELETE", "/openai/v1/files/*"),
)
# Waits that are longer than any call, and an answer that is later than it is waited for.
FAULTS: dict[str, dict[str, Any]] = tests.faults.FAULTS | {
    "429 with Retry-After": {"kind": "status", "code": 429, "retry_after": 90},
    "503": {"kind": "status", "code": 503, "retry_after": 60},
    "slow": {"kind": "delay", "seconds": 0.7},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_every_call_loses_nothing_and_pays_for_nothing_twice(bench: Bench, fault: str) -> None:
    bench.service = OpenAIBatch(lake=bench.lake, request_timeout_seconds=0.5, upload_timeout_seconds=0.5)
    # Three jobs: one alone is never listed.
    _, requests = bench.build(make_feedback(ROWS))
    jobs = bench.open(requests * 3)
    for method, path in CALLS:
        bench.order(method=method, path=path, **FAULTS[fault])
    for job in jobs:
        # Errors that nobody translated would pass; those that are meant leave the job to be sent later.
        with suppress(ResourceError):
            submit_job(bench.ledger, bench.service, job, give_up=False)
    assert {job.state for job in bench.group()} <= {"submitting", "running"}
    group = bench.finish()

    assert [job.state for job in group] == ["succeeded"] * 3
    bench.require_whole(bench.collect(), ROWS)
    assert len(bench.batches()) == 3

    # A job alone is asked for by its id.
    bench.day = "2026-03-11"
    bench.ask(make_feedback(ROWS))
    assert [job.state for job in bench.finish()] == ["succeeded"]
    bench.require_whole(bench.collect(), ROWS)
    # Every call was hit: no fault is left.
    left = httpx.get(f"{bench.cloud.url}/_local/faults").json()["faults"]
    assert [(found["method"], found["path"]) for found in left] == []


def test_a_lost_answer_to_the_creation_is_an_unknown_outcome_and_the_batch_is_found(bench: Bench) -> None:
    _, requests = bench.build(make_feedback(ROWS))
    (job,) = bench.open(requests)
    bench.order(kind="lost_answer", method="POST", path="/openai/v1/batches")
    with pytest.raises(OutcomeUnknown):
        submit_job(bench.ledger, bench.service, job)
    bench.finish()
    bench.require_whole(bench.collect(), ROWS)
    assert len(bench.batches()) == 1


def test_a_status_nobody_knows_is_polled_on(bench: Bench) -> None:
    bench.behave("slow", 0.5)
    (job,) = bench.ask(make_feedback(ROWS))
    bench.order(kind="unknown_state", path="*")
    bench.tick()
    assert bench.ledger.get(job.submission_key).state == "running"
    bench.finish()
    bench.require_whole(bench.collect(), ROWS)


def test_a_download_that_is_cut_short_each_time_leaves_nothing_behind(bench: Bench) -> None:
    bench.ask(make_feedback(ROWS))
    bench.order(kind="truncated", method="GET", path="/openai/v1/files/*/content", times=3)
    bench.finish()
    bench.require_whole(bench.collect(), ROWS)


def test_an_upload_whose_answer_is_lost_is_sent_again_and_makes_one_batch(bench: Bench) -> None:
    bench.order(kind="lost_answer", method="POST", path="/openai/v1/files", times=2)
    bench.ask(make_feedback(ROWS))
    bench.finish()
    bench.require_whole(bench.collect(), ROWS)
    assert len(bench.batches()) == 1
