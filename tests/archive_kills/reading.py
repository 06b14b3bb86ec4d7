"""Readers of the lake that trust nothing: each file a manifest names is there, whole, and what the manifest says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from resources.errors import NotFound
from resources.lake import Lake
from resources.manifest import FILE_NAME, Manifest, list_data_paths, read_manifest
from tests.archive_kills.bank import KEYS, normalise, require_balanced

_LOOKS = 20
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Partition:
    """A partition as a reader found it: the manifest and all rows."""

    folder: str
    manifest: Manifest
    rows: list[dict[str, Any]]

    @property
    def table(self) -> str:
        """The table's name."""
        return str(self.manifest.source["table"])


def list_folders(lake: Lake, container: str) -> list[str]:
    """The folders of a container that have a manifest."""
    found = lake.list_files(f"{container}/shop")
    return [path.removesuffix(f"/{FILE_NAME}") for path in found if path.endswith(f"/{FILE_NAME}")]


def read_partition(lake: Lake, folder: str) -> Partition:
    """Read a partition as any reader would, and make sure that it is whole.

    A run that replaces a partition writes its manifest first and then removes the files of the one before. A reader
    that took the earlier manifest can therefore find a file of it gone, but only once a later manifest is there: it
    reads that one. A file that is missing while its manifest still stands is a fault.
    """
    for _ in range(_LOOKS):
        manifest = read_manifest(lake, folder)
        assert manifest is not None, f"{folder} was there and is gone"
        try:
            return _read_files(lake, folder, manifest)
        except (NotFound, FileNotFoundError):
            if read_manifest(lake, folder) == manifest:
                raise
    raise AssertionError(f"{folder} was replaced {_LOOKS} times while it was read")


def _read_files(lake: Lake, folder: str, manifest: Manifest) -> Partition:
    rows: list[dict[str, Any]] = []
    assert manifest.files
    assert len({file.name for file in manifest.files}) == len(manifest.files)
    for path, file in zip(list_data_paths(folder, manifest), manifest.files, strict=True):
        lake.verify_file(path, file)
        rows += map(normalise, lake.read_table(path).to_pylist())
    assert len(rows) == manifest.rows == manifest.facts["rows_at_source"], folder
    partition = Partition(folder, manifest, rows)
    keys = [row[KEYS[partition.table]] for row in rows] if partition.table in KEYS else []
    assert len(set(keys)) == len(keys), f"{folder} has a row twice"
    if "upper" in manifest.facts:
        _require_interval(partition)
    elif partition.table == "Bookings":
        require_balanced({"Bookings": rows})
    return partition


def _require_interval(partition: Partition) -> None:
    """Every row's watermark is in the interval that the manifest tells."""
    lower, upper = (partition.manifest.facts[name] for name in ("lower", "upper"))
    for row in partition.rows:
        assert lower is None or datetime.fromisoformat(lower) < row["ModifiedDate"], partition.folder
        assert row["ModifiedDate"] <= datetime.fromisoformat(upper), partition.folder


def list_unnamed(lake: Lake, folder: str) -> list[str]:
    """The files of a partition's folder that its manifest does not name, those that no listing shows too."""
    manifest = read_manifest(lake, folder)
    named = {FILE_NAME, *(file.name for file in manifest.files)} if manifest else set()
    return sorted(
        path.name for path in Path(lake.uri(f"{folder}/{FILE_NAME}")).parent.iterdir() if path.name not in named
    )


def list_local(folder: str) -> list[str]:
    """Everything in a folder, what no listing shows too."""
    local = Path(Lake().uri(f"{folder}/{FILE_NAME}")).parent
    return sorted(path.name for path in local.iterdir()) if local.exists() else []


class Reader:
    """A thread that reads every partition, again and again, while runs come and die.

    Attributes:
        reads: how many partitions it has read.
    """

    def __init__(self) -> None:
        self.reads = 0
        self._failure: BaseException | None = None
        self._ended = threading.Event()

    def _read(self) -> None:
        lake, seen = Lake(), set[str]()
        try:
            while not self._ended.wait(0.01):
                folders = [
                    folder for container in ("archive", "incremental") for folder in list_folders(lake, container)
                ]
                assert seen <= set(folders), "a partition that was visible is gone"
                seen.update(folders)
                # The latest are those that change.
                for folder in folders[-4:]:
                    read_partition(lake, folder)
                    self.reads += 1
        except BaseException as error:
            self._failure = error

    def check(self) -> None:
        """Raise what it found."""
        if self._failure is not None:
            raise self._failure


@contextmanager
def reading() -> Iterator[Reader]:
    """A reader until the block ends; what it found wrong is raised then."""
    reader = Reader()
    thread = threading.Thread(target=reader._read, daemon=True)
    thread.start()
    try:
        yield reader
    finally:
        reader._ended.set()
        thread.join()
    reader.check()
