"""What cannot be repeated of a day, or only in its own way: snapshots, increments, jobs that cost money."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import dagster as dg

from adfml_assets.archive.partitions_in_lake import list_increments, list_snapshots
from adfml_assets.backfill_preview import Judged, Outcome, Rule
from adfml_assets.past_days import PastRule
from adfml_assets.past_rule import find_archived_table
from sensors.tags import ROLE_TAG, SUBMITS

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

    from resources.lake import Lake
    from resources.ledger import Ledger
    from resources.remote_jobs import RemoteJob

PAID = {
    "openai": "pays for its rows without an answer; those that have one are not asked again",
    "databricks": "submits a job on Databricks",
    "azureml": "submits a job on Azure ML",
}
"""By the kind of an asset that submits: what materialising it costs."""


def build_rules(
    graph: BaseAssetGraph,
    lake: Lake,
    ledger: Ledger,
    past: PastRule,
    today: str,
) -> Mapping[str, Rule]:
    """The rules of this deployment, by the first part of an asset's key.

    Args:
        past: of assets that hold what there was on their day; the catch-up goes by it, too.
        today: UTC.
    """

    @cache
    def list_days(key: dg.AssetKey) -> frozenset[str]:
        list_all = list_snapshots if key.path[0] == "archive" else list_increments
        return frozenset(one.day for one in list_all(lake, find_archived_table(graph, key)))

    def judge_past(key: dg.AssetKey, day: str, done: bool) -> Judged | None:
        said = past(key, day) if day != today else None
        if said is None:
            return None
        if said.verdict == "kept":
            # A snapshot that is known to Dagster, too, has nothing more to give; an interval is read again.
            again: Outcome = "there" if key.path[0] == "archive" else "again"
            return Judged(again if done else "make", said.why)
        return Judged("try" if said.verdict == "asked" else "impossible", said.why)

    def judge_snapshot(key: dg.AssetKey, day: str, done: bool) -> Judged | None:
        if day == today:
            return Judged("again", "a snapshot of now takes the place of today's") if done else None
        return judge_past(key, day, done)

    def judge_current(key: dg.AssetKey, day: str, done: bool) -> Judged | None:
        archives = [one for one in graph.get(key).parent_keys if one.path[0] in ("archive", "incremental")]
        if day == today or any(found <= day for one in archives for found in list_days(one)):
            return Judged("again" if done else "make", settled=True)
        return Judged("impossible", "neither a snapshot nor an extract up to that day is in the lake")

    def judge_job(key: dg.AssetKey, day: str, done: bool) -> Judged | None:
        if graph.get(key).tags.get(ROLE_TAG) != SUBMITS:
            return judge_past(key, day, done)
        latest = _find_latest(graph, ledger, key, day)
        outcome: Outcome = "again" if done else "make"
        if latest is not None and latest.outstanding:
            return Judged(outcome, "its job is under way: it is taken up, and not paid for twice")
        if latest is not None and latest.state == "succeeded" and latest.collected_at is None:
            return Judged(
                outcome, "its job has succeeded and was not collected: it is taken up, and not paid for twice"
            )
        costs = next((text for kind, text in PAID.items() if kind in graph.get(key).kinds), "submits a remote job")
        return Judged(outcome, costs)

    return {
        "archive": judge_snapshot,
        "incremental": judge_past,
        "current": judge_current,
        "ml": judge_job,
        "feature_store": judge_job,
        "database": judge_past,
    }


def _find_latest(graph: BaseAssetGraph, ledger: Ledger, key: dg.AssetKey, day: str) -> RemoteJob | None:
    found = (ledger.find_latest(one.to_user_string(), day) for one in graph.get(key).child_keys)
    return next((job for job in found if job is not None and job.asset == key.to_user_string()), None)
