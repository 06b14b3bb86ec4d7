"""Who may call a service for a job: one at a time where calling twice would make, and cost, two jobs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from resources.control import ControlDatabase, utc_now
from resources.control_tables import remote_jobs
from resources.ledger import Ledger
from resources.remote_jobs import RemoteRun, RemoteStatus
from tests.ledger.conftest import open_shards


def let_lease_end(ledger: Ledger, key: str) -> None:
    with ledger._engine.begin() as connection:
        past = utc_now() - timedelta(seconds=1)
        change = remote_jobs.update().where(remote_jobs.c.submission_key == key)
        connection.execute(change.values(submitter_lease_until=past))


def test_only_the_opener_may_send_until_its_lease_ends(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1, run_id="opener")
    assert ledger.record_sending(job.submission_key, "tick", exclusive=True) is None
    held = ledger.record_sending(job.submission_key, "opener", exclusive=True)
    assert held is not None
    assert (held.sends, held.sender) == (1, "opener")
    let_lease_end(ledger, job.submission_key)
    taken = ledger.record_sending(job.submission_key, "tick", exclusive=True)
    assert taken is not None
    assert taken.sends == 2
    # The opener was only slow: it learns that the job is no longer its own before it pays.
    assert not ledger.renew_sending(job.submission_key, "opener")
    assert ledger.renew_sending(job.submission_key, "tick")


def test_of_many_at_once_one_may_send(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1)
    let_lease_end(ledger, job.submission_key)

    def take(number: int) -> Any:
        return ledger.record_sending(job.submission_key, f"tick-{number}", exclusive=True)

    with ThreadPoolExecutor(8) as pool:
        assert len([held for held in pool.map(take, range(8)) if held is not None]) == 1


def test_a_job_to_be_cancelled_is_not_sent(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1, run_id="opener")
    ledger.record_sending(job.submission_key, "opener", exclusive=True)
    ledger.request_cancel(job.submission_key, "because")
    assert not ledger.renew_sending(job.submission_key, "opener")


def test_a_late_answer_does_not_replace_the_one_that_is_there(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1)
    ledger.record_submitted(job.submission_key, RemoteRun("b1", None, facts={"file": "f1"}))
    late = ledger.record_submitted(job.submission_key, RemoteRun("b2", None, facts={"file": "f2"}))
    assert (late.remote_id, late.facts) == ("b1", {"file": "f1"})


def test_a_job_without_room_waits_longer_each_time_and_is_woken_by_an_end(ledger: Ledger) -> None:
    job, other = open_shards(ledger, 1, 2)
    waits = []
    for _ in range(7):
        ledger.record_sending(job.submission_key, "run")
        postponed = ledger.postpone(job.submission_key, "token limit", "run")
        waits.append(round((postponed.submitter_lease_until - utc_now()).total_seconds()))
    assert (postponed.state, postponed.sends, postponed.refusals) == ("submitting", 0, 7)
    assert waits == [30, 60, 120, 240, 480, 900, 900]
    ledger.wake_postponed("openai_batch")
    assert ledger.get(job.submission_key).submitter_lease_until <= utc_now()
    assert ledger.get(other.submission_key).submitter_lease_until > utc_now()


def test_many_running_jobs_are_noted_at_once(ledger: Ledger) -> None:
    jobs = open_shards(ledger, *range(30))
    for job in jobs:
        ledger.record_submitted(job.submission_key, RemoteRun(f"b{job.attempt}", None))
    ledger.record_ended(jobs[0].submission_key, RemoteStatus("succeeded", "completed"))
    ledger.record_statuses([(job.submission_key, RemoteStatus("running", "in_progress")) for job in jobs])
    assert [job.state for job in ledger.list_group("ml/text", "2026-03-10")] == ["succeeded"] + ["running"] * 29
    noted = {job.remote_state for job in ledger.list_outstanding("openai_batch")}
    assert noted == {"in_progress"}


def test_the_ledger_of_an_older_version_gets_its_new_columns(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/older.sqlite"
    monkeypatch.setenv("ADFML_CONTROL_URL", url)
    newer = {"sender", "group_key", "parent_key", "refusals", "facts"}
    columns: list[sa.Column[Any]] = [column._copy() for column in remote_jobs.columns if column.name not in newer]
    older = sa.Table("adfml_remote_jobs", sa.MetaData(), *columns)
    engine = sa.create_engine(url)
    older.create(engine)
    values: dict[str, Any] = {column.name: "x" for column in older.columns if not column.nullable}
    values |= dict.fromkeys(("attempt", "try_number", "max_tries", "sends"), 1)
    values |= {name: utc_now() for name in ("created_at", "submitter_lease_until", "deadline_at")}
    with engine.begin() as connection:
        row = {**values, "state": "running", "request": "{}", "submission_key": "a|p|1"}
        connection.execute(older.insert().values(row))
    (job,) = ControlDatabase().ledger.list_outstanding()
    assert (job.group_key, job.facts, job.refusals) == ("a|p|1", {}, 0)
