"""The current state of a table as of a day, put together from full snapshots and incremental extracts (`compact`).

The newest full snapshot up to the day is the base; on it come the extracts that were read after it. Of every key the
row with the largest watermark wins, extracts over the snapshot where they are equal. Extracts from before the snapshot
do not count: what of them still existed is in it, and the rest was deleted. Deletes after the last snapshot are known
to nobody.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from adfml_assets import lake_layout
from adfml_assets.archive.partitions_in_lake import TablePartition, list_increments, list_snapshots
from adfml_assets.archive.tables import SourceTable, TableRules
from adfml_assets.duckdb_sql import build_scan, quote
from adfml_assets.errors import NoKey, NothingArchived, WatermarkMissing
from adfml_assets.origins import build_facts, map_personal
from resources.claims import Claim
from resources.lake import Lake
from resources.manifest import Manifest, build_manifest, list_data_paths

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MEMORY = "512MB"


@dataclass(frozen=True)
class Sources:
    """What a table's state is put together from.

    Attributes:
        snapshot: the newest one up to the day; None: there is none, all extracts up to the day count.
        increments: the extracts that were read after the snapshot.
        manifests: of the snapshot, where there is one, and of the extracts, in that order.
    """

    snapshot: TablePartition | None
    increments: tuple[TablePartition, ...]
    manifests: tuple[Manifest, ...]


def find_sources(lake: Lake, source: SourceTable, day: str) -> Sources:
    """The snapshot and the extracts that a table's state as of a day is made of.

    Raises:
        NothingArchived: there is neither up to that day.
    """
    snapshots = [found for found in list_snapshots(lake, source) if found.day <= day]
    increments = [found for found in list_increments(lake, source) if found.day <= day]
    if not snapshots and not increments:
        raise NothingArchived(source.full_name, day)
    base = (snapshots[-1], snapshots[-1].read(lake)) if snapshots else None
    later = [(part, part.read(lake)) for part in increments]
    if base is not None:
        later = [(part, manifest) for part, manifest in later if _read_at(manifest) > _read_at(base[1])]
    found = [*([base] if base else []), *later]
    return Sources(base[0] if base else None, tuple(part for part, _ in later), tuple(m for _, m in found))


def _read_at(manifest: Manifest) -> datetime:
    """When a partition's rows were read, by the source's clock: a retry may have come long after the run began."""
    stated = manifest.source.get("snapshot", {}).get("taken_at")
    return datetime.fromisoformat(stated) if stated else manifest.written_at


def build_current(
    lake: Lake,
    source: SourceTable,
    rules: TableRules,
    day: str,
    claim: Claim,
    *,
    now: datetime,
    run_id: str,
) -> tuple[str, Manifest]:
    """Write a table's state as of the end of a day's archives. Folder and manifest, not yet committed.

    Raises:
        NothingArchived: nothing was archived up to that day.
        NoKey: the table has no primary key, so that rows cannot be told apart.
        WatermarkMissing: the rules name no watermark.
    """
    if rules.watermark is None:
        raise WatermarkMissing(source.full_name)
    found = find_sources(lake, source, day)
    key = found.manifests[-1].facts.get("primary_key")
    if not key:
        raise NoKey(source.full_name)
    folder = lake_layout.current_folder(source.database, source.schema, source.table, day)
    path = f"{folder}/{lake_layout.snapshot_file(source.table, claim.stamp)}"
    with ExitStack() as stack, open_duckdb() as connection:
        paths = open_parts(lake, found, stack)
        query = build_newest_query(paths, key, rules.watermark.column)
        reader = connection.execute(query).to_arrow_reader(100_000)
        with lake.write_parquet(path, reader.schema) as sink:
            for batch in reader:
                sink.write(batch)
    assert sink.written is not None  # noqa: S101 - set when the block ended without an exception
    manifest = build_manifest(
        asset=claim.asset,
        partition=day,
        files=[sink.written],
        schema=sink.schema,
        written_at=now,
        run_id=run_id,
        source={"database": source.database, "schema": source.schema, "table": source.table},
        facts={
            **build_facts(_find_origins(found, sink.schema.names), map_personal(found.manifests), sink.schema.names),
            "primary_key": key,
            "watermark": rules.watermark.column,
            "snapshot": found.snapshot.day if found.snapshot else None,
            "increments": [part.day for part in found.increments],
        },
    )
    return folder, manifest


def _find_origins(found: Sources, columns: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """Each column is those of the same name in the snapshot and the extracts."""
    parts = {manifest.asset: {column.name for column in manifest.columns} for manifest in found.manifests}
    return {name: [(asset, name) for asset, names in parts.items() if name in names] for name in columns}


@contextmanager
def open_duckdb() -> Iterator[DuckDBPyConnection]:
    """A DuckDB of its own with bounded memory; what does not fit goes to a temporary folder that is removed again."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="adfml-") as folder, duckdb.connect() as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute("SET temp_directory = $folder", {"folder": folder})
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def open_parts(lake: Lake, found: Sources, stack: ExitStack) -> list[list[str]]:
    """Local paths of the files of every part, the snapshot's first."""
    parts = [*([found.snapshot] if found.snapshot else []), *found.increments]
    return [
        [str(stack.enter_context(lake.local_copy(path))) for path in list_data_paths(part.folder, manifest)]
        for part, manifest in zip(parts, found.manifests, strict=True)
    ]


def build_newest_query(parts: Sequence[Sequence[str]], key: Sequence[str], watermark: str) -> str:
    """The newest row of every key over all parts, later parts before earlier ones where watermarks are equal."""
    keys = ", ".join(quote(name) for name in key)
    selects = [f"SELECT *, {rank} AS _rank FROM {build_scan(paths)}" for rank, paths in enumerate(parts)]  # noqa: S608
    return (
        f"SELECT * EXCLUDE (_rank) FROM ({' UNION ALL BY NAME '.join(selects)}) "  # noqa: S608
        f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {quote(watermark)} DESC NULLS LAST, _rank DESC) = 1 "
        f"ORDER BY {keys}"
    )
