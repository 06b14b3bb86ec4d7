"""Interleavings by which a job would be paid twice, lost, or keep the others from being looked at."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from adfml_assets.remote_assets import _leave_queued, submit_remote_jobs
from resources.control import deployment_id, utc_now
from resources.control_tables import remote_jobs
from resources.databricks import Databricks
from resources.errors import JobOutstanding, OutcomeUnknown, QuotaExceeded, Refused, Unreachable
from resources.ledger import Ledger
from resources.openai_answers import AnswerReader
from resources.remote_jobs import RemoteJob, RemoteRun, RemoteStatus
from resources.submission import cancel_job, submit_job
from sensors.polling import advance_jobs
from sensors.waiting import cancel_abandoned
from tests.ledger.conftest import open_shards
from tests.ledger.test_sending import let_lease_end

log = logging.getLogger("test")


@dataclass
class Service:
    """A service that takes the same job twice, and does what it is told to."""

    name: str = "openai_batch"
    resends_safely: bool = False
    submits: list[Any] = field(default_factory=list)
    finds: list[Any] = field(default_factory=list)
    remote: dict[str, list[str]] = field(default_factory=dict)
    statuses: dict[str, RemoteStatus] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def prepare(self, job: RemoteJob) -> Mapping[str, Any]:
        return {}

    def submit(self, job: RemoteJob) -> RemoteRun:
        time.sleep(self.seconds)
        word = self.submits.pop(0) if self.submits else None
        if isinstance(word, (QuotaExceeded, Refused, Unreachable)):
            raise word
        made = self.remote.setdefault(job.remote_key, [])
        made.append(f"{job.attempt}-{len(made) + 1}")
        if word is not None:
            raise OutcomeUnknown(job.submission_key, "S", "lost answer")
        return RemoteRun(made[-1], None)

    def find(self, job: RemoteJob) -> RemoteRun | None:
        word = self.finds.pop(0) if self.finds else None
        if word is not None:
            raise word
        made = self.remote.get(job.remote_key)
        return RemoteRun(made[0], None) if made else None

    def cancel(self, job: RemoteJob) -> None:
        time.sleep(self.seconds)
        self.cancelled.append(str(job.remote_id))

    def poll(self, jobs: Sequence[RemoteJob], stop_at: float) -> Iterator[tuple[RemoteJob, RemoteStatus]]:
        for job in jobs:
            if time.monotonic() < stop_at:
                yield job, self.statuses.get(str(job.remote_id), RemoteStatus("running", "in_progress"))

    def made(self) -> list[int]:
        return [len(made) for made in self.remote.values()]


BUSY = QuotaExceeded("S", "a", "429")
DENIED = Refused("S", "a", "401", "the key")


def tick(ledger: Ledger, service: Any, seconds: float = 30, now: Any = None) -> Any:
    return advance_jobs(ledger, service, now=now or utc_now(), budget_seconds=seconds, log=log)


def lose_answer(ledger: Ledger, service: Service) -> RemoteJob:
    (job,) = open_shards(ledger, 1)
    service.submits = ["lost"]
    with pytest.raises(OutcomeUnknown):
        submit_job(ledger, service, job)
    let_lease_end(ledger, job.submission_key)
    return job


def test_a_busy_look_for_a_sent_job_does_not_forget_that_it_was_sent(ledger: Ledger) -> None:
    service = Service(finds=[BUSY])
    job = lose_answer(ledger, service)
    tick(ledger, service)  # the list answers 429
    let_lease_end(ledger, job.submission_key)
    tick(ledger, service)
    assert service.made() == [1]


def test_cancelled_after_a_busy_look_is_still_looked_for(ledger: Ledger) -> None:
    service = Service(finds=[BUSY])
    job = lose_answer(ledger, service)
    tick(ledger, service)
    let_lease_end(ledger, job.submission_key)
    cancel_job(ledger, service, job, "because")
    assert service.cancelled == ["1-1"]


def test_a_refused_look_for_a_sent_job_does_not_end_it(ledger: Ledger) -> None:
    service = Service(finds=[DENIED])
    job = lose_answer(ledger, service)
    tick(ledger, service)
    assert ledger.get(job.submission_key).state == "submitting"


def test_a_refused_second_send_does_not_end_a_job_that_may_be_there(ledger: Ledger) -> None:
    service = Service(resends_safely=True)
    job = lose_answer(ledger, service)
    service.submits = [DENIED]
    tick(ledger, service)
    assert ledger.get(job.submission_key).state == "submitting"


def test_leaving_shards_queued_does_not_forget_what_the_sensor_sent_meanwhile(ledger: Ledger) -> None:
    jobs = open_shards(ledger, 1, 2, 3)
    service = Service(submits=["lost"])
    let_lease_end(ledger, jobs[2].submission_key)
    tick(ledger, service)  # while the run still uploads shard 1: the answer about shard 3 is lost
    list(_leave_queued(ledger, jobs[1:], "no room", "run"))  # shard 1 was answered 429; the run's rows are old
    let_lease_end(ledger, jobs[2].submission_key)
    tick(ledger, service)
    assert service.made() == [1]


def test_no_new_group_while_a_part_of_a_half_cancelled_one_runs(ledger: Ledger) -> None:
    jobs = open_shards(ledger, 1, 2)
    service = Service()
    for job in jobs:
        submit_job(ledger, service, job)
    # The run that cancels its jobs is killed after the first of them.
    cancel_job(ledger, service, jobs[0], "because")
    with pytest.raises(JobOutstanding):
        open_shards(ledger, 1, 2, run_id="other")


def test_a_result_that_is_there_is_taken_though_nobody_looked_until_long_after_its_deadline(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1)
    service = Service()
    submitted = submit_job(ledger, service, job)
    service.statuses[str(submitted.remote_id)] = RemoteStatus("succeeded", "completed")
    tick(ledger, service, now=utc_now() + timedelta(hours=10))  # the first tick after a weekend without a daemon
    assert ledger.get(job.submission_key).state == "succeeded"


def test_a_job_that_waits_for_room_is_not_woken_by_its_own_failure(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1)
    service = Service()
    submitted = submit_job(ledger, service, job)
    full = RemoteStatus("failed", "failed/token_limit_exceeded", requeue_after=timedelta(minutes=10))
    service.statuses[str(submitted.remote_id)] = full
    tick(ledger, service)
    assert ledger.list_group("ml/text", "2026-03-10")[-1].sends == 0


def test_cancelling_many_stays_within_the_budget(ledger: Ledger) -> None:
    service = Service()
    for job in open_shards(ledger, *range(12)):
        submit_job(ledger, service, job)
        ledger.request_cancel(job.submission_key, "because")
    service.seconds = 0.2
    assert tick(ledger, service, seconds=0.5).polled > 0


def test_slow_submissions_leave_time_for_polling(ledger: Ledger) -> None:
    jobs = open_shards(ledger, *range(8))
    service = Service()
    submitted = submit_job(ledger, service, jobs[0])
    service.statuses[str(submitted.remote_id)] = RemoteStatus("succeeded", "completed")
    for job in jobs[1:]:
        let_lease_end(ledger, job.submission_key)
    service.seconds = 0.3
    service.submits = [Unreachable("S", "a", "timeout", "x")] * 7
    tick(ledger, service, seconds=0.5)
    assert ledger.get(jobs[0].submission_key).state == "succeeded"


def test_submissions_take_turns(ledger: Ledger) -> None:
    jobs = open_shards(ledger, 1, 2, 3, 4)
    service = Service(seconds=0.3)
    for turn in range(3):
        for job in jobs[:2]:  # their minute is over again
            let_lease_end(ledger, job.submission_key)
        if turn == 0:
            for job in reversed(jobs[2:]):
                let_lease_end(ledger, job.submission_key)
            time.sleep(0.01)
            for job in jobs[:2]:
                let_lease_end(ledger, job.submission_key)
        service.submits = [Unreachable("S", "a", "timeout", "x")] * 2
        tick(ledger, service, seconds=0.5)
    assert ledger.get(jobs[3].submission_key).sends > 0


@pytest.mark.parametrize(
    "status",
    [
        RemoteStatus("failed", "failed/" + "x" * 120, "no"),
        RemoteStatus("failed", "FAILED", "log: \x00"),
        RemoteStatus("failed", "FAILED", "half a sign \ud83d"),
    ],
    ids=["long", "nul", "surrogate"],
)
def test_what_one_job_says_keeps_no_other_from_being_recorded(ledger: Ledger, status: RemoteStatus) -> None:
    first, second = open_shards(ledger, 1, 2)
    service = Service()
    one, two = (submit_job(ledger, service, job) for job in (first, second))
    service.statuses = {str(one.remote_id): status, str(two.remote_id): RemoteStatus("succeeded", "completed")}
    tick(ledger, service)
    assert ledger.get(second.submission_key).state == "succeeded"


def test_a_cancel_while_a_batch_is_settled_does_not_leave_a_success_without_its_rest(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1)
    submit_job(ledger, Service(), job)
    ledger.request_cancel(job.submission_key, "because")  # after the tick read its jobs
    ledger.record_statuses([(job.submission_key, RemoteStatus("succeeded", "cancelled", next_requests=[{"shard": 2}]))])
    assert ledger.list_group("ml/text", "2026-03-10")[-1].state == "cancelled"


def test_waiting_for_room_does_not_shorten_what_follows(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1)
    with ledger._engine.begin() as connection:
        connection.execute(
            remote_jobs.update().values(
                created_at=utc_now() - timedelta(minutes=50), deadline_at=utc_now() + timedelta(minutes=10)
            )
        )
    ledger.record_ended(job.submission_key, RemoteStatus("failed", "f", requeue_after=timedelta(minutes=1)))
    requeued = ledger.list_group("ml/text", "2026-03-10")[-1]
    ledger.record_ended(requeued.submission_key, RemoteStatus("succeeded", "c", next_requests=[{"shard": "rest"}]))
    rest = ledger.list_group("ml/text", "2026-03-10")[-1]
    assert rest.deadline_at - utc_now() > timedelta(minutes=50)


def test_a_retry_of_a_job_of_an_older_version_is_taken_up(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1)
    with ledger._engine.begin() as connection:
        connection.execute(remote_jobs.update().values(group_key=None))
    ledger.record_ended(job.submission_key, RemoteStatus("failed", "f", transient=True))
    assert open_shards(ledger, 1, run_id="other")[-1].attempt == 2


def test_cancel_of_a_safely_resent_job_waits_while_a_request_may_be_on_its_way(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1)
    service = Service(resends_safely=True)
    ledger.record_sending(job.submission_key, "run")
    assert ledger.renew_sending(job.submission_key, "run")  # killed right after its POST left
    cancel_job(ledger, service, job, "because")
    service.submit(ledger.get(job.submission_key))  # the POST arrives
    let_lease_end(ledger, job.submission_key)
    tick(ledger, service)
    assert service.cancelled == ["1-1"]


def test_the_run_that_lost_an_answer_does_not_send_again_at_once(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1)
    assert ledger.record_sending(job.submission_key, "run", exclusive=True)
    assert ledger.record_sending(job.submission_key, "run", exclusive=True) is None


def test_an_odd_error_about_one_job_keeps_no_other_from_being_submitted(ledger: Ledger) -> None:
    first, second = open_shards(ledger, 1, 2)
    service = Service()
    real = service.submit

    def submit(job: RemoteJob) -> RemoteRun:
        if job.submission_key == first.submission_key:
            raise KeyError("expiry_days")
        return real(job)

    service.submit = submit  # type: ignore[method-assign]
    for job in (first, second):
        let_lease_end(ledger, job.submission_key)
    with suppress(KeyError):
        tick(ledger, service)
    assert ledger.get(second.submission_key).remote_id is not None


def test_a_job_that_ended_while_it_was_sent_is_cancelled_until_it_has_stopped(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1)
    service = Service()
    real, really_cancel = service.submit, service.cancel

    def submit(sent: RemoteJob) -> RemoteRun:
        ledger.record_ended(sent.submission_key, RemoteStatus("cancelled", "NOT_SUBMITTED", "x"))
        return real(sent)

    def cancel(sent: RemoteJob) -> None:
        raise Unreachable("S", "a", "down", "x")

    service.submit, service.cancel = submit, cancel  # type: ignore[method-assign, assignment]
    with pytest.raises(Unreachable):
        submit_job(ledger, service, job)
    service.cancel = really_cancel  # type: ignore[method-assign]
    tick(ledger, service)
    assert service.cancelled == ["1-1"]


def run_job_asset(ledger: Ledger, service: Service, status: dg.DagsterRunStatus, shards: int = 3) -> None:
    context: Any = SimpleNamespace(
        asset_key=dg.AssetKey(["ml", "text_job"]),
        partition_key="2026-03-10",
        run_tags={},
        run_id="run",
        log=log,
        instance=SimpleNamespace(get_run_by_id=lambda _: SimpleNamespace(status=status)),
    )
    submit_remote_jobs(
        context,
        ledger,
        service,
        collecting_asset=dg.AssetKey(["ml", "text"]),
        build_requests=lambda: [{"shard": number} for number in range(shards)],
        deadline_hours=1,
        max_tries=2,
    )


def test_a_cancelled_run_leaves_the_wish_for_every_shard_though_the_service_is_away(ledger: Ledger) -> None:
    service = Service()

    def cancel(job: RemoteJob) -> None:
        raise Unreachable("S", "a", "down", "x")

    service.cancel = cancel  # type: ignore[method-assign]
    with pytest.raises(dg.DagsterExecutionInterruptedError):
        run_job_asset(ledger, service, dg.DagsterRunStatus.CANCELING)
    assert all(job.cancel_reason for job in ledger.list_group("ml/text", "2026-03-10"))


def test_shards_of_a_run_that_reached_nobody_are_sent_all_or_none(ledger: Ledger) -> None:
    service = Service(submits=[Unreachable("S", "a", "refused", "x")])
    with pytest.raises(Unreachable):
        run_job_asset(ledger, service, dg.DagsterRunStatus.STARTED)
    for job in ledger.list_outstanding():
        let_lease_end(ledger, job.submission_key)
    tick(ledger, service)
    assert service.made() in ([], [1, 1, 1])


def test_processes_that_start_at_once_agree_on_the_deployment(ledger: Ledger) -> None:
    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(lambda _: deployment_id(ledger._engine), range(6)))) == 1


def test_one_run_that_may_not_be_read_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs: Any = [SimpleNamespace(remote_id=str(n), request={"job": str(n)}) for n in range(9)]

    def get_status(_self: Databricks, job: Any, _stop_at: float) -> RemoteStatus:
        if job.remote_id == "0":
            raise DENIED
        time.sleep(0.05)
        return RemoteStatus("succeeded", "SUCCESS")

    monkeypatch.setattr(Databricks, "_get_status", get_status)
    seen = []
    with suppress(Refused):
        for job, _ in Databricks().poll(jobs, time.monotonic() + 10):
            seen.append(job.remote_id)
    assert len(seen) == 8


def test_jobs_of_a_cancelled_run_whose_process_was_killed_are_not_sent(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1, run_id="gone")
    let_lease_end(ledger, job.submission_key)
    service = Service()
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_run(dg.DagsterRun(job_name="j", run_id="gone", status=dg.DagsterRunStatus.CANCELED))
        cancel_abandoned(instance, ledger, service, log)
    tick(ledger, service)
    assert service.made() == []


@pytest.mark.parametrize(
    "body", ['{"choices":[{"message":"x"}]}', '{"choices":{"a":1}}', '{"usage":[1]}', '{"usage":{"prompt_tokens":"n"}}']
)
def test_an_answer_of_an_odd_form_is_a_rejection(body: str) -> None:
    line = f'{{"custom_id":"a","response":{{"status_code":200,"body":{body}}}}}'
    assert AnswerReader({"type": "object"}).read(line.encode()).outcome == "rejected"
