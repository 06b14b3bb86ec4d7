"""Launching the end-to-end workflow through Dagster's daemon, and watching it until its backfill has ended."""

from __future__ import annotations

import json
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from subprocess import TimeoutExpired

import dagster as dg
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus, PartitionBackfill

from demo.processes import run_to_end
from resources.control import ControlDatabase

JOB = "PL_EndToEnd_ML_Workflow"
LAUNCH_SECONDS = 180
NOTHING_MISSING = "everything is there already"
Say = Callable[[str], None]


class WorkflowFailed(Exception):
    """The workflow did not end well; carries what its runs said."""

    def __init__(self, name: str, messages: list[str]) -> None:
        self.name = name
        self.messages = messages
        super().__init__("\n".join(messages) or f"{name}: it ended without success, and no run says why.")


@dataclass
class Watch:
    """What was reported already."""

    materialised: set[tuple[str, str]] = field(default_factory=set)
    statuses: dict[str, str] = field(default_factory=dict)
    remote: dict[str, str] = field(default_factory=dict)


def run_workflow(
    instance: dg.DagsterInstance, mode: str, day: str, version: str, say: Say, check_processes: Callable[[], None]
) -> PartitionBackfill | None:
    """Launch the workflow and wait for its backfill. Returns it, or None where nothing was missing.

    Raises:
        WorkflowFailed: a run or the backfill failed.
    """
    run_id = str(uuid.uuid4())
    _launch(run_id, mode, day, version)
    _wait_for_run(instance, run_id, mode, check_processes)
    backfill = _find_backfill(instance, run_id)
    if backfill is None:
        say(NOTHING_MISSING)
        return None
    return wait_for_backfill(instance, backfill.backfill_id, f"mode {mode}", say, check_processes)


def run_groups(
    instance: dg.DagsterInstance, groups: Sequence[str], day: str, say: Say, check_processes: Callable[[], None]
) -> PartitionBackfill | None:
    """Launch what is missing of a day in groups of assets, and wait for its backfill. None: nothing was missing.

    Raises:
        WorkflowFailed: a run or the backfill failed.
    """
    from adfml_assets.definitions import defs
    from adfml_assets.workflow import choose_partitions, find_missing, launch_backfill

    with warnings.catch_warnings():
        # Of Dagster's own making: it copies assets and sensors with parameters it calls beta.
        warnings.simplefilter("ignore", dg.BetaWarning)
        graph = defs().get_repository_def().asset_graph
    selected = {key for key in graph.materializable_asset_keys if graph.get(key).group_name in groups}
    missing = find_missing(instance, graph, choose_partitions(graph, selected, day=day, version=""), refresh=False)
    if not missing:
        say(NOTHING_MISSING)
        return None
    wanted = {key: [partition] for key, partition in missing.items()}
    title = f"{', '.join(groups)} {day}"
    backfill_id = launch_backfill(instance, graph, wanted, title=title, tags={})
    return wait_for_backfill(instance, backfill_id, title, say, check_processes)


def wait_for_backfill(
    instance: dg.DagsterInstance, backfill_id: str, name: str, say: Say, check_processes: Callable[[], None]
) -> PartitionBackfill:
    """Say what a backfill does until it has ended.

    Raises:
        WorkflowFailed: it did not end well.
    """
    watch = Watch()
    while True:
        check_processes()
        _report(instance, backfill_id, watch, say)
        current = instance.get_backfill(backfill_id)
        if current is not None and current.status in BULK_ACTION_TERMINAL_STATUSES:
            _report(instance, backfill_id, watch, say)
            if current.status != BulkActionStatus.COMPLETED_SUCCESS:
                raise WorkflowFailed(name, list(_read_failures(instance, current)))
            return current
        time.sleep(0.5)


def _launch(run_id: str, mode: str, day: str, version: str) -> None:
    config = {"ops": {"launch_workflow": {"config": {"mode": mode, "snapshot_date": day, "model_version": version}}}}
    command = ["dagster", "job", "launch", "-w", "workspace.yaml", "-j", JOB]
    command += ["--run-id", run_id, "--config-json", json.dumps(config)]
    try:
        done = run_to_end(command, LAUNCH_SECONDS)
    except TimeoutExpired:
        raise WorkflowFailed(f"mode {mode}", [f"{JOB} could not be launched within {LAUNCH_SECONDS} s"]) from None
    if done.returncode:
        raise WorkflowFailed(f"mode {mode}", [f"{JOB} could not be launched:", *done.stderr.splitlines()[-15:]])


def _wait_for_run(instance: dg.DagsterInstance, run_id: str, mode: str, check_processes: Callable[[], None]) -> None:
    stop_at = time.monotonic() + LAUNCH_SECONDS
    while time.monotonic() < stop_at:
        check_processes()
        run = instance.get_run_by_id(run_id)
        if run is not None and run.status == dg.DagsterRunStatus.SUCCESS:
            return
        if run is not None and run.is_finished:
            raise WorkflowFailed(f"mode {mode}", list(_read_errors(instance, run)))
        time.sleep(0.3)
    raise WorkflowFailed(f"mode {mode}", [f"run {run_id} of {JOB} did not end within {LAUNCH_SECONDS} s"])


def _find_backfill(instance: dg.DagsterInstance, run_id: str) -> PartitionBackfill | None:
    found = (b for b in instance.get_backfills() if b.tags and b.tags.get("adfml/launched_by") == run_id)
    return next(found, None)


def _report(instance: dg.DagsterInstance, backfill_id: str, watch: Watch, say: Say) -> None:
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
    for job in ControlDatabase().ledger.list_jobs(limit=20):
        state = job.remote_state or job.state
        if job.backfill_id == backfill_id and watch.remote.get(job.submission_key) != state:
            watch.remote[job.submission_key] = state
            say(f"[cyan]remote[/]   {job.submission_key}  {state}  {job.url or ''}")


def _read_failures(instance: dg.DagsterInstance, backfill: PartitionBackfill) -> Iterator[str]:
    if backfill.error is not None:
        yield backfill.error.message
    filters = dg.RunsFilter(tags={"dagster/backfill": backfill.backfill_id}, statuses=[dg.DagsterRunStatus.FAILURE])
    for run in instance.get_runs(filters):
        yield from _read_errors(instance, run)


def _read_errors(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[str]:
    """What a run failed of: the step's own sentence, without the stack."""
    for record in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        event = record.dagster_event
        data = event.step_failure_data if event else None
        if data is None:
            continue
        cause = data.error.cause if data.error and data.error.cause else data.error
        text = data.user_failure_data.description if data.user_failure_data else None
        yield f"{event.step_key if event else ''}: {text or (cause.message.strip() if cause else 'failed')}"
