"""What of a past day can still be made so that it is true, and what cannot, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from sensors.tags import PAST_TAG, ROLE_TAG, SUBMITS
from sensors.waiting import PARTITION_TAG

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph, BaseAssetNode

COVERED = "covered"
TODAY_ONLY = "today-only"
COVERED_TAGS = {PAST_TAG: COVERED}
"""Tags of an asset whose missed day is covered by its next one."""

TODAY_ONLY_TAGS = {PAST_TAG: TODAY_ONLY}
"""Tags of an asset that holds what was there on its day: it can only be made on that day."""

_LOOKS = 8
"""How many assets are looked at in the lake at once: after an outage all tables miss the same days."""

_ACTIVE = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING, BulkActionStatus.FAILING]


@dataclass(frozen=True)
class PastDay:
    """What becomes of a past day of an asset that holds what there was on its day.

    Attributes:
        verdict: kept: what belongs to it is still known, and it can be made of that. asked: only making it tells. gone:
            it cannot be made.
        why: in words, without a full stop.
    """

    verdict: Literal["kept", "asked", "gone"]
    why: str


PastRule = Callable[[dg.AssetKey, str], PastDay | None]
"""What becomes of a past day of an asset; None: nothing is special about it, it is made of what it is made of."""


@dataclass(frozen=True)
class LeftOut:
    """A missed partition that is not made, and why."""

    key: dg.AssetKey
    day: str
    reason: str

    def describe(self) -> str:
        """In one line."""
        return f"{self.key.to_user_string()} {self.day}: {self.reason}"


@dataclass
class Missed:
    """What is missing of a day.

    Attributes:
        day: UTC, YYYY-MM-DD.
        makeable: what can be made so that it is true, in the order of its dependencies.
        left_out: what cannot, or must not now.
    """

    day: str
    makeable: list[dg.AssetKey] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def find_missed(
    instance: dg.DagsterInstance,
    asset_graph: BaseAssetGraph,
    selected: Set[dg.AssetKey],
    days: Sequence[str],
    rule: PastRule,
) -> list[Missed]:
    """What is missing of past days of assets, day by day.

    What the rule says is gone is not made, and neither is what only making it would tell: nobody is there to look. An
    asset's day can be made where all days it is made of are there, or can be made. Assets without days, models
    among them, stand in nobody's way: their newest state counts.
    """
    keys = [key for key in asset_graph.toposorted_asset_keys if key in selected and _has_days(asset_graph.get(key))]
    sources = {key: _list_sources(asset_graph, key) for key in keys}
    asked = {*keys, *(source for found in sources.values() for source in found)}
    done = {key: set(instance.get_materialized_partitions(key)) for key in asked}
    past = _ask_rule(asset_graph, keys, days, done, rule)
    found = []
    for day in days:
        missed = Missed(day)
        _judge(asset_graph, missed, keys, sources, done, past)
        if missed.makeable:
            _leave_to_others(missed, find_under_way(instance, asset_graph, day))
        found.append(missed)
    return found


def find_under_way(instance: dg.DagsterInstance, asset_graph: BaseAssetGraph, day: str) -> set[dg.AssetKey]:
    """The assets whose day is being made: by a run that has not ended, waiting ones included, or by a backfill."""
    filters = dg.RunsFilter(statuses=NOT_FINISHED_STATUSES, tags={PARTITION_TAG: day})
    found = {key for run in instance.get_runs(filters) for key in run.asset_selection or ()}
    for backfill in instance.get_backfills(filters=BulkActionsFilter(statuses=_ACTIVE)):
        if not backfill.is_asset_backfill:
            continue
        target = backfill.get_asset_backfill_data(asset_graph).target_subset
        found |= {key for key, subset in target.partitions_subsets_by_asset_key.items() if day in subset}
    return found


def _ask_rule(
    asset_graph: BaseAssetGraph,
    keys: Sequence[dg.AssetKey],
    days: Sequence[str],
    done: Mapping[dg.AssetKey, Set[str]],
    rule: PastRule,
) -> dict[tuple[dg.AssetKey, str], PastDay | None]:
    """What the rule says of the days that are missing of assets which hold what there was on their day."""

    def ask(key: dg.AssetKey) -> list[tuple[tuple[dg.AssetKey, str], PastDay | None]]:
        return [((key, day), rule(key, day)) for day in days if day not in done[key]]

    special = [key for key in keys if PAST_TAG in asset_graph.get(key).tags and set(days) - done[key]]
    with ThreadPoolExecutor(_LOOKS, thread_name_prefix="past-days") as pool:
        return {name: said for found in pool.map(ask, special) for name, said in found}


def _judge(
    asset_graph: BaseAssetGraph,
    missed: Missed,
    keys: Iterable[dg.AssetKey],
    sources: Mapping[dg.AssetKey, Sequence[dg.AssetKey]],
    done: Mapping[dg.AssetKey, Set[str]],
    past: Mapping[tuple[dg.AssetKey, str], PastDay | None],
) -> None:
    day, made = missed.day, set(missed.makeable)
    for key in keys:
        node = asset_graph.get(key)
        if node.partitions_def is None or not node.partitions_def.has_partition_key(day):
            continue
        anew = made.intersection(sources[key])
        if node.tags.get(ROLE_TAG) == SUBMITS or (day in done[key] and not anew):
            continue  # of a job's two assets the collecting one decides
        if PAST_TAG in node.tags:
            said = past.get((key, day))
            if said is not None and said.verdict == "kept":
                made.add(key)
                missed.makeable.append(key)
            elif said is not None:
                missed.left_out.append(LeftOut(key, day, said.why))
            continue
        absent = [source for source in sources[key] if source not in made and day not in done[source]]
        if absent:
            names = ", ".join(source.to_user_string() for source in absent)
            missed.left_out.append(LeftOut(key, day, f"needs {names} of that day"))
            continue
        made.add(key)
        missed.makeable += [*(p for p in node.parent_keys if _submits(asset_graph, p)), key]


def _leave_to_others(missed: Missed, under_way: Set[dg.AssetKey]) -> None:
    """A day of which something is being made is left alone whole: what follows may come by itself."""
    if under_way & set(missed.makeable):
        missed.left_out += [LeftOut(key, missed.day, "is under way") for key in missed.makeable]
        missed.makeable = []


def _list_sources(asset_graph: BaseAssetGraph, key: dg.AssetKey) -> list[dg.AssetKey]:
    """The assets with days that one is made of; of a job that submits, what it is made of."""
    found: set[dg.AssetKey] = set()
    for parent in asset_graph.get(key).parent_keys:
        if _submits(asset_graph, parent):
            found.update(_list_sources(asset_graph, parent))
        elif asset_graph.has(parent) and _has_days(asset_graph.get(parent)):
            found.add(parent)
    return sorted(found)


def _submits(asset_graph: BaseAssetGraph, key: dg.AssetKey) -> bool:
    return asset_graph.has(key) and asset_graph.get(key).tags.get(ROLE_TAG) == SUBMITS


def _has_days(node: BaseAssetNode) -> bool:
    return node.is_materializable and isinstance(node.partitions_def, dg.TimeWindowPartitionsDefinition)
