"""A job is submitted once, whatever dies or is lost on the way, and what goes wrong is said in one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from resources.azure_ml_batch import PARENT_RUN_ID, SUBMISSION_KEY
from resources.errors import OutcomeUnknown, Refused, SettingInvalid, SettingMissing, Unreachable
from resources.ledger import Ledger
from resources.remote_jobs import RemoteJob
from resources.submission import cancel_job, submit_job
from tests.azure_ml_batch.conftest import Bench
from tests.kills import repeat_kills

INVOKE = {"method": "POST", "path": "/azureml/batch/tiny/jobs"}

SUBMITTER = """
import os, signal, sys
from resources.control import ControlDatabase
from resources.azure_ml_batch import AzureMlBatch
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
submit_job(ledger, AzureMlBatch(), ledger.get(sys.argv[1]))
"""


def test_a_submitted_job_carries_our_key_and_ends_with_its_output(bench: Bench) -> None:
    job = bench.submit(request={"experiment_name": "nightly", "deployment": "one"})
    assert (job.state, job.sends) == ("running", 1)
    assert job.remote_id is not None
    assert job.remote_id.startswith("batchjob-")
    assert (job.url or "").startswith(bench.cloud.url)
    (sent,) = [one for one in bench.listed() if one["name"] == job.remote_id]
    ours = {SUBMISSION_KEY: job.remote_key, PARENT_RUN_ID: "run"}
    assert sent["properties"]["tags"] == ours
    assert sent["properties"]["properties"] == {"experimentName": "nightly", **ours}
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert bench.get(job).state == "succeeded"
    assert (bench.folder / "out" / f"submission-{job.token[:20]}" / "done.txt").read_text() == "1"


def test_the_address_is_read_from_the_workspace_once(bench: Bench) -> None:
    jobs = [bench.submit(partition=str(number), request={"scoring_uri": None}) for number in range(2)]
    assert {job.facts["scoring_uri"] for job in jobs} == {f"{bench.cloud.url}/azureml/batch/tiny/jobs"}
    asked = [path for path in bench.requests() if path.endswith("/batchEndpoints/tiny")]
    assert [bench.requests()[path] for path in asked] == [1]


@repeat_kills()
@pytest.mark.parametrize(
    ("method", "when"), [("record_submitted", "before"), ("record_submitted", "after"), ("record_sending", "after")]
)
def test_a_killed_submitter_makes_one_job_not_two(bench: Bench, method: str, when: str, kill: int) -> None:
    """SIGKILL between the intent and the send, between the service's answer and the ledger's update, and after it."""
    job = bench.open()
    command = [sys.executable, "-c", SUBMITTER, job.submission_key, method, when]
    killed = subprocess.run(command, env=dict(os.environ), check=False)
    assert killed.returncode == -signal.SIGKILL
    assert bench.count(job) == (0 if method == "record_sending" else 1)
    assert bench.tick().submitted == 0, "the submitter may be alive: its lease has not ended"
    bench.let_leases_end()
    later = bench.tick()
    assert later.submitted == (0 if when == "after" and method == "record_submitted" else 1)
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert (bench.count(job), bench.get(job).state, len(bench.ledger.list_jobs())) == (1, "succeeded", 1)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "lost_answer", **INVOKE},
        {"kind": "truncated", **INVOKE},
        {"kind": "behaviour", "name": "azure_ml_batch.late_error"},
    ],
)
def test_an_answer_that_is_lost_is_no_second_job(bench: Bench, fault: dict[str, object]) -> None:
    bench.order(**fault)
    with pytest.raises(OutcomeUnknown, match=r"No answer from Azure ML to the submission of ml/m_job\|1\|1"):
        bench.submit()
    (job,) = bench.ledger.list_outstanding()
    assert (job.state, bench.count(job)) == ("submitting", 1)
    bench.let_leases_end()
    assert bench.tick().submitted == 1
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert (bench.get(job).state, bench.count(job)) == ("succeeded", 1)


@pytest.mark.parametrize("fault", [{"kind": "reset"}, {"kind": "status", "code": 500}, {"kind": "status", "code": 504}])
def test_a_request_that_did_nothing_is_sent_again_once_it_is_known(bench: Bench, fault: dict[str, object]) -> None:
    bench.order(**fault, **INVOKE)
    with pytest.raises(OutcomeUnknown):
        bench.submit()
    (job,) = bench.ledger.list_outstanding()
    assert bench.count(job) == 0
    bench.let_leases_end()
    bench.tick()
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert (bench.get(job).state, bench.count(job)) == ("succeeded", 1)


@pytest.mark.parametrize("retry_after", [None, 7])
def test_too_many_requests_is_no_job_and_is_sent_later(bench: Bench, retry_after: int | None) -> None:
    bench.order(kind="status", code=429, retry_after=retry_after, **INVOKE)
    job = bench.submit()
    assert (job.state, job.refusals, bench.count(job)) == ("submitting", 1, 0)
    bench.let_leases_end()
    bench.tick()
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert (bench.get(job).state, bench.count(job)) == ("succeeded", 1)


def test_a_job_is_found_in_the_workspace_where_the_endpoint_lists_none(bench: Bench) -> None:
    """Microsoft's own client cannot list an endpoint's jobs on every workspace (Azure/azure-sdk-for-python#45212)."""
    bench.order(kind="lost_answer", **INVOKE)
    with pytest.raises(OutcomeUnknown):
        bench.submit()
    (job,) = bench.ledger.list_outstanding()
    bench.order(kind="behaviour", name="azure_ml_batch.no_list", times=None)
    found = bench.service.find(job)
    assert found is not None
    bench.clear()
    assert [one["name"] for one in bench.listed()].count(found.remote_id) == 1
    assert bench.service.find(bench.open(partition="never sent")) is None


@pytest.mark.parametrize("fault", [{"kind": "status", "code": 403}, {"kind": "reset"}, {"kind": "status", "code": 503}])
def test_while_the_lists_cannot_be_read_nothing_is_sent_again(bench: Bench, fault: dict[str, object]) -> None:
    bench.order(kind="lost_answer", **INVOKE)
    with pytest.raises(OutcomeUnknown):
        bench.submit()
    (job,) = bench.ledger.list_outstanding()
    bench.order(**fault, method="GET", path="/azureml/batch/tiny/jobs", times=None)
    bench.let_leases_end()
    assert bench.tick().submitted == 0
    assert bench.get(job).state == "submitting"
    bench.clear()
    bench.let_leases_end()
    assert bench.tick().submitted == 1
    assert bench.count(job) == 1


def test_many_at_once_submit_one_job(bench: Bench) -> None:
    job = bench.open()

    def submit(_: int) -> RemoteJob:
        return submit_job(Ledger(bench.ledger._engine), bench.service, job, sender=f"sender {_}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(submit, range(8)))
    assert bench.count(job) <= 1
    bench.let_leases_end()
    bench.tick()
    assert bench.count(job) == 1


def test_cancelling_a_job_whose_answer_was_lost_finds_and_stops_it(bench: Bench) -> None:
    bench.order(kind="lost_answer", **INVOKE)
    with pytest.raises(OutcomeUnknown):
        bench.submit("slow")
    (job,) = bench.ledger.list_outstanding()
    cancel_job(bench.ledger, bench.service, job, "because")
    bench.tick_until(lambda: not bench.get(job).outstanding)
    assert (bench.get(job).state, bench.get(job).message) == ("cancelled", "because")
    assert bench.count(job) == 1


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (
            {"scoring_uri": "http://127.0.0.1:9/jobs"},
            Unreachable,
            r"connection refused.*Check the engine's `scoring_uri`",
        ),
        ({"scoring_uri": "https://tiny.nowhere.invalid/jobs"}, Unreachable, r"cannot be reached .*`scoring_uri`"),
        ({"scoring_uri": "https://tiny.westeurope.inference.ml.azure.com/score"}, Refused, "no scoring URI of a batch"),
        ({"deployment": "two"}, Refused, r"Endpoint tiny has no deployment two; it has: one.*and its `deployment`"),
        ({"endpoint": "tinny", "scoring_uri": None}, Refused, r"no batch endpoint 'tinny'.*Did you mean 'tiny'"),
        (
            {"input_data": {"mod": {"JobInputType": "Literal", "Value": "ok"}}},
            Refused,
            r"Deployment one has no input mod; it has \['mode', 'number'\].*Check the engine's inputs",
        ),
    ],
)
def test_what_is_declared_wrong_is_said(
    bench: Bench, request_: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        bench.submit(request=request_)
    (job,) = bench.ledger.list_jobs()
    assert (job.state, job.remote_state) == ("failed", "NOT_SUBMITTED")


def test_a_scoring_uri_of_another_endpoint_is_named_with_those_there_are(bench: Bench) -> None:
    with pytest.raises(
        Refused, match="There is no batch endpoint other; there are: adfml-scoring, adfml-training, tiny"
    ):
        bench.submit(request={"scoring_uri": f"{bench.cloud.url}/azureml/batch/other/jobs"})


@pytest.mark.parametrize(
    ("workspace", "error", "message"),
    [
        (None, SettingMissing, "ADFML_AZURE_ML_WORKSPACE is not set"),
        ("local", SettingInvalid, "ADFML_AZURE_ML_WORKSPACE is not valid: expected an Azure resource id"),
        ("other", Refused, "Workspace|workspaces/other' under resource group 'local' was not found"),
    ],
)
def test_a_wrong_workspace_is_said_with_its_setting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, workspace: str | None, error: type[Exception], message: str
) -> None:
    known = os.environ["ADFML_AZURE_ML_WORKSPACE"]
    if workspace is None:
        monkeypatch.delenv("ADFML_AZURE_ML_WORKSPACE")
    else:
        value = known.rpartition("/")[0] + "/other" if workspace == "other" else workspace
        monkeypatch.setenv("ADFML_AZURE_ML_WORKSPACE", value)
    with pytest.raises(error, match=message) as caught:
        bench.submit(request={"scoring_uri": None})
    assert "ADFML_AZURE_ML_WORKSPACE" in str(caught.value)


def test_an_identity_that_is_not_known_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "wrong-secret")
    with pytest.raises(Refused, match=r"The Azure identity at .* refused") as caught:
        bench.submit()
    assert "wrong-secret" not in str(caught.value)
    assert bench.ledger.list_jobs()[0].state == "failed"
