"""What a backfill over days would do, before it is launched: what is there, what is made, what cannot be, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import dagster as dg

from sensors.tags import COLLECTS, ROLE_TAG, SUBMITS

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

Outcome = Literal["there", "make", "again", "try", "impossible"]
"""there: left as it is. make: for the first time. again: anew. try: the source decides. impossible: not asked for."""

LAUNCHED: tuple[Outcome, ...] = ("make", "again", "try")


@dataclass(frozen=True)
class Judged:
    """One partition of an asset, and what a backfill would make of it.

    Attributes:
        why: in words, without a full stop; "": nothing to be said.
        settled: whether it can be made whatever becomes of what it is made of on that day.
    """

    outcome: Outcome
    why: str = ""
    settled: bool = False

    @property
    def launched(self) -> bool:
        """Whether the backfill asks for it."""
        return self.outcome in LAUNCHED


Rule = Callable[[dg.AssetKey, str, bool], Judged | None]
"""What is special about an asset's partition (asset, day, whether it is materialised); None: nothing."""


@dataclass(frozen=True)
class Preview:
    """What a backfill would do.

    Attributes:
        judged: asset -> day -> what would become of it, in the order of dependencies.
        left_out: assets that are selected and have no days, with why.
    """

    judged: Mapping[dg.AssetKey, Mapping[str, Judged]]
    left_out: Mapping[dg.AssetKey, str]

    @property
    def partitions(self) -> dict[dg.AssetKey, list[str]]:
        """What is launched."""
        chosen = {key: [day for day, one in days.items() if one.launched] for key, days in self.judged.items()}
        return {key: days for key, days in chosen.items() if days}

    def count(self, *outcomes: Outcome) -> int:
        """How many partitions have one of the outcomes."""
        return sum(one.outcome in outcomes for days in self.judged.values() for one in days.values())


def preview_backfill(
    instance: dg.DagsterInstance,
    graph: BaseAssetGraph,
    assets: Iterable[dg.AssetKey],
    days: Sequence[str],
    rules: Mapping[str, Rule],
    *,
    refresh: bool,
) -> Preview:
    """Judge every partition of a selection. Nothing is launched, and no source is asked.

    Args:
        days: each a partition of the daily assets.
        rules: by the first part of an asset's key (`archive`, `incremental`, ...): what is special about it.
        refresh: also what is there already is made again.
    """
    chosen = set(assets)
    judged: dict[dg.AssetKey, dict[str, Judged]] = {}
    left_out: dict[dg.AssetKey, str] = {}
    for key in (one for one in graph.toposorted_asset_keys if one in chosen):
        definition = graph.get(key).partitions_def
        if not graph.get(key).is_materializable:
            left_out[key] = "nothing here makes it"
        elif isinstance(definition, dg.DynamicPartitionsDefinition):
            left_out[key] = "its partitions are versions: adfml train makes them"
        elif not isinstance(definition, dg.TimeWindowPartitionsDefinition):
            left_out[key] = "it has no days"
        else:
            done = instance.get_materialized_partitions(key)
            rule = rules.get(key.path[0])
            outside = _list_missing_outside(instance, graph, key, chosen, days)
            judged[key] = {
                day: _judge(graph, key, day, judged, outside[day], done=day in done, rule=rule, refresh=refresh)
                for day in days
            }
    _pair_jobs(graph, judged)
    return Preview(judged, left_out)


def _list_missing_outside(
    instance: dg.DagsterInstance, graph: BaseAssetGraph, key: dg.AssetKey, chosen: set[dg.AssetKey], days: Sequence[str]
) -> dict[str, list[str]]:
    """Day -> what an asset is made of, is not selected, and was not materialised on that day."""
    missing: dict[str, list[str]] = {day: [] for day in days}
    for parent in sorted(graph.get(key).parent_keys - chosen):
        node = graph.get(parent)
        if node.is_materializable and isinstance(node.partitions_def, dg.TimeWindowPartitionsDefinition):
            done = instance.get_materialized_partitions(parent)
            for day in missing.keys() - done:
                missing[day].append(parent.to_user_string())
    return missing


def _judge(
    graph: BaseAssetGraph,
    key: dg.AssetKey,
    day: str,
    judged: Mapping[dg.AssetKey, Mapping[str, Judged]],
    outside: Sequence[str],
    *,
    done: bool,
    rule: Rule | None,
    refresh: bool,
) -> Judged:
    parents = {one: judged[one][day] for one in graph.get(key).parent_keys if one in judged}
    special = rule(key, day, done) if rule is not None else None
    if special is not None and (special.outcome == "impossible" or (special.outcome == "there" and done)):
        return special
    made = sorted(one.to_user_string() for one, found in parents.items() if found.launched)
    if done and not refresh and not made:
        return Judged("there")
    lacking = sorted(one.to_user_string() for one, found in parents.items() if found.outcome == "impossible")
    if lacking and not (special is not None and special.settled):
        return Judged("impossible", f"{', '.join(lacking)} of the day is not there and cannot be made")
    if outside and not (special is not None and special.settled):
        return Judged("try", f"{', '.join(outside)} of the day is not there, and not selected")
    if special is not None and special.why:
        return special
    if not done:
        return Judged("make")
    return Judged("again", "asked for by --refresh" if refresh else f"{', '.join(made)} is made")


def _pair_jobs(graph: BaseAssetGraph, judged: dict[dg.AssetKey, dict[str, Judged]]) -> None:
    """Of a remote job's two assets the collecting one decides: its job is submitted, or taken up, where it is made."""
    for key, days in judged.items():
        if graph.get(key).tags.get(ROLE_TAG) != COLLECTS:
            continue
        for parent in graph.get(key).parent_keys & judged.keys():
            if graph.get(parent).tags.get(ROLE_TAG) != SUBMITS:
                continue
            for day, one in days.items():
                if one.launched and judged[parent][day].outcome == "there":
                    judged[parent][day] = Judged("again", f"{key.to_user_string()} has no result of it")
