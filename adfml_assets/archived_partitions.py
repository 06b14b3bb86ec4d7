"""Finding the archived partitions that an expression reads."""

from __future__ import annotations

from collections.abc import Mapping

from adfml_assets import lake_layout
from adfml_assets.asset_keys import archive_key, parse_table
from adfml_assets.errors import AdfmlError
from resources.lake import Lake
from resources.manifest import Manifest, read_manifest


class PartitionMissing(AdfmlError):
    """A partition that is needed is not in the lake."""

    def __init__(self, asset: str, partition: str) -> None:
        self.asset = asset
        self.partition = partition
        super().__init__(f"{asset} has no partition {partition} in the lake. Materialise it first.")


def parse_reference(reference: str) -> tuple[str, str, str]:
    """(database, schema, table) of `database.schema.table`."""
    database, _, rest = reference.partition(".")
    return (database, *parse_table(rest or reference))


def find_archived(lake: Lake, references: Mapping[str, str], day: str) -> dict[str, tuple[str, Manifest]]:
    """Folder and manifest of each table's snapshot of a day.

    Args:
        references: name -> `database.schema.table`.

    Raises:
        PartitionMissing: a table has no snapshot of that day.
    """
    found = {}
    for name, reference in references.items():
        folder = lake_layout.archive_folder(*parse_reference(reference), day)
        found[name] = require_partition(lake, folder, archive_key(*parse_reference(reference)).to_user_string(), day)
    return found


def require_partition(lake: Lake, folder: str, asset: str, partition: str) -> tuple[str, Manifest]:
    """Folder and manifest of a partition.

    Raises:
        PartitionMissing: nothing complete is there.
    """
    manifest = read_manifest(lake, folder)
    if manifest is None:
        raise PartitionMissing(asset, partition)
    return folder, manifest
