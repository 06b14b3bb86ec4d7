"""A batch that has ended and cannot be settled now: it is paid for, so it waits, and is settled when it can be."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from resources.control import utc_now
from resources.openai_batch import OpenAIBatch
from resources.openai_settling import answers_path
from resources.remote_jobs import RemoteJob
from resources.submission import submit_job
from sensors.polling import CANCEL_GRACE, advance_jobs
from tests.openai_batch.conftest import Bench, log, make_feedback

ROWS = 20
PATIENCE = 5
HOUR = timedelta(hours=1)


def wait_until_ended(bench: Bench, job: RemoteJob) -> str:
    """The status that the service gives a batch in the end; nobody here has looked at it yet."""
    stop_at = time.monotonic() + 20
    while (status := bench.service.client.batches.retrieve(str(job.remote_id)).status) not in ("completed", "expired"):
        assert time.monotonic() < stop_at, status
        time.sleep(0.02)
    return status


def tick_late(bench: Bench, ahead: timedelta) -> None:
    advance_jobs(bench.ledger, bench.service, now=utc_now() + ahead, budget_seconds=30, log=log)


def place(bench: Bench, path: str) -> Path:
    return Path(bench.lake.uri(path))


class Refusal:
    """A path that the lake cannot write to: a file stands where a folder has to be, or a folder where the file has."""

    def __init__(self, path: Path, *, folder: bool) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if folder:
            (path / "in the way").mkdir(parents=True)
        else:
            path.write_text("in the way")

    def end(self) -> None:
        if self.path.is_dir():
            (self.path / "in the way").rmdir()
            self.path.rmdir()
        else:
            self.path.unlink()


def refuse_answers(bench: Bench, job: RemoteJob) -> Refusal:
    return Refusal(place(bench, answers_path(job)).parent, folder=False)


def refuse_next_file(bench: Bench, job: RemoteJob) -> Refusal:
    return Refusal(place(bench, f"{job.request['requests']}/after-{job.token[:24]}.jsonl"), folder=True)


@pytest.mark.parametrize("refuse", [refuse_answers, refuse_next_file], ids=["the answers", "the next file"])
def test_a_lake_that_refuses_keeps_the_job_until_it_takes_the_answers(
    bench: Bench, caplog: pytest.LogCaptureFixture, refuse: object
) -> None:
    bench.behave("row_errors", 0.3)
    (job,) = bench.ask(make_feedback(ROWS))
    assert wait_until_ended(bench, job) == "completed"
    refusal = refuse(bench, job)  # type: ignore[operator]  # one of the two above
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            bench.tick()
    (waiting,) = bench.group()
    assert (waiting.state, waiting.remote_state) == ("running", "completed")
    assert "The lake at" in caplog.text
    batch = bench.service.client.batches.retrieve(str(job.remote_id))
    assert bench.service.client.files.retrieve(str(batch.output_file_id)).id == batch.output_file_id
    refusal.end()
    first, following = bench.finish()
    assert (first.state, following.state) == ("succeeded", "succeeded")
    assert following.request["rows"] == ROWS - first.facts["ok"] > 0
    bench.require_whole(bench.collect(), ROWS)
    assert len(bench.batches()) == 2


def test_room_that_one_batch_leaves_is_used_although_another_cannot_be_settled(bench: Bench) -> None:
    _, requests = bench.build(make_feedback(ROWS))
    done, stuck, waiting = bench.open(requests * 3)
    submit_job(bench.ledger, bench.service, done)
    submit_job(bench.ledger, bench.service, stuck)
    bench.behave("quota")
    submit_job(bench.ledger, bench.service, waiting)
    for job in (done, stuck):
        wait_until_ended(bench, bench.ledger.get(job.submission_key))
    refusal = Refusal(place(bench, answers_path(stuck)), folder=True)
    bench.tick()
    assert [job.state for job in bench.group()] == ["succeeded", "running", "submitting"]
    bench.tick()
    assert bench.ledger.get(waiting.submission_key).remote_id is not None
    refusal.end()
    assert [job.state for job in bench.finish()] == ["succeeded"] * 3


def test_a_lake_that_refuses_past_the_deadline_does_not_fail_what_was_answered(bench: Bench) -> None:
    (job,) = bench.ask(make_feedback(ROWS))
    wait_until_ended(bench, job)
    refusal = refuse_answers(bench, job)
    for ahead in (HOUR + timedelta(minutes=1), HOUR + 2 * CANCEL_GRACE, timedelta(days=3)):
        tick_late(bench, ahead)
        (waiting,) = bench.group()
        assert waiting.state == "running", waiting.message
        assert "deadline" in str(waiting.cancel_reason)
    refusal.end()
    tick_late(bench, timedelta(days=3))
    (settled,) = bench.group()
    assert (settled.state, settled.facts["ok"]) == ("succeeded", ROWS)
    bench.require_whole(bench.collect(), ROWS)
    assert len(bench.batches()) == 1


def test_past_the_deadline_nothing_is_asked_again_and_what_came_counts(bench: Bench) -> None:
    bench.behave("expire", 0.5)
    (job,) = bench.ask(make_feedback(ROWS))
    assert wait_until_ended(bench, job) == "expired"
    refusal = refuse_answers(bench, job)
    tick_late(bench, HOUR + 2 * CANCEL_GRACE)
    refusal.end()
    tick_late(bench, HOUR + 2 * CANCEL_GRACE)
    (settled,) = bench.group()
    assert settled.state == "succeeded"
    assert 0 < settled.facts["ok"] < ROWS
    result = bench.collect()
    bench.require_whole(result, ROWS)
    assert result.rejects == ROWS - settled.facts["ok"]
    assert len(bench.batches()) == 1


def test_answers_that_were_deleted_at_the_service_are_taken_from_the_lake(bench: Bench) -> None:
    """As when a tick died between writing the answers and the ledger, and somebody cleaned the resource up."""
    bench.behave("row_errors", 0.3)
    (job,) = bench.ask(make_feedback(ROWS))
    wait_until_ended(bench, job)
    refusal = refuse_next_file(bench, job)
    bench.tick()
    assert bench.lake.list_files(job.request["answers"]) == [answers_path(job)]
    delete_answers(bench, job)
    refusal.end()
    first, _ = bench.finish()
    assert first.state == "succeeded"
    bench.require_whole(bench.collect(), ROWS)
    assert len(bench.batches()) == 2


def test_answers_that_another_tick_settled_and_deleted_meanwhile_are_taken_from_the_lake(bench: Bench) -> None:
    bench.behave("row_errors", 0.3)
    (job,) = bench.ask(make_feedback(ROWS))
    wait_until_ended(bench, job)
    bench.order(kind="delay", method="GET", path="/openai/v1/files/*/content", seconds=1.5)
    slow = OpenAIBatch(lake=bench.lake, request_timeout_seconds=10)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(lambda: list(slow.poll([bench.ledger.get(job.submission_key)], time.monotonic() + 30)))
        wait_for_download(bench)
        bench.tick()
        first, following = bench.group()
        files = {path: bench.lake.read_bytes(path) for path in bench.lake.list_files(job.request["requests"])}
        ((_, status),) = late.result()
    assert (first.state, status.state) == ("succeeded", "succeeded")
    assert [dict(request) for request in status.next_requests] == [dict(following.request)]
    assert {path: bench.lake.read_bytes(path) for path in files} == files
    bench.ledger.record_statuses([(job.submission_key, status)])
    assert len(bench.group()) == 2
    bench.finish()
    bench.require_whole(bench.collect(), ROWS)
    assert len(bench.batches()) == 2


def wait_for_download(bench: Bench) -> None:
    stop_at = time.monotonic() + 20
    while not any(path.endswith("/content") for path in httpx.get(f"{bench.cloud.url}/_local/requests").json()):
        assert time.monotonic() < stop_at
        time.sleep(0.02)


def delete_answers(bench: Bench, job: RemoteJob, *names: str) -> None:
    batch = bench.service.client.batches.retrieve(str(job.remote_id))
    for name in names or ("output_file_id", "error_file_id"):
        if file_id := getattr(batch, name):
            bench.service.client.files.delete(file_id)


def test_answers_that_are_nowhere_any_more_fail_the_job_with_what_is_lost(bench: Bench) -> None:
    (job,) = bench.ask(make_feedback(ROWS))
    wait_until_ended(bench, job)
    batch = bench.service.client.batches.retrieve(str(job.remote_id))
    delete_answers(bench, job)
    bench.tick()
    (lost,) = bench.group()
    assert (lost.state, lost.remote_state) == ("failed", "completed")
    for said in (str(job.remote_id), str(batch.output_file_id), f"{ROWS} rows", "asked, and paid for, again"):
        assert said in (lost.message or "")
    assert bench.lake.list_files(job.request["answers"]) == []
    # Nothing is asked again before somebody wants it; then it is.
    assert len(bench.batches()) == 1
    bench.ask(make_feedback(ROWS))
    assert [again.state for again in bench.finish()] == ["succeeded"]
    bench.require_whole(bench.collect(), ROWS)
    assert len(bench.batches()) == 2


def test_errors_that_were_deleted_at_the_service_lose_no_answer(bench: Bench) -> None:
    """The answers are there, only the reasons of the other rows are not: those are asked again."""
    bench.behave("row_errors", 0.3)
    (job,) = bench.ask(make_feedback(ROWS))
    wait_until_ended(bench, job)
    batch = bench.service.client.batches.retrieve(str(job.remote_id))
    assert batch.error_file_id
    assert batch.request_counts
    delete_answers(bench, job, "error_file_id")
    first, following = bench.finish()
    assert (first.state, first.facts["ok"]) == ("succeeded", batch.request_counts.completed)
    assert following.request["rows"] == batch.request_counts.failed
    result = bench.collect()
    bench.require_whole(result, ROWS)
    assert result.rejects == 0
    assert len(bench.batches()) == 2


def cut_output(bench: Bench, job: RemoteJob) -> tuple[Path, bytes]:
    """Have the service send a file of answers without its end, as one that is whole."""
    batch = bench.service.client.batches.retrieve(str(job.remote_id))
    (path,) = bench.cloud.state.rglob(str(batch.output_file_id))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path, whole


def test_a_file_that_comes_incomplete_is_read_again(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    (job,) = bench.ask(make_feedback(ROWS))
    wait_until_ended(bench, job)
    path, whole = cut_output(bench, job)
    with caplog.at_level(logging.WARNING):
        bench.tick()
    (waiting,) = bench.group()
    assert (waiting.state, waiting.facts["incomplete_reads"]) == ("running", 1)
    assert "it is read again" in caplog.text
    assert bench.lake.list_files(job.request["answers"]) == []
    path.write_bytes(whole)
    (settled,) = bench.finish()
    assert (settled.state, settled.facts["ok"]) == ("succeeded", ROWS)
    bench.require_whole(bench.collect(), ROWS)
    assert len(bench.batches()) == 1


def test_a_file_that_stays_incomplete_is_taken_for_what_it_is(bench: Bench) -> None:
    (job,) = bench.ask(make_feedback(ROWS))
    wait_until_ended(bench, job)
    cut_output(bench, job)
    for reads in range(1, PATIENCE + 1):
        bench.tick()
        (waiting,) = bench.group()
        assert (waiting.state, waiting.facts["incomplete_reads"]) == ("running", reads)
    first, following = bench.finish()
    assert (first.state, following.state) == ("succeeded", "succeeded")
    assert following.request["rows"] == first.facts["missing"] > 0
    assert first.facts["ok"] + first.facts["missing"] == ROWS
    bench.require_whole(bench.collect(), ROWS)
    assert len(bench.batches()) == 2
