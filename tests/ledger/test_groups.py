"""The shards of a partition are one group: taken up whole, ended one by one, completed by what follows from them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from resources.control import utc_now
from resources.errors import JobOutstanding
from resources.ledger import Ledger
from resources.ledger_rows import list_tips
from resources.remote_jobs import RemoteRun, RemoteStatus
from tests.ledger.conftest import open_shards

RESULT = ("ml/text", "2026-03-10")


def test_shards_are_rows_of_one_group(ledger: Ledger) -> None:
    jobs = open_shards(ledger, 1, 2, 3)
    assert [job.attempt for job in jobs] == [1, 2, 3]
    assert {job.group_key for job in jobs} == {"ml/text_job|2026-03-10|1"}
    assert len({job.token for job in jobs}) == 3
    assert ledger.list_awaited() == {RESULT}
    assert ledger.list_group(*RESULT) == jobs


def test_a_partition_without_requests_has_no_jobs(ledger: Ledger) -> None:
    assert open_shards(ledger) == []
    assert ledger.list_group(*RESULT) == []


def test_equal_requests_under_way_are_taken_up_whole(ledger: Ledger) -> None:
    first = open_shards(ledger, 1, 2)
    ledger.record_submitted(first[0].submission_key, RemoteRun("b1", None))
    again = open_shards(ledger, 2, 1, run_id="other")
    assert [job.submission_key for job in again] == [job.submission_key for job in first]
    assert {job.run_id for job in again} == {"other"}
    with pytest.raises(JobOutstanding, match=r"ml/text_job\|2026-03-10\|1 is still under way"):
        open_shards(ledger, 1, 3)


def test_an_identity_stands_for_the_requests(ledger: Ledger) -> None:
    first = open_shards(ledger, 1, 2, identity="input A")
    assert ledger.take_up("ml/text_job", "2026-03-10", "input A", "other") != []
    assert [job.submission_key for job in open_shards(ledger, 9, identity="input A")] == [
        job.submission_key for job in first
    ]
    with pytest.raises(JobOutstanding):
        ledger.take_up("ml/text_job", "2026-03-10", "input B", "other")


def test_what_a_shard_left_undone_follows_in_the_same_transaction(ledger: Ledger) -> None:
    first, second = open_shards(ledger, 1, 2)
    left = RemoteStatus("succeeded", "expired", next_requests=[{"shard": "rest of 1"}], facts={"answered": 7})
    (ended,) = ledger.record_statuses([(first.submission_key, left)])
    assert (ended.state, ended.facts["answered"]) == ("succeeded", 7)
    group = ledger.list_group(*RESULT)
    assert [job.request["shard"] for job in group] == [1, 2, "rest of 1"]
    assert (group[2].parent_key, group[2].group_key) == (first.submission_key, first.group_key)
    assert ledger.list_awaited() == {RESULT}
    for job in (second, group[2]):
        ledger.record_ended(job.submission_key, RemoteStatus("succeeded", "completed"))
    assert ledger.list_awaited() == set()
    assert len(list_tips(ledger.list_group(*RESULT))) == 3
    # Not collected yet: the same again is not paid again.
    assert len(open_shards(ledger, 1, 2, run_id="other")) == 3
    ledger.mark_collected(second.submission_key, "run")
    assert [job.attempt for job in open_shards(ledger, 1, 2)] == [4, 5]


def test_recording_an_end_twice_makes_one_successor(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1)
    left = RemoteStatus("succeeded", "completed", next_requests=[{"shard": "rest"}])
    assert len(ledger.record_statuses([(job.submission_key, left)])) == 1
    assert ledger.record_statuses([(job.submission_key, left)]) == []
    assert len(ledger.list_group(*RESULT)) == 2


def test_waiting_for_room_is_no_try_and_moves_no_deadline(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1)
    full = RemoteStatus("failed", "failed/token_limit_exceeded", requeue_after=timedelta(minutes=2))
    ledger.record_ended(job.submission_key, full)
    old, new = ledger.list_group(*RESULT)
    assert (old.state, new.state, new.try_number, new.refusals) == ("failed", "submitting", 1, 1)
    assert new.deadline_at == old.deadline_at
    assert new.submitter_lease_until > utc_now() + timedelta(minutes=1)
    assert list_tips([old, new]) == [new]


def test_a_transient_failure_is_tried_up_to_the_limit_within_its_group(ledger: Ledger) -> None:
    first, _ = open_shards(ledger, 1, 2)
    broken = RemoteStatus("failed", "failed/internal", transient=True)
    ledger.record_ended(first.submission_key, broken)
    retry = ledger.list_group(*RESULT)[-1]
    assert (retry.try_number, retry.request["shard"], retry.sender) == (2, 1, None)
    ledger.record_ended(retry.submission_key, broken)
    assert len(ledger.list_group(*RESULT)) == 3
    assert [job.state for job in list_tips(ledger.list_group(*RESULT))] == ["submitting", "failed"]
    with pytest.raises(JobOutstanding):
        open_shards(ledger, 1, 2)


def test_a_cancelled_job_is_followed_by_nothing(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1)
    ledger.request_cancel(job.submission_key, "because")
    left = RemoteStatus("cancelled", "cancelled", next_requests=[{"shard": "rest"}], requeue_after=timedelta(0))
    ledger.record_ended(job.submission_key, left)
    assert len(ledger.list_group(*RESULT)) == 1


def test_a_run_that_came_too_early_waits_for_what_follows(ledger: Ledger) -> None:
    (job,) = open_shards(ledger, 1)
    ledger.request_collect(job.submission_key, ["ml/text"], "early")
    ledger.record_ended(job.submission_key, RemoteStatus("succeeded", "expired", next_requests=[{"shard": "rest"}]))
    old, new = ledger.list_group(*RESULT)
    assert (old.early_selection, new.early_selection, new.early_run_id) == (None, ("ml/text",), "early")
