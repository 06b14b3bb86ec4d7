"""Proving what is in the lake: files against their manifests, and recent extracts against the source.

No Dagster here; `archive_checks` makes asset checks of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from adfml_assets.archive.copying import build_query
from adfml_assets.archive.partitions_in_lake import TablePartition
from adfml_assets.archive.tables import SourceTable, TableRules
from adfml_assets.errors import WatermarkMissing
from resources.errors import ResourceError
from resources.intervals import Interval
from resources.lake import Lake
from resources.manifest import list_data_paths

if TYPE_CHECKING:
    from resources.servers.base import Snapshot

RECENT_INTERVALS = 7
"""How many of a table's latest intervals are counted again at the source."""


def find_unreadable(lake: Lake, partition: TablePartition) -> list[str]:
    """What is wrong with a partition's files, a line each: missing, of another size or hash, no Parquet. Reads all."""
    problems = []
    try:
        manifest = partition.read(lake)
    except (FileNotFoundError, ResourceError) as error:
        return [f"{partition.folder}: {error}"]
    for path, expected in zip(list_data_paths(partition.folder, manifest), manifest.files, strict=True):
        try:
            found = lake.describe_file(path)
        except (ResourceError, OSError, ValueError) as error:
            problems.append(f"{path}: {error}")
            continue
        if (found.rows, found.bytes, found.sha256) != (expected.rows, expected.bytes, expected.sha256):
            problems.append(
                f"{path}: {found.rows} rows, {found.bytes} bytes, sha256 {found.sha256[:12]}...; the manifest says "
                f"{expected.rows} rows, {expected.bytes} bytes, {expected.sha256[:12]}..."
            )
    return problems


@dataclass(frozen=True)
class Recount:
    """Rows of an interval that the source has now, and that its partition has."""

    interval: Interval
    at_source: int
    archived: int


def recount_intervals(
    lake: Lake,
    snapshot: Snapshot,
    source: SourceTable,
    rules: TableRules,
    intervals: Sequence[Interval],
    folders: Mapping[str, TablePartition],
) -> list[Recount]:
    """Count the latest intervals again at the source. More rows than archived came late: their partitions lack them.

    Fewer are no fault: rows that were changed since have moved on to a later interval.
    """
    if rules.watermark is None:
        raise WatermarkMissing(source.full_name)
    query = replace(build_query(snapshot, source, rules), watermark=rules.watermark)
    found = []
    for interval in intervals[-RECENT_INTERVALS:]:
        partition = folders.get(interval.partition)
        if partition is None:
            continue
        rows = snapshot.count(replace(query, lower=interval.lower, upper=interval.upper))
        found.append(Recount(interval, rows, partition.read(lake).rows))
    return found
