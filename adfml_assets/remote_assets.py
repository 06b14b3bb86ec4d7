"""The two assets around every remote job: `<name>_job` submits and ends, `<name>` collects once the job has ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from adfml_assets.adoption import adopt_remote_job
from resources.control import utc_now
from resources.errors import OutcomeUnknown, Refused, ResourceError, Unreachable
from resources.ledger import Ledger
from resources.ledger_rows import list_tips
from resources.remote_jobs import RemoteStatus
from resources.submission import cancel_job, submit_job
from sensors.tags import ADOPTS_TAG, COLLECTS, ROLE_TAG, SUBMITS
from sensors.waiting import BACKFILL_TAG

if TYPE_CHECKING:
    from resources.remote_jobs import RemoteJob, RemoteService

SUBMITS_TAGS = {ROLE_TAG: SUBMITS}
COLLECTS_TAGS = {ROLE_TAG: COLLECTS}

# Different policies: Dagster never puts the two assets into one backfill run, and launches the collecting one when
# the submitting one is done.
SUBMITS_POLICY = dg.BackfillPolicy.multi_run(1)


def submit_remote_job(
    context: dg.AssetExecutionContext,
    ledger: Ledger,
    service: RemoteService,
    *,
    collecting_asset: dg.AssetKey,
    request: Mapping[str, Any],
    deadline_hours: float,
    max_tries: int,
    input_written_at: datetime | None = None,
) -> dg.MaterializeResult[None]:
    """Write the intent, submit under its key, record the answer: the body of a `<name>_job` asset.

    Cancelling the run cancels the job, also one whose submission was under way.

    Args:
        input_written_at: see `submit_remote_jobs`.

    Raises:
        JobOutstanding, Unreachable, Refused, OutcomeUnknown, NotAdopted: see there.
    """
    jobs = submit_remote_jobs(
        context,
        ledger,
        service,
        collecting_asset=collecting_asset,
        build_requests=lambda: [request],
        deadline_hours=deadline_hours,
        max_tries=max_tries,
        input_written_at=input_written_at,
    )
    return dg.MaterializeResult(metadata=describe_job(jobs[-1]))


def submit_remote_jobs(
    context: dg.AssetExecutionContext,
    ledger: Ledger,
    service: RemoteService,
    *,
    collecting_asset: dg.AssetKey,
    build_requests: Callable[[], Sequence[Mapping[str, Any]]],
    deadline_hours: float,
    max_tries: int,
    identity: str | None = None,
    input_written_at: datetime | None = None,
) -> list[RemoteJob]:
    """As `submit_remote_job`, for a partition that takes several jobs: its shards.

    A run that is tagged with a job's id at the service (`adfml/adopts`) takes up that job in place of submitting one.

    Once one of them is submitted, the others need not be: what could not be sent yet stays in the ledger, and the
    sensor sends it.

    Args:
        build_requests: makes the requests, one a job; called only where no jobs are there to be taken up.
        identity: what tells these jobs from others of the partition (a digest of the input and of how it is asked):
            jobs under way with this identity, or succeeded and not collected, are taken up before any request is built.
            Every request holds it under `identity`. Without one the requests themselves are compared.
        input_written_at: when the input was written: a job to be adopted must have been started after that.

    Returns:
        The jobs of the group, as they stand; none where there was no request.

    Raises:
        JobOutstanding, Unreachable, Refused, OutcomeUnknown, NotAdopted: see there.
    """
    asset, partition = context.asset_key.to_user_string(), context.partition_key
    backfill_id = context.run_tags.get(BACKFILL_TAG)
    common: dict[str, Any] = {
        "asset": asset,
        "collecting_asset": collecting_asset.to_user_string(),
        "partition": partition,
        "service": service.name,
        "max_tries": max_tries,
        "run_id": context.run_id,
        "backfill_id": backfill_id,
    }
    if (adopts := context.run_tags.get(ADOPTS_TAG)) is not None:
        deadline_at = utc_now() + timedelta(hours=deadline_hours)
        requests = build_requests()
        return [
            adopt_remote_job(
                ledger, service, adopts, requests, input_written_at=input_written_at, deadline_at=deadline_at, **common
            )
        ]
    jobs = ledger.take_up(asset, partition, identity, context.run_id, backfill_id) if identity else []
    if not jobs:
        jobs = ledger.open_jobs(requests=build_requests(), deadline=timedelta(hours=deadline_hours), **common)
    try:
        submitted = [*_submit_each(context, ledger, service, jobs)]
        if _is_cancelled(context):
            # An interrupt that arrives inside a library's own handler can be lost; the run's state is not.
            raise dg.DagsterExecutionInterruptedError
    except dg.DagsterExecutionInterruptedError:
        reason = f"Run {context.run_id} was cancelled."
        for job in jobs:
            # All wishes first: whatever happens while the service is asked, the sensor goes on with them.
            ledger.request_cancel(job.submission_key, reason)
        for job in jobs:
            try:
                cancel_job(ledger, service, job, reason)
            except ResourceError as error:
                context.log.warning("%s: the sensor goes on cancelling %s.", error, job.submission_key)
        raise
    return submitted


def _submit_each(
    context: dg.AssetExecutionContext, ledger: Ledger, service: RemoteService, jobs: Sequence[RemoteJob]
) -> Iterator[RemoteJob]:
    sent_any = False
    for job in jobs:
        taken_up = job.sends > 0
        try:
            sent = submit_job(ledger, service, job, sender=context.run_id, give_up=not sent_any)
        except Refused as error:
            _give_up(ledger, job, jobs, error)
            raise
        except (Unreachable, OutcomeUnknown) as error:
            if not sent_any:
                _give_up(ledger, job, jobs, error)
                raise
            context.log.warning("%s: the sensor goes on with %s.", error, job.submission_key)
            sent = ledger.get(job.submission_key)
        if sent.remote_id is not None:
            sent_any = True
            verb = "Took up" if taken_up else "Submitted"
            context.log.info("%s %s: %s", verb, sent.submission_key, sent.url or sent.remote_id)
        elif sent.outstanding:
            reason = sent.message or "another process is sending it"
            context.log.warning("%s is queued, the sensor submits it: %s", sent.submission_key, reason)
        yield sent
        if sent.refusals > job.refusals:
            # There is no room for the others now; the sensor sends them when there is.
            yield from _leave_queued(ledger, jobs[jobs.index(job) + 1 :], sent.message or "no room", context.run_id)
            return


def _give_up(ledger: Ledger, job: RemoteJob, jobs: Sequence[RemoteJob], error: ResourceError) -> None:
    """Where a job was not taken, and the run fails with it: what has not been sent is not sent by the sensor either."""
    if ledger.get(job.submission_key).outstanding:
        return
    failed = RemoteStatus("failed", "NOT_SUBMITTED", str(error))
    others = [ledger.get(other.submission_key) for other in jobs]
    ledger.record_statuses([(other.submission_key, failed) for other in others if not other.sends])


def _leave_queued(ledger: Ledger, jobs: Sequence[RemoteJob], message: str, sender: str) -> Iterator[RemoteJob]:
    for job in jobs:
        yield ledger.postpone(job.submission_key, message, sender, unsent=True)


def _is_cancelled(context: dg.AssetExecutionContext) -> bool:
    run = context.instance.get_run_by_id(context.run_id)
    return run is not None and run.status in (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


def find_ended_job(context: dg.AssetExecutionContext, ledger: Ledger) -> RemoteJob | None:
    """The partition's job, if it has succeeded: the first step of a `<name>` asset. None if the run came too early.

    A run that comes too early notes in the ledger what it leaves undone; the sensor starts it again.

    Raises:
        dg.Failure: no job was submitted, or it failed or was cancelled: with the remote error and what to do.
    """
    jobs = find_ended_jobs(context, ledger)
    return jobs[-1] if jobs else None


def find_ended_jobs(context: dg.AssetExecutionContext, ledger: Ledger) -> list[RemoteJob] | None:
    """As `find_ended_job`, for a partition that took several jobs: all that succeeded, first attempt first.

    Raises:
        dg.Failure: no job was submitted, or one of them failed for good or was cancelled.
    """
    asset = context.asset_key.to_user_string()
    jobs = ledger.list_group(asset, context.partition_key)
    if not jobs:
        raise dg.Failure(
            f"No remote job was submitted for {asset}, partition {context.partition_key}. "
            f"Materialise {asset}_job for this partition; this asset follows.",
            allow_retries=False,
        )
    outstanding = [job for job in jobs if job.outstanding]
    if outstanding:
        ledger.request_collect(outstanding[-1].submission_key, _find_undone(context), context.run_id)
        # Between our look and our note the jobs may have ended: then the sensor's last look missed the note.
        jobs = ledger.list_group(asset, context.partition_key)
        outstanding = [job for job in jobs if job.outstanding]
        if outstanding:
            context.log.warning(
                "%s is still under way (%s). Nothing is materialised; a run that collects it starts by itself when it "
                "has ended.",
                ", ".join(job.submission_key for job in outstanding),
                outstanding[0].url or outstanding[0].state,
            )
            return None
    for job in jobs:
        if job.early_selection is not None:
            ledger.clear_early(job.submission_key)
    for job in list_tips(jobs):
        if job.state != "succeeded":
            raise _explain_failure(job)
    return [job for job in jobs if job.state == "succeeded"]


def _explain_failure(job: RemoteJob) -> dg.Failure:
    return dg.Failure(
        f"Remote job {job.submission_key} {job.state} on {job.service} ({job.remote_state}): "
        f"{(job.message or 'no message').strip()}\n"
        f"Page: {job.url or 'none'}\n"
        f"What to do: mend the cause, then materialise {job.asset} for partition {job.partition} again; it submits a "
        "new attempt.",
        metadata=describe_job(job),
        allow_retries=False,
    )


def _find_undone(context: dg.AssetExecutionContext) -> Sequence[str]:
    """This asset and everything downstream of it that the run selects: what this run will not materialise."""
    graph = context.repository_def.asset_graph
    selected = set(context.run.asset_selection or graph.materializable_asset_keys)
    undone, todo = set(), [context.asset_key]
    while todo:
        key = todo.pop()
        if key not in undone and key in selected:
            undone.add(key)
            todo.extend(graph.get(key).child_keys)
    return sorted(key.to_user_string() for key in undone)


def describe_job(job: RemoteJob) -> dict[str, Any]:
    """A job as asset metadata: its page, key, state and request."""
    metadata: dict[str, Any] = {
        **({"page": dg.MetadataValue.url(job.url)} if job.url else {}),
        "submission_key": job.submission_key,
        "attempt": job.attempt,
        "service": job.service,
        "remote_id": job.remote_id or "",
        "remote_state": job.remote_state or job.state,
    }
    if job.submitted_at and job.ended_at:
        metadata["minutes"] = round((job.ended_at - job.submitted_at).total_seconds() / 60, 2)
    # Long, and the last that anybody wants to read.
    metadata["request"] = dg.MetadataValue.json(cast("dict[str, Any]", json.loads(json.dumps(dict(job.request)))))
    return metadata
