"""A cancelled waiting run takes its remote job with it, unless somebody else has asked for the same result since."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from resources.remote_jobs import RemoteJob
from resources.submission import submit_job
from sensors.tags import CANCELLED, REMOTE_JOB_TAG, WAITING
from sensors.waiting import PARTITION_TAG, cancel_abandoned, release_runs
from tests.remote_jobs.conftest import Bench

SUBMITS, COLLECTS = dg.AssetKey(["ml", "m_job"]), dg.AssetKey(["ml", "m"])
# Dagster takes no run into its queue without one.
ORIGIN = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("here"), "all"), "j")
log = logging.getLogger("test")
Status = dg.DagsterRunStatus
Kind = dg.DagsterEventType


@dataclass
class Site:
    """Runs of both assets on a Dagster instance of their own, and the service that has their job."""

    bench: Bench
    instance: dg.DagsterInstance

    def submitting(self) -> tuple[dg.DagsterRun, RemoteJob]:
        """A run of `ml/m_job` that goes on, and the job that it submitted or took up."""
        run = self._create(SUBMITS, Status.STARTED)
        job = self.bench.open("slow", run_id=run.run_id)
        return run, submit_job(self.bench.ledger, self.bench.service, job)

    def submitted(self) -> RemoteJob:
        run, job = self.submitting()
        self.end(run, Kind.RUN_SUCCESS)
        return job

    def waiting(self) -> dg.DagsterRun:
        """A run of `ml/m` in the queue, as the run coordinator puts it there."""
        return self._create(COLLECTS, Status.QUEUED, {REMOTE_JOB_TAG: WAITING})

    def _create(self, key: dg.AssetKey, status: Status, tags: dict[str, str] | None = None) -> dg.DagsterRun:
        tags = {PARTITION_TAG: "1", **(tags or {})}
        values = {"status": status, "tags": tags, "asset_selection": frozenset({key}), "remote_job_origin": ORIGIN}
        return self.instance.add_run(dg.DagsterRun("j", str(uuid.uuid4()), **values))  # type: ignore[arg-type]

    def end(self, run: dg.DagsterRun, kind: Kind) -> None:
        self.instance.report_dagster_event(dg.DagsterEvent(kind.value, run.job_name), run.run_id)

    def cancel(self, run: dg.DagsterRun) -> None:
        self.instance.report_run_canceled(run)
        assert self.read(run).status == Status.CANCELED

    def read(self, run: dg.DagsterRun) -> dg.DagsterRun:
        found = self.instance.get_run_by_id(run.run_id)
        assert found is not None
        return found

    def look(self) -> int:
        """What the sensor does, as often as it does it; returns how many jobs were to be cancelled."""
        count = 0
        for _ in range(2):
            count += cancel_abandoned(self.instance, self.bench.ledger, self.bench.service, log)
            self.bench.tick()
            release_runs(self.instance, self.bench.ledger, log)
        return count

    def require_cancelled(self, job: RemoteJob, by: dg.DagsterRun) -> None:
        assert self.look() == 1
        self.bench.tick_until(lambda: not self.bench.get(job).outstanding)
        ended = self.bench.get(job)
        assert (ended.state, ended.remote_state) == ("cancelled", "TERMINATED/CANCELED/USER_CANCELED")
        assert by.run_id in str(ended.message)

    def require_kept(self, job: RemoteJob) -> None:
        assert self.look() == 0
        kept = self.bench.get(job)
        assert (kept.state, kept.cancel_reason) == ("running", None)
        assert self.bench.count_runs(job) == 1


@pytest.fixture
def site(bench: Bench, tmp_path: Path) -> Iterator[Site]:
    home = tmp_path / "dagster"
    home.mkdir()
    bench.order(kind="hold")
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        yield Site(bench, instance)


def test_a_job_that_nobody_took_up_is_cancelled_with_the_run_that_waited(site: Site) -> None:
    job = site.submitted()
    waiting = site.waiting()
    site.require_kept(job)
    site.cancel(waiting)
    site.require_cancelled(job, waiting)
    site.look()
    assert site.read(waiting).tags[REMOTE_JOB_TAG] == CANCELLED, "it is not looked at again"


def test_a_job_that_a_newer_run_took_up_is_kept_while_and_after_that_run_goes_on(site: Site) -> None:
    job = site.submitted()
    first = site.waiting()
    site.cancel(first)
    newer, taken_up = site.submitting()
    assert taken_up.submission_key == job.submission_key
    site.require_kept(job)
    site.end(newer, Kind.RUN_SUCCESS)
    # The run that collects for the newer one is not in the queue yet: a backfill asks for it when it looks next.
    site.require_kept(job)
    second = site.waiting()
    site.require_kept(job)
    site.cancel(second)
    site.require_cancelled(job, second)


def test_a_job_that_a_newer_run_took_up_between_two_looks_is_kept(site: Site) -> None:
    job = site.submitted()
    waiting = site.waiting()
    site.cancel(waiting)
    site.submitted()
    site.require_kept(job)


@pytest.mark.parametrize("end", [Kind.RUN_FAILURE, Kind.RUN_CANCELED])
def test_a_newer_run_that_came_to_nothing_keeps_no_job(site: Site, end: Kind) -> None:
    job = site.submitted()
    waiting = site.waiting()
    site.cancel(waiting)
    newer, _ = site.submitting()
    site.require_kept(job)
    site.end(newer, end)
    site.require_cancelled(job, waiting)


def test_a_job_that_another_run_waits_for_is_kept_until_that_one_is_cancelled_too(site: Site) -> None:
    job = site.submitted()
    first, second = site.waiting(), site.waiting()
    site.cancel(second)
    site.require_kept(job)
    site.cancel(first)
    site.require_cancelled(job, first)


def test_a_new_attempt_is_not_cancelled_for_a_run_that_waited_for_the_last_one(site: Site) -> None:
    job = site.submitted()
    waiting = site.waiting()
    site.cancel(waiting)
    # The sensor was away: the job ended, and the next one was submitted, before it looked.
    site.bench.service.client.jobs.cancel_run(int(str(job.remote_id)))
    site.bench.tick_until(lambda: not site.bench.get(job).outstanding)
    again = site.submitted()
    assert again.attempt == 2
    site.require_kept(again)
