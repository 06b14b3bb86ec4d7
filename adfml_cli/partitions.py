"""Whether an asset has a partition: a day, or a version that was added."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adfml_cli.errors import CommandFailed

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph


def require_partition(instance: dg.DagsterInstance, graph: BaseAssetGraph, key: dg.AssetKey, partition: str) -> None:
    """Make sure that an asset has a partition.

    Raises:
        CommandFailed: it has not; says which it has.
    """
    import dagster as dg

    definition = graph.get(key).partitions_def
    if isinstance(definition, dg.DynamicPartitionsDefinition):
        known = instance.get_dynamic_partitions(definition.name or "")
        expected = f"one of {', '.join(known)}" if known else "a version, and none was added yet"
        there = partition in known
    elif isinstance(definition, dg.TimeWindowPartitionsDefinition):
        first, last = definition.get_first_partition_key(), definition.get_last_partition_key()
        expected = f"a day from {first} (ADFML_FIRST_DAY) to {last} (today, UTC)"
        there = definition.has_partition_key(partition)
    else:
        expected, there = "none: it has no partitions", False
    if not there:
        raise CommandFailed(f"{key.to_user_string()} has no partition {partition!r}: expected {expected}.")
