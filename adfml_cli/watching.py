"""Watching a backfill until it has ended: what was materialised, what remote jobs do, and what its runs failed of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus

from adfml_cli.errors import WorkflowFailed
from resources.control import ControlDatabase

if TYPE_CHECKING:
    from dagster._core.execution.backfill import PartitionBackfill

    from resources.ledger import Ledger

POLL_SECONDS = 0.5
BACKFILL_DAEMON = "BACKFILL"
DAEMON_SILENT_SECONDS = 300.0
"""A daemon says every half minute that it lives, a busy one later."""
Say = Callable[[str], None]


@dataclass
class Watch:
    """What was reported already."""

    materialised: set[tuple[str, str]] = field(default_factory=set)
    statuses: dict[str, str] = field(default_factory=dict)
    remote: dict[str, str] = field(default_factory=dict)


def wait_for_backfill(
    instance: dg.DagsterInstance,
    backfill_id: str,
    name: str,
    say: Say,
    check_processes: Callable[[], None] = lambda: None,
) -> PartitionBackfill:
    """Say what a backfill does until it has ended.

    Args:
        name: of what was launched, for the error.
        say: takes a line, in rich's markup.
        check_processes: called again and again; raises where waiting has no sense any more.

    Raises:
        WorkflowFailed: it did not end well.
    """
    watch, ledger = Watch(), ControlDatabase().ledger
    while True:
        check_processes()
        _report(instance, ledger, backfill_id, watch, say)
        current = instance.get_backfill(backfill_id)
        if current is not None and has_ended(current):
            _report(instance, ledger, backfill_id, watch, say)
            if current.status != BulkActionStatus.COMPLETED_SUCCESS:
                messages = list(read_failures(instance, current))
                raise WorkflowFailed(f"{name} ({current.status.value})", messages, backfill_id)
            return current
        time.sleep(POLL_SECONDS)


def has_ended(backfill: PartitionBackfill | None) -> bool:
    """Whether a backfill is there and will do nothing any more."""
    return backfill is not None and backfill.status in BULK_ACTION_TERMINAL_STATUSES


def read_failures(instance: dg.DagsterInstance, backfill: PartitionBackfill) -> Iterator[str]:
    """What the runs of a backfill failed of."""
    if backfill.error is not None:
        yield backfill.error.message
    filters = dg.RunsFilter(tags={"dagster/backfill": backfill.backfill_id}, statuses=[dg.DagsterRunStatus.FAILURE])
    for run in instance.get_runs(filters):
        yield from read_errors(instance, run)


def read_errors(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[str]:
    """What a run failed of: the step's own sentence, without the stack; of a check that blocks, what it found."""
    for record in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        check = record.dagster_event.asset_check_evaluation_data if record.dagster_event else None
        if check is not None and not check.passed and check.severity == dg.AssetCheckSeverity.ERROR:
            yield f"{check.asset_key.to_user_string()}, check {check.check_name}: {check.description or 'failed'}"
    for record in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = record.dagster_event
        data = event.step_failure_data if event else None
        if data is None or (data.error and data.error.cls_name == DagsterAssetCheckFailedError.__name__):
            continue
        cause = data.error.cause if data.error and data.error.cause else data.error
        text = data.user_failure_data.description if data.user_failure_data else None
        yield f"{event.step_key if event else ''}: {text or (cause.message.strip() if cause else 'failed')}"


def find_no_daemon(instance: dg.DagsterInstance) -> str | None:
    """What to do where no daemon of the instance would go on with a backfill; None where one lives."""
    heartbeat = instance.get_daemon_heartbeats().get(BACKFILL_DAEMON)
    if heartbeat is not None and time.time() - heartbeat.timestamp < DAEMON_SILENT_SECONDS:
        return None
    return (
        "No daemon was seen on this DAGSTER_HOME in the last five minutes; nothing happens before one runs: "
        "dagster-daemon run -w workspace.yaml."
    )


def _report(instance: dg.DagsterInstance, ledger: Ledger, backfill_id: str, watch: Watch, say: Say) -> None:
    for run in reversed(instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill_id}))):
        if watch.statuses.get(run.run_id) == run.status.value and run.is_finished:
            continue
        watch.statuses[run.run_id] = run.status.value
        for record in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
            event = record.asset_materialization
            name = (run.run_id, event.asset_key.to_user_string()) if event else None
            if event is None or name is None or name in watch.materialised:
                continue
            watch.materialised.add(name)
            rows = event.metadata.get("dagster/row_count")
            say(f"[green]done[/]     {name[1]}" + (f"  {rows.value:,} rows" if rows is not None else ""))
    for job in reversed(ledger.list_jobs(None, backfill=backfill_id)):
        state = job.remote_state or job.state
        if watch.remote.get(job.submission_key) != state:
            watch.remote[job.submission_key] = state
            say(f"[cyan]remote[/]   {job.submission_key}  {state}  {job.url or ''}")
