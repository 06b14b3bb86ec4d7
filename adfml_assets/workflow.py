"""The end-to-end workflow as a backfill: what is missing of a day and a model version, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Literal

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.utils import make_new_backfill_id

from adfml_assets.errors import InvalidMode

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

Mode = Literal["train", "score"]
WORKFLOW_TAG = "adfml/workflow"
MODE_TAG = "adfml/mode"


def parse_mode(mode: str) -> Mode:
    """`train` or `score`.

    Raises:
        InvalidMode: it is neither.
    """
    if mode == "train":
        return "train"
    if mode == "score":
        return "score"
    raise InvalidMode(mode)


def choose_partitions(
    asset_graph: BaseAssetGraph, assets: Set[dg.AssetKey], *, day: str, version: str
) -> dict[dg.AssetKey, str]:
    """Each asset's partition: the day for daily ones, the version for those of a model."""
    chosen = {}
    for key in assets:
        definition = asset_graph.get(key).partitions_def
        chosen[key] = version if isinstance(definition, dg.DynamicPartitionsDefinition) else day
    return chosen


def find_missing(
    instance: dg.DagsterInstance, asset_graph: BaseAssetGraph, partitions: Mapping[dg.AssetKey, str], *, refresh: bool
) -> dict[dg.AssetKey, str]:
    """The partitions to be materialised: those that are not, and whatever depends on them; all of them to refresh.

    Of a remote job's two assets the collecting one decides: a job whose result is not there yet is submitted again,
    or taken up where it is under way; the ledger knows.
    """
    missing: dict[dg.AssetKey, str] = {}
    for key in asset_graph.toposorted_asset_keys:
        if key not in partitions:
            continue
        done = partitions[key] in instance.get_materialized_partitions(key)
        if refresh or not done or any(parent in missing for parent in asset_graph.get(key).parent_keys):
            missing[key] = partitions[key]
    for key in list(missing):
        for parent in asset_graph.get(key).parent_keys & partitions.keys():
            if parent.path[-1] == f"{key.path[-1]}_job":
                missing[parent] = partitions[parent]
    return missing


def launch_backfill(
    instance: dg.DagsterInstance,
    asset_graph: BaseAssetGraph,
    partitions: Mapping[dg.AssetKey, Sequence[str]],
    *,
    title: str,
    tags: Mapping[str, str],
) -> str:
    """Hand partitions to Dagster's daemon as one backfill, in the order of their dependencies. Returns its id."""
    subsets = {}
    for key, wanted in partitions.items():
        definition = asset_graph.get(key).partitions_def
        if isinstance(definition, dg.DynamicPartitionsDefinition) and definition.name:
            instance.add_dynamic_partitions(definition.name, list(wanted))
        if definition is not None:
            subsets[key] = definition.subset_with_partition_keys(wanted)
    backfill = PartitionBackfill.from_asset_graph_subset(
        backfill_id=make_new_backfill_id(),
        backfill_timestamp=time.time(),
        tags=dict(tags),
        dynamic_partitions_store=instance,
        # mypy does not see the defaults behind the decorator of this named tuple.
        asset_graph_subset=AssetGraphSubset(subsets),  # type: ignore[call-arg]
        title=title,
        description=None,
        run_config=None,
    )
    instance.add_backfill(backfill)
    return backfill.backfill_id
