"""A job is submitted once, whatever dies or is lost on the way, and what goes wrong is said in one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from resources.errors import OutcomeUnknown, Refused, Unreachable
from resources.ledger import Ledger
from resources.remote_jobs import RemoteJob
from resources.submission import cancel_job, submit_job
from tests.kills import repeat_kills
from tests.remote_jobs.conftest import Bench

SUBMITTER = """
import os, signal, sys
from resources.control import ControlDatabase
from resources.databricks import Databricks
from resources.ledger import Ledger
from resources.submission import submit_job

method = sys.argv[2]
original = getattr(Ledger, method)

def die(self, *arguments, **keywords):
    if sys.argv[3] == "after":
        original(self, *arguments, **keywords)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(Ledger, method, die)
ledger = ControlDatabase().ledger
submit_job(ledger, Databricks(), ledger.get(sys.argv[1]))
"""


def test_a_submitted_job_is_known_by_its_id_and_page(bench: Bench) -> None:
    job = bench.submit()
    assert (job.state, job.sends) == ("running", 1)
    assert job.url is not None
    assert job.url.startswith(bench.cloud.url)
    assert bench.count_runs(job) == 1
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert bench.get(job).state == "succeeded"


@repeat_kills(2)
@pytest.mark.parametrize(
    ("method", "when"), [("record_submitted", "before"), ("record_submitted", "after"), ("record_sending", "after")]
)
def test_a_killed_submitter_makes_one_job_not_two(bench: Bench, method: str, when: str, kill: int) -> None:
    """SIGKILL between the intent and the send, between the service's answer and the ledger's update, and after it."""
    job = bench.open()
    command = [sys.executable, "-c", SUBMITTER, job.submission_key, method, when]
    killed = subprocess.run(command, env=dict(os.environ), check=False)
    assert killed.returncode == -signal.SIGKILL
    sent_before = bench.count_runs(job)
    assert sent_before == (0 if method == "record_sending" else 1)
    again = bench.open(run_id="the next run")
    assert again.submission_key == job.submission_key
    submitted = submit_job(bench.ledger, bench.service, again)
    assert bench.count_runs(job) == 1
    bench.tick_until(lambda: not bench.get(submitted).outstanding)
    assert (bench.get(job).state, len(bench.ledger.list_jobs())) == ("succeeded", 1)


def test_the_sensor_finishes_what_a_killed_submitter_began(bench: Bench) -> None:
    from datetime import timedelta

    job = bench.open()
    command = [sys.executable, "-c", SUBMITTER, job.submission_key, "record_submitted", "before"]
    subprocess.run(command, env=dict(os.environ), check=False)
    assert bench.tick().submitted == 0, "the submitter may be alive: its lease has not ended"
    assert bench.tick(ahead=timedelta(minutes=2)).submitted == 1
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert bench.count_runs(job) == 1


def test_a_lost_answer_is_not_a_second_job(bench: Bench) -> None:
    bench.order(kind="lost_answer", path="/api/2.2/jobs/run-now", times=1)
    job = bench.submit()
    assert (job.state, bench.count_runs(job)) == ("running", 1)


def test_answers_that_stay_lost_leave_the_job_to_be_found(bench: Bench) -> None:
    bench.order(kind="lost_answer", path="/api/2.2/jobs/run-now", times=None)
    with pytest.raises(OutcomeUnknown, match=r"No answer from Databricks to the submission of ml/m_job\|1\|1"):
        bench.submit()
    (job,) = bench.ledger.list_outstanding()
    assert (job.state, bench.count_runs(job)) == ("submitting", 1)
    found = bench.service.find(job)
    assert found is not None


def test_many_at_once_submit_one_job(bench: Bench) -> None:
    job = bench.open()

    def submit(_: int) -> RemoteJob:
        return submit_job(Ledger(bench.ledger._engine), bench.service, job)

    with ThreadPoolExecutor(8) as pool:
        assert len({found.remote_id for found in pool.map(submit, range(8))}) == 1
    assert bench.count_runs(job) == 1


def test_an_unreachable_workspace_says_where_and_what_to_check(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_DATABRICKS_HOST", "http://127.0.0.1:9")
    message = r"Databricks at http://127.0.0.1:9 cannot be reached \(connection refused\). Check ADFML_DATABRICKS_HOST"
    with pytest.raises(Unreachable, match=message):
        bench.submit()
    (job,) = bench.ledger.list_jobs()
    assert (job.state, job.remote_state) == ("failed", "NOT_SUBMITTED")


def test_a_job_that_does_not_exist_is_named_with_those_that_do(bench: Bench) -> None:
    with pytest.raises(Refused, match=r"no job 'tinny' in the workspace .*It has: tiny. Did you mean 'tiny'"):
        bench.submit(job="tinny")
    assert bench.ledger.list_jobs()[0].state == "failed"


def test_a_wrong_token_is_said_to_be_wrong(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_DATABRICKS_TOKEN", "dapi-wrong-secret")
    with pytest.raises(Refused) as caught:
        bench.submit()
    assert str(caught.value).endswith("Check ADFML_DATABRICKS_TOKEN, or the identity, and that it has not expired.")
    assert "dapi-wrong-secret" not in str(caught.value)


def test_cancelling_a_job_nobody_knows_ends_it_without_sending(bench: Bench) -> None:
    job = bench.open()
    cancel_job(bench.ledger, bench.service, job, "because")
    assert (bench.get(job).state, bench.count_runs(job)) == ("cancelled", 0)


def test_cancelling_a_job_whose_answer_was_lost_finds_and_stops_it(bench: Bench) -> None:
    bench.order(kind="lost_answer", path="/api/2.2/jobs/run-now", times=None)
    with pytest.raises(OutcomeUnknown):
        bench.submit("slow")
    (job,) = bench.ledger.list_outstanding()
    cancel_job(bench.ledger, bench.service, job, "because")
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert (bench.get(job).state, bench.get(job).message) == ("cancelled", "because")
    assert bench.count_runs(job) == 1
