"""The waiting, in one place: which runs wait for which remote job, when they go on, and what their cancelling means.

To be replaced by Dagster's own suspended runs when it has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from logging import Logger, LoggerAdapter

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus

from resources.ledger import Ledger
from resources.remote_jobs import RemoteJob, RemoteService
from sensors.tags import CANCELLED, READY, REMOTE_JOB_TAG, WAITING

PARTITION_TAG = "dagster/partition"
BACKFILL_TAG = "dagster/backfill"
_BATCH = 500
_CANCELED = dg.DagsterRunStatus.CANCELED
_FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, _CANCELED)


def release_runs(instance: dg.DagsterInstance, ledger: Ledger, log: Logger | LoggerAdapter) -> int:
    """Let waiting runs go on whose remote jobs have ended, well or not: collecting tells. Returns how many."""
    # The runs first: a job that is submitted between the two looks is then seen, not missed.
    waiting = list(list_waiting_runs(instance, dg.DagsterRunStatus.QUEUED))
    outstanding = ledger.list_awaited()
    released = [run for run in waiting if not any(result in outstanding for result in list_results(run))]
    for run in released:
        log.info("Run %s goes on: its remote jobs have ended.", run.run_id)
        instance.add_run_tags(run.run_id, {REMOTE_JOB_TAG: READY})
    return len(released)


def cancel_abandoned(
    instance: dg.DagsterInstance, ledger: Ledger, service: RemoteService, log: Logger | LoggerAdapter
) -> int:
    """Note that the remote jobs of cancelled runs and backfills are to be cancelled. Returns how many."""
    gone = list(_list_waiting(instance, _CANCELED))
    jobs = [job for job in ledger.list_outstanding(service.name) if job.cancel_reason is None]
    # Another run may wait for the same result; the job is its too.
    wanted = {r for run in list_waiting_runs(instance, dg.DagsterRunStatus.QUEUED) for r in list_results(run)}
    # Newest first: of several the last one stays.
    waited = {result: record for record in reversed(gone) for result in list_results(record.dagster_run)}
    backfills = {job.backfill_id for job in jobs if job.backfill_id is not None}
    cancelled = {backfill for backfill in backfills if _is_backfill_cancelled(instance, backfill)}
    owners = _read_records(instance, {job.run_id for job in jobs}) if gone or any(_unsent(job) for job in jobs) else {}
    found = {}
    for job in jobs:
        result = (job.collecting_asset, job.partition)
        owner, last = owners.get(job.run_id), waited.get(result)
        reason = None
        if last is not None and not _is_taken_up(owner, last):
            reason = f"Run {last.dagster_run.run_id}, which waited for it, was cancelled."
        if reason is None and job.backfill_id in cancelled:
            reason = f"Backfill {job.backfill_id} was cancelled."
        if reason is None and _unsent(job) and owner is not None and owner.dagster_run.status == _CANCELED:
            # Its process did not live to cancel what it was about to send.
            reason = f"Run {job.run_id}, which was about to send it, was cancelled."
        if reason is not None and result not in wanted:
            found[job.submission_key] = reason
            log.info("Cancelling %s: %s", job.submission_key, reason)
    # The wishes only: the look at the jobs that follows asks the service, within its budget.
    ledger.request_cancels(found)
    # A run may have waited for another service: then that one's sensor has to see it too.
    left = ledger.list_awaited(not_cancelled=True) - wanted if gone else set()
    for record in gone:
        if not left.intersection(list_results(record.dagster_run)):
            instance.add_run_tags(record.dagster_run.run_id, {REMOTE_JOB_TAG: CANCELLED})
    return len(found)


def _is_taken_up(owner: dg.RunRecord | None, waited: dg.RunRecord) -> bool:
    """Whether a job has become another run's than the one whose result a cancelled run waited for.

    Of a run that came after that one and has ended well, the run that collects need not be in the queue yet: a backfill
    asks for it when it looks next.
    """
    if owner is None:
        return False
    status = owner.dagster_run.status
    # Ids of the run storage rise; its times have whole seconds only.
    return status not in _FINISHED or (status == dg.DagsterRunStatus.SUCCESS and owner.storage_id > waited.storage_id)


def _unsent(job: RemoteJob) -> bool:
    return job.state == "submitting" and job.parent_key is None


def request_early_runs(ledger: Ledger, service: RemoteService) -> Iterator[dg.RunRequest]:
    """Runs to start again because they came before the result was there, now that the job has ended.

    The run key holds the attempt: Dagster never starts one key twice.
    """
    awaited = ledger.list_awaited()
    for job in ledger.list_uncollected_early(service.name):
        if (job.collecting_asset, job.partition) in awaited:
            continue
        yield dg.RunRequest(
            run_key=f"collect|{job.submission_key}|{job.early_run_id}",
            asset_selection=[dg.AssetKey.from_user_string(key) for key in job.early_selection or ()],
            partition_key=job.partition,
            tags={BACKFILL_TAG: job.backfill_id} if job.backfill_id else None,
        )


def list_waiting_runs(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> Iterator[dg.DagsterRun]:
    """Runs tagged as waiting, by status, newest first."""
    return (record.dagster_run for record in _list_waiting(instance, status))


def _list_waiting(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> Iterator[dg.RunRecord]:
    filters = dg.RunsFilter(statuses=[status], tags={REMOTE_JOB_TAG: WAITING})
    cursor = None
    while True:
        records = instance.get_run_records(filters, cursor=cursor, limit=_BATCH)
        yield from records
        if len(records) < _BATCH:
            return
        cursor = records[-1].dagster_run.run_id


def list_results(run: dg.DagsterRun) -> list[tuple[str, str]]:
    """What a run may collect: (asset, partition) of everything it selects."""
    partition = run.tags.get(PARTITION_TAG)
    if partition is None:
        return []
    return [(key.to_user_string(), partition) for key in run.asset_selection or ()]


def _read_records(instance: dg.DagsterInstance, run_ids: set[str]) -> dict[str, dg.RunRecord]:
    ids = sorted(run_ids)
    batches = (ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH))
    records = (record for batch in batches for record in instance.get_run_records(dg.RunsFilter(run_ids=batch)))
    return {record.dagster_run.run_id: record for record in records}


def _is_backfill_cancelled(instance: dg.DagsterInstance, backfill_id: str) -> bool:
    backfill = instance.get_backfill(backfill_id)
    return backfill is not None and backfill.status in (BulkActionStatus.CANCELING, BulkActionStatus.CANCELED)
