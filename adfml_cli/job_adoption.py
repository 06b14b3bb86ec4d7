"""`adfml jobs adopt`: a job that somebody started at a service becomes an asset's, and its result is collected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adfml_cli import workflow
from adfml_cli.errors import CommandFailed
from adfml_cli.jobs import open_control
from adfml_cli.partitions import require_partition
from adfml_cli.people import name_user

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

QUIET: dict[str, Any] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""Run config: the run's events are in Dagster's storage; on the terminal they would drown what the command says."""


def adopt_job(asset: str, partition: str, remote_id: str, *, wait: bool, as_json: bool) -> None:
    """Let the asset that would submit a job take up this one, in a run of this process, and launch what collects it.

    The run builds the request as it would for a job of its own, and compares the job at the service with it.

    Args:
        asset: the submitting or the collecting one.

    Raises:
        CommandFailed: there is no such asset or partition, or there is nothing to be done for it.
        NotAdopted: the job does not fit; every reason at once, and nothing was changed.
        NotFound, Unreachable, Refused: the service's word.
        WorkflowFailed: the result was waited for, and could not be collected.
    """
    with workflow.open_instance() as instance:
        repository = workflow.load_repository()
        graph = repository.asset_graph
        submits, collects = find_pair(graph, asset)
        require_partition(instance, graph, submits, partition)
        run = _run(instance, repository, submits, partition, remote_id)
        found = open_control().ledger.find_latest(collects.to_user_string(), partition)
        if found is None or found.run_id != run.run_id:
            raise CommandFailed(
                f"{submits.to_user_string()} has nothing to be done for partition {partition}: there is no result to "
                "collect, and no job was adopted."
            )

        def launch(say: workflow.Say, show: workflow.Say) -> str:
            from adfml_assets.workflow import LAUNCHED_BY_TAG, launch_backfill

            name = f"Collect {found.submission_key}, adopted"
            tags = {LAUNCHED_BY_TAG: name_user()}
            backfill_id = launch_backfill(instance, graph, {collects: [partition]}, title=name, tags=tags)
            say(f"{found.service} {remote_id} is {found.submission_key} in the ledger now.")
            say(f"Backfill {backfill_id} collects it: {collects.to_user_string()} {partition}")
            workflow.follow(instance, backfill_id, name, wait=wait, say=say, show=show)
            return backfill_id

        workflow.tell_launch(launch, as_json=as_json)


def find_pair(graph: BaseAssetGraph, asset: str) -> tuple[dg.AssetKey, dg.AssetKey]:
    """The asset that submits and the one that collects, by the name of either.

    Raises:
        CommandFailed: there is no such asset, or it has no remote job; names those that have.
    """
    import dagster as dg

    from sensors.tags import COLLECTS, ROLE_TAG, SUBMITS

    pairs: dict[dg.AssetKey, tuple[dg.AssetKey, dg.AssetKey]] = {}
    for key in graph.materializable_asset_keys:
        if graph.get(key).tags.get(ROLE_TAG) != COLLECTS:
            continue
        parents = [one for one in graph.get(key).parent_keys if graph.get(one).tags.get(ROLE_TAG) == SUBMITS]
        pairs |= {name: (parent, key) for parent in parents for name in (key, parent)}
    wanted = dg.AssetKey.from_user_string(asset)
    if wanted not in pairs:
        names = ", ".join(sorted({collects.to_user_string() for _, collects in pairs.values()})) or "none"
        raise CommandFailed(f"{asset!r} is no asset that collects a remote job's result; those are: {names}.")
    return pairs[wanted]


def _run(
    instance: dg.DagsterInstance,
    repository: dg.RepositoryDefinition,
    key: dg.AssetKey,
    partition: str,
    remote_id: str,
) -> dg.DagsterRun:
    import dagster as dg

    from adfml_assets.workflow import LAUNCHED_BY_TAG
    from sensors.tags import ADOPTS_TAG

    try:
        done = repository.get_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            partition_key=partition,
            asset_selection=[key],
            run_config=QUIET,
            tags={ADOPTS_TAG: remote_id, LAUNCHED_BY_TAG: name_user()},
        )
    except dg.Failure as error:
        raise CommandFailed(error.description or str(error)) from error
    return done.dagster_run
