"""Which runs have failed for good, and of each what failed: the assets of the failed steps, with the remote error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.event_api import RunStatusChangeRecordsFilter
from dagster._core.storage.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG

from resources.alerts.failure import Failure
from sensors.tags import ADOPTS_TAG, REMOTE_JOB_TAG
from sensors.waiting import PARTITION_TAG

if TYPE_CHECKING:
    from resources.ledger import Ledger

RUNS_A_TICK = 100
_NOT_SETTLED = timedelta(minutes=5)
"""How long it may take until Dagster has said whether, and as which run, a failed run is tried again."""

_EVENTS = {
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.RUN_FAILURE,
}
_CLASS = re.compile(r"\b(?:\w+\.)*(resources|adfml_assets|adfml_cli)\.[\w.]*?([A-Z]\w+)\b")


@dataclass(frozen=True)
class FailedRuns:
    """What a look found.

    Attributes:
        failures: one an asset and partition, or a job.
        cursor: where the next look begins.
    """

    failures: list[Failure]
    cursor: int


def find_failed_runs(instance: dg.DagsterInstance, ledger: Ledger, cursor: int, now: datetime) -> FailedRuns:
    """The failures of runs that ended since a cursor. A run that Dagster tries again by itself is none of them."""
    filters = RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_storage_id=cursor)
    failures: list[Failure] = []
    for record in instance.fetch_run_status_changes(filters, limit=RUNS_A_TICK, ascending=True).records:
        run = instance.get_run_by_id(record.run_id)
        at = datetime.fromtimestamp(record.timestamp, UTC)
        if run is not None and now - at < _NOT_SETTLED and not _is_settled(instance, run):
            break
        # Of a job that could not be adopted the command that asked for it has said why: nothing has failed.
        if run is not None and run.tags.keys().isdisjoint((AUTO_RETRY_RUN_ID_TAG, ADOPTS_TAG)):
            failures += list_failures(instance, ledger, run, record.storage_id, at)
        cursor = record.storage_id
    return FailedRuns(failures, cursor)


def find_last_failure(instance: dg.DagsterInstance) -> int:
    """The cursor after which there is nothing yet."""
    records = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1).records
    return records[0].storage_id if records else 0


def list_failures(
    instance: dg.DagsterInstance, ledger: Ledger, run: dg.DagsterRun, event_id: int, at: datetime
) -> Iterator[Failure]:
    """What failed in a run: of the failed steps what was not made; of a run whose process died, all that was not."""
    entries = [e for e in instance.all_logs(run.run_id, of_type=_EVENTS) if e.dagster_event is not None]
    events = [entry.get_dagster_event() for entry in entries]
    failed = {event.step_key: event for event in events if event.event_type == dg.DagsterEventType.STEP_FAILURE}
    made = {(event.asset_key, event.partition) for event in events if event.is_step_materialization}
    planned: dict[tuple[dg.AssetKey, str | None], str | None] = {}
    for event in events:
        if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED and event.asset_key is not None:
            planned[event.asset_key, event.partition] = event.step_key
    missing = {asset: step for asset, step in planned.items() if asset not in made}
    concerned = {asset: step for asset, step in missing.items() if not failed or step in failed}
    common: dict[str, Any] = {"event_id": event_id, "at": at, "run_id": run.run_id}
    for (key, partition), step in sorted(concerned.items(), key=str):
        asset = key.to_user_string()
        error, error_class = _explain(failed.get(step), events)
        day = partition or run.tags.get(PARTITION_TAG)
        job = ledger.find_latest(asset, day) if day and _is_of_job(failed.get(step), run) else None
        yield Failure(
            subject=f"{asset} | {day}" if day else asset,
            kind="run",
            error=error,
            error_class=error_class,
            asset=asset,
            partition=day,
            page=job.url if job is not None and job.state != "succeeded" else None,
            submission_key=job.submission_key if job is not None and job.state != "succeeded" else None,
            **common,
        )
    if not concerned and not _failed_by_check(events):
        error, error_class = _explain(next(iter(failed.values()), None), events)
        yield Failure(f"job {run.job_name}", "run", error=error, error_class=error_class, **common)


def _is_settled(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether it is known if, and as which run, a failed run is tried again."""
    if not instance.run_retries_enabled:
        return True
    return run.tags.get(WILL_RETRY_TAG) == "false" or AUTO_RETRY_RUN_ID_TAG in run.tags


def _is_of_job(step: dg.DagsterEvent | None, run: dg.DagsterRun) -> bool:
    """Whether a failure is a remote job's: the run waited for one, or its failure names one."""
    data = step.step_failure_data if step is not None else None
    named = data.user_failure_data.metadata if data is not None and data.user_failure_data is not None else {}
    return REMOTE_JOB_TAG in run.tags or "submission_key" in named


def _failed_by_check(events: list[dg.DagsterEvent]) -> bool:
    """Whether a blocking check stopped the run: that is told as the check's."""
    checks = [event for event in events if event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION]
    return any(
        event.asset_check_evaluation_data.blocking and not event.asset_check_evaluation_data.passed for event in checks
    )


def _explain(step: dg.DagsterEvent | None, events: list[dg.DagsterEvent]) -> tuple[str, str | None]:
    """What was said of a failure, and the class of this project's error that it was, where it was one."""
    data = step.step_failure_data if step is not None else None
    if data is None:
        said = [
            event.message for event in events if event.event_type == dg.DagsterEventType.RUN_FAILURE and event.message
        ]
        return said[-1] if said else "The run failed without a word.", None
    error = data.error
    chain = []
    while error is not None:
        chain.append(error)
        error = error.cause
    ours = next((found for one in chain if (found := _find_class(one.message))), None)
    if data.user_failure_data is not None and data.user_failure_data.description:
        description = data.user_failure_data.description
        return description, ours or _find_class(description)
    if not chain:
        return (step.message if step is not None else None) or "The step failed without a word.", None
    # The innermost cause is what happened; what is around it says that a step failed.
    message = chain[-1].message.strip()
    return message.partition(": ")[2] if ours and message.partition(": ")[2] else message, ours


def _find_class(message: str) -> str | None:
    """The error class of this project that a message begins with: `resources.errors.Refused: ...`."""
    found = _CLASS.match(message.partition(":")[0].strip())
    return found[2] if found else None
