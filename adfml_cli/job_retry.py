"""`adfml jobs retry`: a new attempt of a remote job, as a backfill that submits it and collects its result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from adfml_cli import workflow
from adfml_cli.errors import CommandFailed
from adfml_cli.jobs import find_job, open_control
from adfml_cli.output import confirm
from adfml_cli.partitions import require_partition
from adfml_cli.people import name_user

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

    from resources.ledger import Ledger
    from resources.remote_jobs import RemoteJob

RETRY_TAG = "adfml/retry_of"
"""On the backfill, and on its runs: the submission key of the attempt before."""


def retry_job(text: str, *, downstream: bool, force: bool, yes: bool, wait: bool, as_json: bool) -> None:
    """Launch a backfill over the assets that submit and collect a job, with the config of the run before.

    A job that has succeeded and was not collected is not submitted again: its result is collected, and nothing paid.

    Args:
        text: the job; see `find_job`.
        downstream: also what follows from the result in the same partition and is not there yet.
        force: also where the result is there already.

    Raises:
        CommandFailed: there is no such job, it is under way, its result is there, or its assets are no longer declared.
        WorkflowFailed: it was waited for, and did not end well.
    """
    ledger = open_control().ledger
    job = require_ended(ledger, find_job(ledger, text), force=force)
    collects = is_uncollected(ledger, job)
    with workflow.open_instance() as instance:
        graph = workflow.load_repository().asset_graph
        keys = _choose_assets(instance, graph, job, collects=collects)
        following = list_missing_after(instance, graph, keys[-1], job.partition)
        chosen = [*keys, *(following if downstream else ())]
        config = {} if collects else _read_config(instance, job)

        def launch(say: workflow.Say, show: workflow.Say) -> str:
            from adfml_assets.workflow import LAUNCHED_BY_TAG, launch_backfill

            backfill_id = launch_backfill(
                instance,
                graph,
                {key: [job.partition] for key in chosen},
                title=f"Retry of {job.submission_key}",
                tags={RETRY_TAG: job.submission_key, LAUNCHED_BY_TAG: name_user()},
                run_config=config,
            )
            names = ", ".join(key.to_user_string() for key in chosen)
            say(f"Backfill {backfill_id} materialises partition {job.partition} of: {names}")
            if following and not downstream:
                names = ", ".join(key.to_user_string() for key in following)
                say(f"Not there yet, and not in it (--downstream adds it): {names}")
            workflow.follow(instance, backfill_id, f"Retry of {job.submission_key}", wait=wait, say=say, show=show)
            return backfill_id

        what = "collect the result of" if collects else "submit a new attempt of"
        confirm(f"{what.capitalize()} {job.submission_key} ({_say_end(job)})?", yes=yes)
        workflow.tell_launch(launch, as_json=as_json)


def require_ended(ledger: Ledger, job: RemoteJob, *, force: bool) -> RemoteJob:
    """The latest attempt of a job's partition, once it is certain that another one has sense.

    Raises:
        CommandFailed: one is under way, or the result is there and `force` is not given.
    """
    group = ledger.list_group(job.collecting_asset, job.partition)
    for one in group:
        if one.outstanding:
            raise CommandFailed(
                f"{one.submission_key} is under way ({one.url or one.state}): wait for it, or cancel it first: adfml "
                f"jobs cancel '{one.submission_key}'."
            )
    latest = group[-1]
    if latest.collected_at is not None and not force:
        raise CommandFailed(
            f"{latest.submission_key} has succeeded, and its result was collected by run {latest.collected_by}: there "
            "is nothing to retry. --force does it, and pays for it, again."
        )
    return latest


def is_uncollected(ledger: Ledger, job: RemoteJob) -> bool:
    """Whether all that a job's result is made of has succeeded, and nobody has collected it."""
    from resources.ledger_rows import list_tips

    group = ledger.list_group(job.collecting_asset, job.partition)
    return all(one.state == "succeeded" and one.collected_at is None for one in list_tips(group))


def list_missing_after(
    instance: dg.DagsterInstance, graph: BaseAssetGraph, key: dg.AssetKey, partition: str
) -> list[dg.AssetKey]:
    """What follows from an asset in the same partition and is not materialised, in the order of dependencies."""
    wanted = graph.get(key).partitions_def
    found: set[dg.AssetKey] = set()
    todo = [key]
    while todo:
        for child in graph.get(todo.pop()).child_keys:
            same = graph.get(child).is_materializable and graph.get(child).partitions_def == wanted
            if same and child not in found and partition not in instance.get_materialized_partitions(child):
                found.add(child)
                todo.append(child)
    return [one for one in graph.toposorted_asset_keys if one in found]


def _choose_assets(
    instance: dg.DagsterInstance, graph: BaseAssetGraph, job: RemoteJob, *, collects: bool
) -> list[dg.AssetKey]:
    """The assets to be materialised, the collecting one last.

    Raises:
        CommandFailed: they are no longer declared, or their partition is none any more.
    """
    import dagster as dg

    names = [job.collecting_asset] if collects else [job.asset, job.collecting_asset]
    keys = [dg.AssetKey.from_user_string(name) for name in names]
    for key in keys:
        if not graph.has(key) or not graph.get(key).is_materializable:
            raise CommandFailed(
                f"{key.to_user_string()} is no longer declared by this deployment: nothing can submit "
                f"{job.submission_key} again, or collect its result."
            )
        require_partition(instance, graph, key, job.partition)
    return keys


def _read_config(instance: dg.DagsterInstance, job: RemoteJob) -> Mapping[str, Any]:
    """The run config of the run that submitted a job: its parameters hold for the new attempt, too."""
    run = instance.get_run_by_id(job.run_id)
    return {"ops": run.run_config["ops"]} if run is not None and "ops" in run.run_config else {}


def _say_end(job: RemoteJob) -> str:
    said = (job.message or "").strip().splitlines()
    return f"{job.state}{f': {said[0]}' if said else ''}"
