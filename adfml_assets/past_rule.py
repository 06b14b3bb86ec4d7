"""Assets that hold what there was on their day: what becomes of a past one. The one rule of backfills and catch-up."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import dagster as dg

from adfml_assets.archive.partitions_in_lake import list_increments, list_snapshots
from adfml_assets.archive.tables import SourceTable
from adfml_assets.past_days import TODAY_ONLY, PastDay, PastRule
from resources.settings import database_setting
from sensors.tags import PAST_TAG

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

    from resources.intervals import Intervals
    from resources.lake import Lake


def build_past_rule(
    graph: BaseAssetGraph, lake: Lake, intervals: Intervals, may_keep_past: Callable[[str], bool]
) -> PastRule:
    """The rule, by what the lake and the recorded intervals say now. No source is asked.

    Args:
        intervals: of the control database; those that are kept in a source are known by what they left in the lake.
        may_keep_past: whether a database may be of a kind whose tables can keep their past.
    """

    @cache
    def find_source(key: dg.AssetKey) -> SourceTable:
        return find_archived_table(graph, key)

    @cache
    def list_taken(key: dg.AssetKey) -> frozenset[str]:
        return frozenset(one.day for one in list_snapshots(lake, find_source(key)))

    @cache
    def list_recorded(key: dg.AssetKey) -> frozenset[str]:
        extracted = {one.day for one in list_increments(lake, find_source(key))}
        return frozenset(extracted | {one.partition for one in intervals.list_all(find_source(key).full_name)})

    def judge(key: dg.AssetKey, day: str) -> PastDay | None:
        tag = graph.get(key).tags.get(PAST_TAG)
        if tag is None:
            return None
        if tag == TODAY_ONLY:
            if day in list_taken(key):
                return PastDay(
                    "kept", "its snapshot is in the lake, and stays as it is: a past day is never copied anew"
                )
            if may_keep_past(find_source(key).database):
                why = "only a table that keeps its past itself (FOR SYSTEM_TIME) has a snapshot of a past day"
                return PastDay("asked", why)
            return PastDay("gone", "no snapshot was taken that day, and the rows are no longer what they were")
        if key.path[0] == "incremental":
            if day in list_recorded(key):
                return PastDay("kept", "reads its recorded interval again")
            return PastDay("gone", "no interval was recorded that day; its rows are in the next one that was")
        return PastDay("asked", "has only what was read on the day; what still waits is taken by the next day made")

    return judge


def find_archived_table(graph: BaseAssetGraph, key: dg.AssetKey) -> SourceTable:
    """The table that an asset archives."""
    return SourceTable(*str(graph.get(key).metadata["source"]).split(".", 2))


def may_keep_past(database: str) -> bool:
    """Whether a database may be SQL Server, whose tables can keep their past; where its address is kept in a Key Vault
    nothing here knows, and it may."""
    address = database_setting(database).read_given()
    return not address or address.startswith("mssql")
