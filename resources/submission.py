"""Submitting, finding again and cancelling remote jobs so that no crash loses one or makes two of one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from resources.control import utc_now
from resources.errors import QuotaExceeded, Refused, Unreachable
from resources.ledger import Ledger
from resources.remote_jobs import RemoteJob, RemoteService, RemoteStatus

_HEARTBEAT_SECONDS = 15.0


def submit_job(
    ledger: Ledger, service: RemoteService, job: RemoteJob, *, sender: str | None = None, give_up: bool = True
) -> RemoteJob:
    """Send a job whose intent is in the ledger, and record the answer. A job the service has already is not sent.

    Where a service would take the same job twice, only the holder of the job's lease sends it, and one that may have
    been sent before is looked for first.

    Args:
        sender: who sends it; without one, whoever opened the job.
        give_up: whether a job that could not be sent at all ends as failed; otherwise it stays to be sent later.

    Returns:
        The job as it stands then: still `submitting` where there was no room for it, or where somebody else sends it.

    Raises:
        Refused: the job was not taken; the row ends as failed.
        Unreachable: nothing was sent. Where nothing had been sent before either, the row ends as failed (`give_up`).
        OutcomeUnknown: no answer came; the row stays `submitting` and is reconciled by the sensor or the next run.
    """
    if job.state != "submitting":
        return job
    key, sender = job.submission_key, sender or job.run_id
    held = ledger.record_sending(key, sender, exclusive=not service.resends_safely)
    if held is None:
        return ledger.get(key)
    asked = False
    try:
        with _keep_lease(ledger, key, sender):
            # What has been sent before may be there, and is then found by our key.
            found = service.find(held) if held.sends > 1 and not service.resends_safely else None
            asked = not service.resends_safely
            facts = service.prepare(held) if found is None else {}
            if facts:
                held = ledger.record_facts(key, facts)
        if found is None:
            if not ledger.renew_sending(key, sender):
                return ledger.get(key)
            found = service.submit(held)
    except QuotaExceeded as error:
        return ledger.postpone(key, str(error), sender)
    except Refused as error:
        # A no to our question, or to a second send, says nothing about what was sent before.
        if held.sends == 1 or asked:
            ledger.record_ended(key, RemoteStatus("failed", "NOT_SUBMITTED", str(error)))
        raise
    except Unreachable as error:
        # After an earlier send nobody knows whether the service has the job: only asking it again can tell.
        if held.sends == 1 and give_up:
            ledger.record_ended(key, RemoteStatus("failed", "NOT_SUBMITTED", str(error)))
        raise
    submitted = ledger.record_submitted(key, found)
    if submitted.remote_id != found.remote_id:
        # It ended, or was sent by somebody else, while our request was under way: ours must not run beside it.
        if submitted.remote_id is None:
            # The ledger knows it again, to be cancelled: also when this process ends here.
            return cancel_job(ledger, service, ledger.record_stray(key, found), "It had ended before it was submitted.")
        service.cancel(replace(held, remote_id=found.remote_id))
    return submitted


def cancel_job(ledger: Ledger, service: RemoteService, job: RemoteJob, reason: str) -> RemoteJob:
    """Cancel a job: the wish goes into the ledger first, then to the service.

    A job whose submission got no answer is looked for; only where the service does not know it is it over at once.
    Where the service has it, the row ends when the service says that it has stopped.
    """
    job = ledger.request_cancel(job.submission_key, reason)
    if not job.outstanding:
        return job
    if job.remote_id is None:
        found = service.find(job) if job.sends else None
        if found is None:
            if job.sends and utc_now() < job.submitter_lease_until:
                # A request may be on its way; the sensor looks again when it can no longer arrive.
                return job
            return ledger.record_ended(job.submission_key, RemoteStatus("cancelled", "NOT_SUBMITTED", reason))
        job = ledger.record_submitted(job.submission_key, found)
    service.cancel(job)
    return job


@contextmanager
def _keep_lease(ledger: Ledger, submission_key: str, sender: str) -> Iterator[None]:
    """Hold a job's lease while the block runs, however long an upload takes; it ends with this process."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(_HEARTBEAT_SECONDS):
            ledger.renew_sending(submission_key, sender)

    thread = threading.Thread(target=renew, name="submission-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
