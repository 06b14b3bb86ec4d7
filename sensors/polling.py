"""One look at every outstanding job of a service: submit what was meant to be, cancel, poll, retry. No Dagster here."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from logging import Logger, LoggerAdapter

from resources.control import utc_now
from resources.errors import ResourceError
from resources.ledger import Ledger
from resources.remote_jobs import RemoteJob, RemoteService, RemoteState, RemoteStatus
from resources.submission import cancel_job, submit_job

_PART = 500
CANCEL_GRACE = timedelta(minutes=15)
"""How long after its deadline a job may take to stop before it counts as failed whatever the service says."""


@dataclass(frozen=True)
class Tick:
    """What one look did.

    Attributes:
        outstanding: jobs before it.
        polled: jobs whose status was read.
        ended: jobs that have ended in it.
        submitted: jobs submitted or found again.
    """

    outstanding: int
    polled: int
    ended: int
    submitted: int

    def describe(self) -> str:
        """The tick in one line."""
        return f"{self.outstanding} outstanding, {self.polled} polled, {self.ended} ended, {self.submitted} submitted"


def advance_jobs(
    ledger: Ledger, service: RemoteService, *, now: datetime, budget_seconds: float, log: Logger | LoggerAdapter
) -> Tick:
    """Bring every outstanding job of a service forward, oldest look first, within a time budget.

    Whatever is not reached is first in the next tick. A service that cannot be reached gives a warning: the ledger
    stays as it is and the next tick tries again.
    """
    started = time.monotonic()
    stop_at = started + budget_seconds
    # Cancelling and submitting never take the time that polling needs.
    cancel_until, submit_until = started + budget_seconds / 4, started + budget_seconds / 2
    sender = f"tick-{uuid.uuid4().hex}"
    jobs = ledger.list_outstanding(service.name)
    submitted = polled = ended = 0
    freed = False
    try:
        if _cancel_overdue(ledger, service, jobs, now, cancel_until, log):
            jobs = ledger.list_outstanding(service.name)
        submitted += _submit_meant(ledger, service, jobs, sender, now, submit_until, log)
        if submitted:
            jobs = ledger.list_outstanding(service.name)
        running = [job for job in jobs if job.remote_id is not None]
        statuses: list[tuple[str, RemoteStatus]] = []
        try:
            for job, status in service.poll(running, stop_at):
                if status.unknown:
                    log.warning("%s is in a state this version does not know; polling goes on.", job.submission_key)
                judged = _judge(job, status, now)
                # One that found no room itself leaves none.
                freed |= judged.state != "running" and judged.requeue_after is None
                if judged.next_requests:
                    # What it left undone is on its way to the next job: recorded at once, done once.
                    polled += 1
                    ended += _record(ledger, [(job.submission_key, judged)], log)
                else:
                    statuses.append((job.submission_key, judged))
        finally:
            # What was learned before the service went away counts.
            polled += len(statuses)
            ended += _record(ledger, statuses, log)
            if ended and freed:
                # Also where another job could not be looked at: those that wait for room must not wait for that one.
                ledger.wake_postponed(service.name)
        if ended:
            # A failure may have left the intent of its next try, and an end room for others.
            meant = ledger.list_outstanding(service.name)
            submitted += _submit_meant(ledger, service, meant, sender, max(now, utc_now()), stop_at, log)
    except ResourceError as error:
        log.warning("%s; the jobs stay in the ledger and are looked at again.", error)
    return Tick(len(jobs), polled, ended, submitted)


def _record(ledger: Ledger, statuses: Sequence[tuple[str, RemoteStatus]], log: Logger | LoggerAdapter) -> int:
    count = 0
    # In parts: on a busy PostgreSQL a long transaction would lose to shorter ones again and again.
    for start in range(0, len(statuses), _PART):
        for job in ledger.record_statuses(statuses[start : start + _PART]):
            count += 1
            log.info("%s ended: %s (%s) %s", job.submission_key, job.state, job.remote_state, job.url or "")
    return count


def _judge(job: RemoteJob, status: RemoteStatus, now: datetime) -> RemoteStatus:
    """The service's word in the light of what was asked of it: a job stopped at its deadline has failed."""
    if status.state == "running" and not status.settling and now > job.deadline_at + CANCEL_GRACE:
        reason = job.cancel_reason or f"{_DEADLINE} of {job.deadline_at:%Y-%m-%d %H:%M} UTC has passed."
        return RemoteStatus(
            "failed", status.remote_state, f"{reason} The service did not stop the job.", facts=status.facts
        )
    if status.state != "cancelled" or job.cancel_reason is None:
        return status
    state: RemoteState = "failed" if job.cancel_reason.startswith(_DEADLINE) else "cancelled"
    return RemoteStatus(state, status.remote_state, job.cancel_reason, facts=status.facts)


_DEADLINE = "The deadline"


def _cancel_overdue(
    ledger: Ledger,
    service: RemoteService,
    jobs: Sequence[RemoteJob],
    now: datetime,
    stop_at: float,
    log: Logger | LoggerAdapter,
) -> int:
    count = 0
    for job in jobs:
        if time.monotonic() > stop_at:
            break
        reason = job.cancel_reason
        if reason is None and now > job.deadline_at:
            reason = f"{_DEADLINE} of {job.deadline_at:%Y-%m-%d %H:%M} UTC has passed."
        if reason is None:
            continue
        count += 1
        log.info("Cancelling %s: %s", job.submission_key, reason)
        try:
            cancel_job(ledger, service, job, reason)
        except ResourceError as error:
            # One job that cannot be cancelled must not keep the others from being looked at.
            log.warning("%s could not be cancelled: %s", job.submission_key, error)
        # Of one that the service has, its word comes first: it may have ended well long ago.
        if job.remote_id is None and now > job.deadline_at + CANCEL_GRACE:
            gone = RemoteStatus("failed", job.remote_state or "UNKNOWN", f"{reason} The service did not stop the job.")
            ledger.record_ended(job.submission_key, gone)
    return count


def _submit_meant(
    ledger: Ledger,
    service: RemoteService,
    jobs: Sequence[RemoteJob],
    sender: str,
    now: datetime,
    stop_at: float,
    log: Logger | LoggerAdapter,
) -> int:
    """Submit jobs whose intent is in the ledger, but no answer: their submitter died, they are a retry, or there was
    no room for them."""
    count = 0
    # Whoever waits longest first: those that fail slowly must not keep the others from their turn.
    for job in sorted(jobs, key=lambda job: job.submitter_lease_until):
        meant = job.state == "submitting" and job.cancel_reason is None and now >= job.submitter_lease_until
        if not meant or time.monotonic() > stop_at:
            continue
        try:
            sent = submit_job(ledger, service, job, sender=sender, give_up=False)
        except ResourceError as error:
            log.warning("%s could not be submitted: %s", job.submission_key, error)
            continue
        except Exception:
            log.exception("%s could not be submitted", job.submission_key)
            continue
        if sent.state == "submitting" and sent.refusals > job.refusals:
            log.info("%s: %s", sent.submission_key, sent.message)
            # There is no room for the others either.
            break
        if sent.remote_id is not None:
            log.info("Submitted %s: %s", sent.submission_key, sent.url or sent.remote_id)
            count += 1
    return count
