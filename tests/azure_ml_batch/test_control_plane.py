"""Whatever the control plane does while an address is read or a lost job is looked for: one job, or a clear error."""

from __future__ import annotations

import http.server
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from resources.azure_ml_batch import AzureMlBatch
from resources.errors import OutcomeUnknown, Refused, Unreachable
from resources.remote_jobs import RemoteJob
from tests.azure_ml_batch.conftest import Bench
from tests.faults import FAULTS

ENDPOINT = {"method": "GET", "path": "/subscriptions/*/workspaces/local/batchEndpoints/tiny"}
ENDPOINTS = {"method": "GET", "path": "/subscriptions/*/workspaces/local/batchEndpoints"}
JOBS = {"method": "GET", "path": "/subscriptions/*/workspaces/local/jobs"}
BY_NAME = {"scoring_uri": None}


@contextmanager
def giving_up_soon(bench: Bench) -> Iterator[None]:
    """With a service that repeats nothing, where what is asked stays away anyway."""
    patient, bench.service = bench.service, AzureMlBatch(request_timeout_seconds=2, retry_seconds=0, find_seconds=2)
    yield
    bench.service = patient


def lose_the_answer(bench: Bench) -> RemoteJob:
    """A job that the service has, that nobody was told of, and that only the workspace lists."""
    bench.order(kind="lost_answer", method="POST", path="/azureml/batch/tiny/jobs")
    with pytest.raises(OutcomeUnknown):
        bench.submit()
    (job,) = bench.ledger.list_outstanding()
    assert (job.state, bench.count(job)) == ("submitting", 1)
    hide_the_list(bench)
    return job


def hide_the_list(bench: Bench) -> None:
    bench.order(kind="behaviour", name="azure_ml_batch.no_list", times=None)


def require_one_success(bench: Bench, job: RemoteJob) -> None:
    bench.clear()
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert (bench.get(job).state, bench.count(job), len(bench.ledger.list_jobs())) == ("succeeded", 1, 1)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_while_an_address_is_read_is_waited_out(bench: Bench, fault: str) -> None:
    bench.service = AzureMlBatch(request_timeout_seconds=5, retry_seconds=5)
    bench.order(**ENDPOINT, **FAULTS[fault])
    job = bench.submit(request=BY_NAME)
    assert job.facts["scoring_uri"] == f"{bench.cloud.url}/azureml/batch/tiny/jobs"
    assert bench.faults_left() == 0
    require_one_success(bench, job)


@pytest.mark.parametrize("fault", FAULTS)
def test_while_an_address_cannot_be_read_nothing_is_sent(
    bench: Bench, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By the sensor: the submitter is dead, and the job stays in the ledger until the workspace answers."""
    job = bench.open(request=BY_NAME)
    bench.let_leases_end()
    bench.order(**ENDPOINT, **{**FAULTS[fault], "times": None})
    with caplog.at_level(logging.WARNING), giving_up_soon(bench):
        assert bench.tick().submitted == 0
    assert "could not be submitted: Azure ML at /subscriptions/" in caplog.text
    assert "workspaces/local cannot be reached (batch endpoint tiny: " in caplog.text
    assert "Check that Azure Resource Manager is up, ADFML_AZURE_ML_WORKSPACE and the network" in caplog.text
    assert (bench.get(job).state, bench.count(job)) == ("submitting", 0)
    bench.clear()
    bench.let_leases_end()
    require_one_success(bench, job)


def test_a_run_that_cannot_read_the_address_fails_and_is_started_again(bench: Bench) -> None:
    bench.order(**ENDPOINT, kind="reset", times=None)
    with pytest.raises(Unreachable, match=r"batch endpoint tiny: .*reset by peer.*ADFML_AZURE_ML_WORKSPACE"):
        bench.submit(request=BY_NAME)
    assert bench.count_requests("/batchEndpoints/tiny") > 1, "it is asked for again first"
    (job,) = bench.ledger.list_jobs()
    assert (job.state, job.remote_state, bench.count(job)) == ("failed", "NOT_SUBMITTED", 0)
    bench.clear()
    again = bench.submit(request=BY_NAME)
    bench.tick_until(lambda: not bench.get(again).outstanding)
    assert (bench.get(again).state, bench.count(again)) == ("succeeded", 1)


def test_an_endpoint_that_may_not_be_read_is_said_with_what_to_check(bench: Bench) -> None:
    bench.order(**ENDPOINT, kind="status", code=403)
    with pytest.raises(
        Refused, match=r"batch endpoint tiny: 403.*Check the YAML's `endpoint`, and ADFML_AZURE_ML_WORK"
    ):
        bench.submit(request=BY_NAME)
    assert bench.ledger.list_jobs()[0].state == "failed"


@pytest.mark.parametrize("fault", ["500", "reset", "truncated"])
def test_an_endpoint_that_does_not_exist_is_said_also_where_the_others_cannot_be_listed(
    bench: Bench, fault: str
) -> None:
    bench.order(**ENDPOINTS, **{**FAULTS[fault], "times": None})
    unknown = r"no batch endpoint 'tinny' in workspace local; which there are is not known"
    with giving_up_soon(bench), pytest.raises(Refused, match=unknown):
        bench.submit(request={**BY_NAME, "endpoint": "tinny"})
    assert bench.ledger.list_jobs()[0].remote_state == "NOT_SUBMITTED"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_while_the_workspace_lists_its_jobs_hides_none(bench: Bench, fault: str) -> None:
    job = lose_the_answer(bench)
    bench.service = AzureMlBatch(request_timeout_seconds=5, retry_seconds=5)
    bench.order(**JOBS, **FAULTS[fault])
    bench.let_leases_end()
    assert bench.tick().submitted == 1
    assert bench.faults_left() == 1, "only that the endpoint lists nothing"
    require_one_success(bench, job)


@pytest.mark.parametrize("fault", FAULTS)
def test_while_the_workspace_lists_no_jobs_nothing_is_sent_again(
    bench: Bench, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = lose_the_answer(bench)
    bench.order(**JOBS, **{**FAULTS[fault], "times": None})
    bench.let_leases_end()
    with caplog.at_level(logging.WARNING), giving_up_soon(bench):
        assert bench.tick().submitted == 0
    assert "workspaces/local cannot be reached (its jobs: " in caplog.text
    assert "Check that Azure Resource Manager is up, ADFML_AZURE_ML_WORKSPACE and the network" in caplog.text
    assert bench.get(job).state == "submitting"
    bench.clear()
    hide_the_list(bench)
    bench.let_leases_end()
    assert bench.tick().submitted == 1
    require_one_success(bench, job)


@pytest.mark.parametrize("behaviour", ["no_list", "forbidden"])
def test_an_answer_that_is_no_list_says_nothing_about_the_job(bench: Bench, behaviour: str) -> None:
    job = lose_the_answer(bench)
    if behaviour == "no_list":
        bench.order(kind="behaviour", name="azure_ml_control.no_list")
    else:
        bench.order(**JOBS, kind="status", code=403)
    with pytest.raises(Unreachable, match=r"workspaces/local cannot be reached \(its jobs: .*ADFML_AZURE_ML_WORKSPACE"):
        bench.service.find(job)
    bench.let_leases_end()
    assert bench.tick().submitted == 1
    require_one_success(bench, job)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "behaviour", "name": "azure_ml_control.strange_jobs"},
        {"kind": "unknown_state", **JOBS},
        {"kind": "behaviour", "name": "azure_ml_control.page", "value": 1, "times": None},
    ],
    ids=["strange jobs", "unknown state", "many pages"],
)
def test_a_job_is_found_among_whatever_the_workspace_has(bench: Bench, fault: dict[str, Any]) -> None:
    """MLClient's own list ends at a job of a kind that came after it, and nobody would find ours."""
    job = lose_the_answer(bench)
    if fault.get("name") == "azure_ml_control.page":
        for number in range(2):
            bench.submit(partition=f"newer {number}")
    bench.order(**fault)
    found = bench.service.find(job)
    assert found is not None
    bench.clear()
    assert bench.count_named(str(found.remote_id), job) == 1


@pytest.mark.parametrize("call", ["read", "list", "cancel"])
def test_a_wait_that_is_too_long_is_not_waited_for(bench: Bench, call: str) -> None:
    """Azure Resource Manager asks for up to an hour; a tick has seconds."""
    limit = {"kind": "status", "code": 429, "retry_after": 3600, "times": None}
    if call == "cancel":
        job = bench.submit("slow")
        bench.order(**{"method": "POST", "path": "/subscriptions/*/cancel"}, **limit)
        with pytest.raises(Unreachable, match=rf"cancelling job {job.remote_id}: 429"):
            bench.service.cancel(job)
        assert bench.count_requests("/cancel") == 1
        bench.clear()
        bench.service.cancel(job)
    elif call == "read":
        bench.order(**ENDPOINT, **limit)
        with pytest.raises(Unreachable, match="batch endpoint tiny: 429"):
            bench.submit(request=BY_NAME)
        assert bench.count_requests("/batchEndpoints/tiny") == 1
    else:
        job = lose_the_answer(bench)
        bench.order(**JOBS, **limit)
        with pytest.raises(Unreachable, match="its jobs: 429"):
            bench.service.find(job)
        assert bench.count_requests("/workspaces/local/jobs") == 1


def test_a_page_that_is_no_list_of_jobs_is_no_word_about_the_job(bench: Bench) -> None:
    """A proxy's page before the endpoint: the workspace is asked instead, and nothing is sent a second time."""
    job = lose_the_answer(bench)
    with page_of('{"message": "Please sign in."}') as url:
        found = bench.service.find(replace(job, facts={"scoring_uri": f"{url}/jobs"}))
    assert found is not None
    bench.clear()
    assert bench.count_named(str(found.remote_id), job) == 1


def test_a_job_that_cannot_be_cancelled_now_is_cancelled_by_a_later_tick(bench: Bench) -> None:
    job = bench.submit("slow", deadline=timedelta(minutes=1))
    bench.order(kind="reset", method="POST", path="/subscriptions/*/cancel", times=None)
    with giving_up_soon(bench):
        bench.tick(ahead=timedelta(minutes=2))
    assert bench.get(job).outstanding
    bench.clear()
    bench.tick(ahead=timedelta(minutes=2))
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert (bench.get(job).state, bench.get(job).remote_state) == ("failed", "Canceled")


@contextmanager
def page_of(body: str) -> Iterator[str]:
    """A web server that answers every GET with one text."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the test says what it needs."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
