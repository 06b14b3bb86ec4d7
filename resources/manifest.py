"""The manifest beside every partition in the lake: what it holds. Written last; readers take what it names."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from resources.errors import Corrupt
from resources.lake import Lake, WrittenFile

if TYPE_CHECKING:
    import pyarrow as pa

FILE_NAME = "_manifest.json"


class ManifestFile(BaseModel):
    """One data file of a partition; `name` is relative to the manifest's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    rows: int
    bytes: int
    sha256: str


class ManifestColumn(BaseModel):
    """One column: its name, Arrow type and the type it has at the source, where there is one."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    type: str
    source_type: str | None = None


class Manifest(BaseModel):
    """What a partition holds.

    Attributes:
        asset: its key, slash-separated.
        partition: its partition key.
        files: the data files, in order.
        columns: the schema.
        schema_sha256: of the columns' names and types.
        written_at: when the data was complete, UTC.
        run_id: the Dagster run that wrote it.
        source: where the data is from (database, table, addresses without secrets).
        facts: what else is worth keeping: a watermark interval, a model's version, counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    asset: str
    partition: str
    files: tuple[ManifestFile, ...]
    columns: tuple[ManifestColumn, ...]
    schema_sha256: str
    written_at: datetime
    run_id: str
    source: dict[str, Any] = Field(default_factory=dict)
    facts: dict[str, Any] = Field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.files)


def build_manifest(
    *,
    asset: str,
    partition: str,
    files: list[WrittenFile],
    schema: pa.Schema,
    written_at: datetime,
    run_id: str,
    source: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
) -> Manifest:
    """The manifest of files just written. A column's source type is in its Arrow metadata as `source_type`."""
    columns = tuple(
        ManifestColumn(
            name=column.name,
            type=str(column.type),
            source_type=(column.metadata or {}).get(b"source_type", b"").decode() or None,
        )
        for column in schema
    )
    digest = hashlib.sha256(json.dumps([(c.name, c.type) for c in columns]).encode()).hexdigest()
    return Manifest(
        asset=asset,
        partition=partition,
        files=tuple(
            ManifestFile(name=f.path.rpartition("/")[2], rows=f.rows, bytes=f.bytes, sha256=f.sha256) for f in files
        ),
        columns=columns,
        schema_sha256=digest,
        written_at=written_at,
        run_id=run_id,
        source=source or {},
        facts=facts or {},
    )


def commit_manifest(lake: Lake, folder: str, manifest: Manifest, *, before: datetime | None = None) -> None:
    """Make a partition visible: write its manifest, then remove files of earlier attempts that it does not name.

    Where several runs may write the partition, do both by themselves: see `write_manifest`.

    Args:
        before: see `remove_unnamed`.
    """
    write_manifest(lake, folder, manifest)
    remove_unnamed(lake, folder, manifest, before=before)


def write_manifest(lake: Lake, folder: str, manifest: Manifest) -> None:
    """Make a partition visible. Nobody else may be writing its manifest (`resources.claims` sees to that).

    Files of other runs stay: until this run's claim is committed, one of them may still become the partition.
    """
    lake.delete_unfinished(folder, lambda name: name == FILE_NAME)
    lake.write_bytes(f"{folder}/{FILE_NAME}", manifest.model_dump_json(indent=2).encode())


def remove_unnamed(lake: Lake, folder: str, manifest: Manifest, *, before: datetime | None = None) -> None:
    """Remove files of earlier attempts that a partition's manifest does not name; its claim must be committed.

    Args:
        before: remove only files whose names carry a stamp before this one (see `resources.claims`): those of a run
            that still writes stay. None: every Parquet file that is not named, whole or not.
    """
    named = {FILE_NAME, *(file.name for file in manifest.files)}
    for path in lake.list_files(folder):
        name = path.removeprefix(f"{folder}/")
        if "/" in name or name in named or not name.endswith(".parquet"):
            continue
        if before is None or _is_stamped_before(name, before):
            lake.delete(path)
    if before is None:
        lake.delete_unfinished(folder, lambda name: name.endswith(".parquet"))
    else:
        lake.delete_unfinished(folder, lambda name: _is_stamped_before(name, before))


_STAMP = re.compile(r"_(\d{14})(?:_\d+)?\.parquet$")


def _is_stamped_before(name: str, moment: datetime) -> bool:
    stamp = _STAMP.search(name)
    return stamp is not None and stamp[1] < moment.strftime("%Y%m%d%H%M%S")


def read_manifest(lake: Lake, folder: str) -> Manifest | None:
    """The manifest of a partition's folder, or None where nothing complete is there.

    Raises:
        Corrupt: there is one that cannot be read.
    """
    try:
        data = lake.read_bytes(f"{folder}/{FILE_NAME}")
    except FileNotFoundError:
        return None
    try:
        return Manifest.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Corrupt(f"{folder}/{FILE_NAME}", "a manifest", f"{first['msg']} at {where}") from None


def list_data_paths(folder: str, manifest: Manifest) -> list[str]:
    """The lake paths of a partition's data files."""
    return [f"{folder}/{file.name}" for file in manifest.files]
