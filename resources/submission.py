"""Submitting, finding again and cancelling remote jobs so that no crash loses one or makes two of one."""

from __future__ import annotations

from resources.errors import Refused, Unreachable
from resources.ledger import Ledger
from resources.remote_jobs import RemoteJob, RemoteService, RemoteStatus


def submit_job(ledger: Ledger, service: RemoteService, job: RemoteJob) -> RemoteJob:
    """Send a job whose intent is in the ledger, and record the answer. A job the service has already is not sent.

    Raises:
        Refused: the job was not taken; the row ends as failed.
        Unreachable: nothing was sent. Where nothing had been sent before either, the row ends as failed.
        OutcomeUnknown: no answer came; the row stays `submitting` and is reconciled by the sensor or the next run.
    """
    if job.state != "submitting":
        return job
    job = ledger.record_sending(job.submission_key)
    try:
        run = service.submit(job)
    except Refused as error:
        ledger.record_ended(job.submission_key, RemoteStatus("failed", "NOT_SUBMITTED", str(error)))
        raise
    except Unreachable as error:
        # After an earlier send nobody knows whether the service has the job: only asking it again can tell.
        if job.sends == 1:
            ledger.record_ended(job.submission_key, RemoteStatus("failed", "NOT_SUBMITTED", str(error)))
        raise
    return ledger.record_submitted(job.submission_key, run)


def cancel_job(ledger: Ledger, service: RemoteService, job: RemoteJob, reason: str) -> RemoteJob:
    """Cancel a job: the wish goes into the ledger first, then to the service.

    A job whose submission got no answer is looked for; only where the service does not know it is it over at once.
    Where the service has it, the row ends when the service says that it has stopped.
    """
    job = ledger.request_cancel(job.submission_key, reason)
    if not job.outstanding:
        return job
    if job.remote_id is None:
        found = service.find(job)
        if found is None:
            return ledger.record_ended(job.submission_key, RemoteStatus("cancelled", "NOT_SUBMITTED", reason))
        job = ledger.record_submitted(job.submission_key, found)
    service.cancel(job)
    return job
