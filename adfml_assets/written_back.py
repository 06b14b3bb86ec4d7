"""The asset of a SQL table that a partition's result is written to."""

from collections.abc import Callable, Mapping
from typing import Any

import dagster as dg

from adfml_assets.archived_partitions import require_partition
from adfml_assets.failures import tell_failures
from resources.database import Databases
from resources.lake import Lake
from resources.manifest import Manifest

Write = Callable[[Lake, Databases, str, Manifest], Mapping[str, Any]]
"""Writes a partition, given by its folder and manifest, and returns what the UI shows of that."""


def build_written_back(
    key: dg.AssetKey, result: dg.AssetKey, build_folder: Callable[[str], str], write: Write, options: dict[str, Any]
) -> dg.AssetsDefinition:
    """The table as an asset; its run fails where the day has no result yet.

    Args:
        key: of the table.
        result: the asset whose partitions are written.
        build_folder: from a day to the folder of its result.
        options: the keyword arguments of `dg.asset` that say what it is.
    """

    @dg.asset(key=key, deps=[result], **options)
    @tell_failures
    def written_back(context: dg.AssetExecutionContext, lake: Lake, databases: Databases) -> dg.MaterializeResult[None]:
        day = context.partition_key
        folder, manifest = require_partition(lake, build_folder(day), result.to_user_string(), day)
        return dg.MaterializeResult(metadata=dict(write(lake, databases, folder, manifest)))

    return written_back
