"""The ledger: one row a submission, there before the call; no crash and no race makes two of one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from resources.control import ControlDatabase, build_control_engine, deployment_id
from resources.errors import JobOutstanding, SettingInvalid, SettingMissing
from resources.ledger import Ledger
from resources.remote_jobs import RemoteJob, RemoteRun, RemoteStatus

REQUEST: dict[str, Any] = {"job": "train", "parameters": {"a": "1"}}


def open_job(ledger: Ledger, request: dict[str, Any] = REQUEST, partition: str = "1", **more: Any) -> RemoteJob:
    values: dict[str, Any] = {
        "asset": "ml/m_job",
        "collecting_asset": "ml/m",
        "partition": partition,
        "service": "databricks",
        "request": request,
        "deadline": timedelta(hours=1),
        "max_tries": 2,
        "run_id": "run",
        **more,
    }
    return ledger.open_job(**values)


@pytest.fixture
def ledger(control: ControlDatabase) -> Ledger:
    return control.ledger


def test_the_intent_is_there_before_anything_is_sent(ledger: Ledger) -> None:
    job = open_job(ledger)
    assert job.submission_key == "ml/m_job|1|1"
    assert (job.state, job.sends, job.remote_id, job.request) == ("submitting", 0, None, REQUEST)
    assert len(job.token) == 64
    assert job.deadline_at - job.created_at == timedelta(hours=1)
    assert ledger.list_outstanding("databricks") == [job]


def test_a_job_under_way_is_taken_up_not_doubled(ledger: Ledger) -> None:
    first = open_job(ledger)
    ledger.record_submitted(first.submission_key, RemoteRun("77", "http://page"))
    again = open_job(ledger, run_id="another run")
    assert (again.submission_key, again.remote_id, again.run_id) == (first.submission_key, "77", "another run")
    with pytest.raises(
        JobOutstanding, match=r"ml/m_job\|1\|1 is still under way \(http://page\), with other parameters"
    ):
        open_job(ledger, {"job": "train", "parameters": {"a": "2"}})


def test_a_result_nobody_collected_is_not_computed_again(ledger: Ledger) -> None:
    first = open_job(ledger)
    ledger.record_ended(first.submission_key, RemoteStatus("succeeded", "SUCCESS"))
    assert open_job(ledger).submission_key == first.submission_key
    ledger.mark_collected(first.submission_key, "run")
    assert open_job(ledger).submission_key == "ml/m_job|1|2"


def test_a_failed_or_cancelled_job_gets_a_new_attempt_with_a_new_token(ledger: Ledger) -> None:
    first = open_job(ledger)
    ledger.record_ended(first.submission_key, RemoteStatus("failed", "FAILED", "no"))
    second = open_job(ledger)
    assert (second.attempt, second.try_number) == (2, 1)
    assert second.token != first.token
    ledger.request_cancel(second.submission_key, "because")
    ledger.record_ended(second.submission_key, RemoteStatus("cancelled", "CANCELED"))
    assert open_job(ledger).attempt == 3


def test_a_transient_failure_leaves_the_intent_of_its_retry_up_to_the_limit(ledger: Ledger) -> None:
    first = open_job(ledger)
    ledger.request_collect(first.submission_key, ["ml/m"], "early run")
    ledger.record_ended(first.submission_key, RemoteStatus("failed", "CLOUD_FAILURE", "cloud", transient=True))
    (second,) = ledger.list_outstanding()
    assert (second.submission_key, second.try_number, second.state) == ("ml/m_job|1|2", 2, "submitting")
    assert (second.early_selection, second.early_run_id) == (("ml/m",), "early run")
    ledger.record_ended(second.submission_key, RemoteStatus("failed", "CLOUD_FAILURE", "cloud", transient=True))
    assert ledger.list_outstanding() == []


def test_what_has_ended_stays_ended(ledger: Ledger) -> None:
    job = open_job(ledger)
    ledger.record_ended(job.submission_key, RemoteStatus("failed", "FAILED", "first"))
    ledger.record_ended(job.submission_key, RemoteStatus("succeeded", "SUCCESS"))
    ledger.record_submitted(job.submission_key, RemoteRun("1", None))
    ledger.request_cancel(job.submission_key, "late")
    found = ledger.get(job.submission_key)
    assert (found.state, found.message, found.remote_id, found.cancel_reason) == ("failed", "first", None, None)


def test_jobs_not_looked_at_for_longest_come_first(ledger: Ledger) -> None:
    keys = [open_job(ledger, partition=p).submission_key for p in "abc"]
    for key in (keys[1], keys[0]):
        ledger.record_statuses([(key, RemoteStatus("running", "RUNNING"))])
    assert [job.partition for job in ledger.list_outstanding()] == ["c", "b", "a"]


def test_sixteen_at_once_open_one_job(control: ControlDatabase) -> None:
    with ThreadPoolExecutor(16) as pool:
        jobs = list(pool.map(lambda n: open_job(control.ledger, run_id=f"run {n}"), range(16)))
    assert {job.submission_key for job in jobs} == {"ml/m_job|1|1"}


def test_two_deployments_never_share_a_token(tmp_path: Any) -> None:
    ledgers = [Ledger(build_control_engine(f"sqlite:///{tmp_path}/{name}.sqlite")) for name in "ab"]
    one, other = (open_job(ledger) for ledger in ledgers)
    assert one.submission_key == other.submission_key
    assert one.token != other.token


def test_a_deployments_id_stays(control: ControlDatabase) -> None:
    assert deployment_id(control.engine) == deployment_id(ControlDatabase().engine)


def test_a_missing_or_wrong_setting_names_itself_and_not_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_CONTROL_URL", "no url with pa55word")
    with pytest.raises(SettingInvalid, match="ADFML_CONTROL_URL is not valid") as caught:
        _ = ControlDatabase().ledger
    assert "pa55word" not in str(caught.value)
    monkeypatch.delenv("ADFML_CONTROL_URL")
    with pytest.raises(SettingMissing, match="ADFML_CONTROL_URL is not set"):
        _ = ControlDatabase().ledger
