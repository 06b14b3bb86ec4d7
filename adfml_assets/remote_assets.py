"""The two assets around every remote job: `<name>_job` submits and ends, `<name>` collects once the job has ended."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import dagster as dg

from resources.ledger import Ledger
from resources.submission import cancel_job, submit_job
from sensors.tags import COLLECTS, ROLE_TAG, SUBMITS
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
) -> dg.MaterializeResult[None]:
    """Write the intent, submit under its key, record the answer: the body of a `<name>_job` asset.

    Cancelling the run cancels the job, also one whose submission was under way.

    Raises:
        JobOutstanding, Unreachable, Refused, OutcomeUnknown: see there.
    """
    job = ledger.open_job(
        asset=context.asset_key.to_user_string(),
        collecting_asset=collecting_asset.to_user_string(),
        partition=context.partition_key,
        service=service.name,
        request=request,
        deadline=timedelta(hours=deadline_hours),
        max_tries=max_tries,
        run_id=context.run_id,
        backfill_id=context.run_tags.get(BACKFILL_TAG),
    )
    taken_up = job.sends > 0
    try:
        job = submit_job(ledger, service, job)
        if _is_cancelled(context):
            # An interrupt that arrives inside a library's own handler can be lost; the run's state is not.
            raise dg.DagsterExecutionInterruptedError
    except dg.DagsterExecutionInterruptedError:
        cancel_job(ledger, service, ledger.get(job.submission_key), f"Run {context.run_id} was cancelled.")
        raise
    context.log.info(
        "%s %s: %s", "Took up" if taken_up else "Submitted", job.submission_key, job.url or job.remote_id or "no page"
    )
    return dg.MaterializeResult(metadata=describe_job(job))


def _is_cancelled(context: dg.AssetExecutionContext) -> bool:
    run = context.instance.get_run_by_id(context.run_id)
    return run is not None and run.status in (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


def find_ended_job(context: dg.AssetExecutionContext, ledger: Ledger) -> RemoteJob | None:
    """The partition's job, if it has succeeded: the first step of a `<name>` asset. None if the run came too early.

    A run that comes too early notes in the ledger what it leaves undone; the sensor starts it again.

    Raises:
        dg.Failure: no job was submitted, or it failed or was cancelled: with the remote error and what to do.
    """
    asset = context.asset_key.to_user_string()
    job = ledger.find_latest(asset, context.partition_key)
    if job is None:
        raise dg.Failure(
            f"No remote job was submitted for {asset}, partition {context.partition_key}. "
            f"Materialise {asset}_job for this partition; this asset follows.",
            allow_retries=False,
        )
    if job.outstanding:
        ledger.request_collect(job.submission_key, _find_undone(context), context.run_id)
        # Between our look and our note the job may have ended: then the sensor's last look missed the note.
        job = ledger.get(job.submission_key)
        if job.outstanding:
            context.log.warning(
                "%s is still under way (%s). Nothing is materialised; a run that collects it starts by itself when it "
                "has ended.",
                job.submission_key,
                job.url or job.state,
            )
            return None
    ledger.clear_early(job.submission_key)
    if job.state == "succeeded":
        return job
    raise dg.Failure(
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
    """A job as asset metadata: its key, page, state and request."""
    metadata: dict[str, Any] = {
        "submission_key": job.submission_key,
        "attempt": job.attempt,
        "service": job.service,
        "remote_id": job.remote_id or "",
        "remote_state": job.remote_state or job.state,
        "request": dg.MetadataValue.json(cast("dict[str, Any]", json.loads(json.dumps(dict(job.request))))),
    }
    if job.url:
        metadata["page"] = dg.MetadataValue.url(job.url)
    if job.submitted_at and job.ended_at:
        metadata["minutes"] = round((job.ended_at - job.submitted_at).total_seconds() / 60, 2)
    return metadata
