"""Signing in, what wrong settings get, and how few requests it takes to poll many batches."""

from __future__ import annotations

import time
from datetime import timedelta

import httpx
import pytest

from resources.control import utc_now
from resources.errors import Refused, SettingMissing, Unreachable
from resources.openai_batch import OpenAIBatch
from resources.submission import submit_job
from tests.openai_batch.conftest import Bench, make_feedback


def read_key(bench: Bench) -> str:
    return str(httpx.get(f"{bench.cloud.url}/_local/openai/key").json()["key"])


def test_a_key_signs_in_where_one_is_set(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_OPENAI_KEY", read_key(bench))
    monkeypatch.delenv("IDENTITY_ENDPOINT")
    bench.ask(make_feedback(2))
    assert [job.state for job in bench.finish()] == ["succeeded"]


def test_a_wrong_key_is_refused_in_the_services_words_with_its_setting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADFML_OPENAI_KEY", "0123planted")
    _, requests = bench.build(make_feedback(2))
    (job,) = bench.open(requests)
    with pytest.raises(Refused, match=r"(?s)invalid subscription key.*ADFML_OPENAI_KEY") as error:
        submit_job(bench.ledger, bench.service, job)
    assert "0123planted" not in str(error.value)
    ended = bench.ledger.get(job.submission_key)
    assert (ended.state, ended.remote_state) == ("failed", "NOT_SUBMITTED")
    assert "0123planted" not in str(ended)


@pytest.mark.parametrize(
    ("endpoint", "error", "said"),
    [
        ("http://127.0.0.1:9/openai/v1/", Unreachable, "ADFML_OPENAI_ENDPOINT"),
        ("http://nowhere.invalid/openai/v1/", Unreachable, "ADFML_OPENAI_ENDPOINT"),
        ("CLOUD/nothing/here/", Refused, "ADFML_OPENAI_ENDPOINT"),
        ("nonsense", Unreachable, "ADFML_OPENAI_ENDPOINT"),
    ],
)
def test_a_wrong_address_is_told_with_its_setting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, endpoint: str, error: type[Exception], said: str
) -> None:
    monkeypatch.setenv("ADFML_OPENAI_ENDPOINT", endpoint.replace("CLOUD", bench.cloud.url))
    _, requests = bench.build(make_feedback(2))
    (job,) = bench.open(requests)
    with pytest.raises(error, match=said):
        submit_job(bench.ledger, bench.service, job)


def test_a_missing_address_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADFML_OPENAI_ENDPOINT")
    with pytest.raises(SettingMissing, match="ADFML_OPENAI_ENDPOINT"):
        OpenAIBatch(lake=bench.lake).client  # noqa: B018


def test_a_wrong_address_later_on_gives_up_no_batch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is a 404 there, which must not mean that the service forgot a batch that is paid for."""
    (job,) = bench.ask(make_feedback(2))
    right, wrong = bench.service, f"{bench.cloud.url}/nothing/here/"
    with monkeypatch.context() as patch:
        patch.setenv("ADFML_OPENAI_ENDPOINT", wrong)
        bench.service = OpenAIBatch(lake=bench.lake)
        bench.tick()
    assert bench.ledger.get(job.submission_key).state == "running"
    bench.service = right
    assert [job.state for job in bench.finish()] == ["succeeded"]


def test_a_batch_the_service_does_not_know_has_failed(bench: Bench) -> None:
    from dataclasses import replace

    (job,) = bench.ask(make_feedback(2))
    gone = replace(job, remote_id="batch_gone")
    ((_, status),) = bench.service.poll([gone], time.monotonic() + 10)
    assert status.state == "running", "it was made a moment ago, and may not be visible everywhere yet"
    old = replace(gone, submitted_at=utc_now() - timedelta(minutes=11))
    ((_, status),) = bench.service.poll([old], time.monotonic() + 10)
    assert (status.state, status.remote_state, status.transient) == ("failed", "NOT_FOUND", False)


def test_many_batches_are_polled_by_few_requests(bench: Bench) -> None:
    bench.behave("hold", times=None)
    _, requests = bench.build(make_feedback(1))
    jobs = [submit_job(bench.ledger, bench.service, job) for job in bench.open(requests * 30)]
    httpx.delete(f"{bench.cloud.url}/_local/requests").raise_for_status()
    found = {job.remote_id: status for job, status in bench.service.poll(jobs, time.monotonic() + 20)}
    assert set(found) == {job.remote_id for job in jobs}
    assert {status.state for status in found.values()} == {"running"}
    counts = httpx.get(f"{bench.cloud.url}/_local/requests").json()
    assert sum(count for call, count in counts.items() if "/openai/" in call and "_local" not in call) == 1


def test_what_there_is_no_time_for_is_left_for_the_next_look(bench: Bench) -> None:
    _, requests = bench.build(make_feedback(2))
    jobs = [submit_job(bench.ledger, bench.service, job) for job in bench.open(requests * 3)]
    while any(batch.status != "completed" for batch in bench.batches()):
        time.sleep(0.02)
    first = list(bench.service.poll(jobs, time.monotonic() - 1))
    assert len(first) == 1, "one is settled however little time there is"
    assert len(list(bench.service.poll(jobs, time.monotonic() + 20))) == 3
