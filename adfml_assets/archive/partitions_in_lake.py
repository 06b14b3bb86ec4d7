"""The partitions of a table that are in the lake, found by one listing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from adfml_assets import lake_layout
from adfml_assets.archive.tables import SourceTable
from adfml_assets.origins import list_personal
from resources.lake import Lake
from resources.manifest import FILE_NAME, Manifest, read_manifest


@dataclass(frozen=True)
class TablePartition:
    """A partition of a table in the lake: its day and its folder."""

    day: str
    folder: str

    def read(self, lake: Lake) -> Manifest:
        """Its manifest.

        Raises:
            FileNotFoundError: it was removed since it was listed.
            Corrupt: it cannot be read.
        """
        manifest = read_manifest(lake, self.folder)
        if manifest is None:
            raise FileNotFoundError(self.folder)
        return manifest


def list_snapshots(lake: Lake, source: SourceTable) -> list[TablePartition]:
    """All full snapshots of a table, by day."""
    folder = lake_layout.table_folder(source.database, source.schema, source.table)
    return _list_partitions(lake, folder, lambda rest: rest.removeprefix("snapshot_date="))


def list_increments(lake: Lake, source: SourceTable) -> list[TablePartition]:
    """All incremental extracts of a table, by day."""
    folder = lake_layout.increments_folder(source.database, source.schema, source.table)
    return _list_partitions(lake, folder, lambda rest: rest.replace("/", "-"))


def find_personal_columns(lake: Lake, source: SourceTable) -> list[str]:
    """The columns of a table that its newest archived partition says are personal data; none where none is archived.

    For whoever reads the live table: what is declared of it is known by its archive.
    """
    for listed in (list_snapshots(lake, source), list_increments(lake, source)):
        if listed:
            manifest = read_manifest(lake, listed[-1].folder)
            return list_personal(manifest) if manifest is not None else []
    return []


def _list_partitions(lake: Lake, folder: str, to_day: Callable[[str], str]) -> list[TablePartition]:
    found = []
    for path in lake.list_files(folder):
        if path.endswith(f"/{FILE_NAME}"):
            partition = path.removesuffix(f"/{FILE_NAME}")
            found.append(TablePartition(to_day(partition.removeprefix(f"{folder}/")), partition))
    return sorted(found, key=lambda partition: partition.day)
