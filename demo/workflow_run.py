"""Launching the end-to-end workflow through Dagster's daemon, and watching it until its backfill has ended."""

from __future__ import annotations

import json
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from subprocess import TimeoutExpired

import dagster as dg
from dagster._core.execution.backfill import PartitionBackfill

from adfml_cli.errors import WorkflowFailed
from adfml_cli.watching import Say, read_errors, wait_for_backfill
from demo.processes import run_to_end

JOB = "PL_EndToEnd_ML_Workflow"
LAUNCH_SECONDS = 180
NOTHING_MISSING = "everything is there already"


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


def _launch(run_id: str, mode: str, day: str, version: str) -> None:
    parameters = {"mode": mode, "snapshot_date": day}
    if mode == "train":
        # Scoring goes by the alias: a version that is given would score whatever the gate said.
        parameters["model_version"] = version
    config = {"ops": {"launch_workflow": {"config": parameters}}}
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
            raise WorkflowFailed(f"mode {mode}", list(read_errors(instance, run)))
        time.sleep(0.3)
    raise WorkflowFailed(f"mode {mode}", [f"run {run_id} of {JOB} did not end within {LAUNCH_SECONDS} s"])


def _find_backfill(instance: dg.DagsterInstance, run_id: str) -> PartitionBackfill | None:
    found = (b for b in instance.get_backfills() if b.tags and b.tags.get("adfml/launched_by") == run_id)
    return next(found, None)
