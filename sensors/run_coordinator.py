"""The run coordinator that lets runs wait for remote jobs in Dagster's own queue. Named in dagster.yaml."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dagster import AssetKey, DagsterError
from dagster._core.run_coordinator.base import SubmitRunContext
from dagster._core.run_coordinator.queued_run_coordinator import QueuedRunCoordinator
from dagster._core.storage.dagster_run import DagsterRun, DagsterRunStatus

from sensors.tags import COLLECTS, REMOTE_JOB_TAG, ROLE_TAG, SUBMITS, WAITING

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.remote_asset_graph import RemoteAssetGraph

BACKFILLS_WAIT = "DAGSTER_BACKFILL_RETRY_DEFINITION_CHANGED_ERROR"
"""Dagster's own setting of its daemon: backfills wait for a code location that is not there for the moment."""


class HoldingRunCoordinator(QueuedRunCoordinator):
    """Dagster's queue, with one addition: a run that only collects a remote job's result is queued as waiting.

    The tag concurrency limit of 0 on `adfml/remote_job: waiting` keeps it there, without a process, until the sensor
    changes the tag. Dagster's own subclassing point is used (`submit_run`); when Dagster's suspended runs arrive, this
    class is what they replace.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        # A code location that restarts, or is replaced by a new version, is gone for some seconds: with this set where
        # the daemon runs, backfills wait for it; without it those under way fail. Every daemon builds this class.
        os.environ.setdefault(BACKFILLS_WAIT, "1")

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Queue a run; tag it as waiting first where it collects what another run submitted."""
        run = context.dagster_run
        if run.status == DagsterRunStatus.NOT_STARTED and self._waits(context):
            self._instance.add_run_tags(run.run_id, {REMOTE_JOB_TAG: WAITING})
        return super().submit_run(context)

    def _waits(self, context: SubmitRunContext) -> bool:
        try:
            return collects_only(context.dagster_run, context.workspace.asset_graph)
        except DagsterError as error:
            # Without the asset graph the run goes ahead: its assets notice that they came too early.
            self._logger.warning("Run %s cannot be held for its remote job: %s", context.dagster_run.run_id, error)
            return False


def collects_only(run: DagsterRun, asset_graph: RemoteAssetGraph) -> bool:
    """Whether a run selects an asset that collects a remote job's result, but not the asset that submits the job."""
    selected = run.asset_selection or frozenset()
    for key in selected:
        if not asset_graph.has(key) or asset_graph.get(key).tags.get(ROLE_TAG) != COLLECTS:
            continue
        submitting = {p for p in asset_graph.get(key).parent_keys if _submits(asset_graph, p)}
        if not submitting & selected:
            return True
    return False


def _submits(asset_graph: RemoteAssetGraph, key: AssetKey) -> bool:
    return asset_graph.has(key) and asset_graph.get(key).tags.get(ROLE_TAG) == SUBMITS
