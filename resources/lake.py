"""The lake: a folder, or an ADLS Gen2 / Blob account, through one class (obstore).

A path in the lake is `container/folder/.../file`. The containers are folders locally and containers on Azure.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from resources.errors import NotFound, SettingInvalid, UnsafePath
from resources.settings import LAKE

if TYPE_CHECKING:
    import pyarrow as pa

CONTAINERS = ("archive", "incremental", "ml", "feature-store")
_WRITE_BUFFER_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class WrittenFile:
    """A file as it was written: its path in the lake, rows, size in bytes and sha256."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass
class ParquetSink:
    """Where a Parquet file's record batches go; `written` is there once the file is whole."""

    path: str
    schema: pa.Schema
    _writer: Any = field(repr=False)
    rows: int = 0
    written: WrittenFile | None = None

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Append rows; each call becomes a row group."""
        if batch.num_rows:
            self._writer.write(batch)
            self.rows += batch.num_rows


class Lake(dg.ConfigurableResource):
    """The lake at ADFML_LAKE: a folder, `file://` address, or `abfss://account.dfs.core.windows.net`.

    On Azure the identity of the process (managed identity, workload identity or a developer's login) signs in.
    """

    compression: str = Field(default="snappy", description="Parquet compression: snappy or zstd.")
    _stores: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def root(self) -> str:
        """The lake's root: an absolute folder, or `abfss://account...` without a trailing slash.

        Raises:
            SettingMissing, SettingInvalid: ADFML_LAKE.
        """
        value = LAKE.read().rstrip("/")
        if value.startswith("file://"):
            value = value.removeprefix("file://")
        if "://" not in value:
            return str(Path(value).absolute())
        if not value.startswith(("abfss://", "https://")) or "@" in value:
            raise SettingInvalid(LAKE.name, "a folder, or abfss://<account>.dfs.core.windows.net without a container")
        return value

    def uri(self, path: str) -> str:
        """The address of a path as Databricks and other services take it: a local path, or `abfss://container@...`."""
        container, key = split_path(path)
        root = self.root
        if "://" not in root:
            return str(Path(root) / container / key)
        return f"abfss://{container}@{root.partition('://')[2]}/{key}"

    def store(self, container: str) -> Any:
        """obstore's store of a container."""
        if container not in self._stores:
            self._stores[container] = _build_store(self.root, container)
        return self._stores[container]

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write a small file whole, replacing what is there: a reader sees the old one or the new one."""
        import obstore

        container, key = split_path(path)
        obstore.put(self.store(container), key, data)

    def read_bytes(self, path: str) -> bytes:
        """Read a small file.

        Raises:
            FileNotFoundError: there is none.
        """
        import obstore

        container, key = split_path(path)
        return bytes(obstore.get(self.store(container), key).bytes())

    def list_files(self, folder: str) -> list[str]:
        """Paths of all files below a folder, sorted; empty where the folder does not exist."""
        import obstore

        container, key = split_path(folder)
        return sorted(f"{container}/{entry['path']}" for entry in obstore.list(self.store(container), key).collect())

    def delete(self, path: str) -> None:
        """Delete a file; one that is not there is no error."""
        import obstore

        container, key = split_path(path)
        try:
            obstore.delete(self.store(container), key)
        except FileNotFoundError:
            return

    @contextmanager
    def write_parquet(self, path: str, schema: pa.Schema) -> Iterator[ParquetSink]:
        """Stream record batches into one Parquet file.

        The file becomes visible when the block ends; on an exception or a crash nothing is visible and a file that
        was there before stays as it was.
        """
        import obstore
        import pyarrow.parquet as pq

        container, key = split_path(path)
        with obstore.open_writer(self.store(container), key, buffer_size=_WRITE_BUFFER_BYTES) as remote:
            counting = _CountingFile(remote)
            writer = pq.ParquetWriter(counting, schema, compression=self.compression)
            sink = ParquetSink(path, schema, writer)
            try:
                yield sink
                writer.close()
            except BaseException:
                # pyarrow's writer would write its footer when it is collected, into a file that is gone by then.
                counting.abandoned = True
                raise
        sink.written = WrittenFile(path, sink.rows, counting.size, counting.digest.hexdigest())

    def write_table(self, path: str, table: pa.Table) -> WrittenFile:
        """Write a table that is in memory as one Parquet file."""
        with self.write_parquet(path, table.schema) as sink:
            sink.write(table)
        assert sink.written is not None  # noqa: S101 - set when the block ended without an exception
        return sink.written

    def read_table(self, path: str, columns: list[str] | None = None) -> pa.Table:
        """Read one Parquet file into memory.

        Raises:
            NotFound: the file is not there.
        """
        import pyarrow.parquet as pq

        with self.open_file(path) as file:
            return pq.read_table(file, columns=columns, partitioning=None)

    @contextmanager
    def open_file(self, path: str) -> Iterator[Any]:
        """A seekable binary file for reading.

        Raises:
            NotFound: it is not there; with its neighbours.
        """
        import obstore
        import pyarrow as pa

        container, key = split_path(path)
        try:
            reader = obstore.open_reader(self.store(container), key)
        except FileNotFoundError:
            folder = path.rpartition("/")[0]
            neighbours = [p.removeprefix(f"{folder}/") for p in self.list_files(folder)]
            raise NotFound("file", path.rpartition("/")[2], folder, neighbours) from None
        with pa.PythonFile(_SizedReader(reader), mode="r") as file:
            yield file

    @contextmanager
    def local_copy(self, path: str) -> Iterator[Path]:
        """A path on this machine for libraries that only read such: the file itself, or a copy of a remote one.

        Raises:
            NotFound: it is not there.
        """
        with self.open_file(path) as file:
            if "://" not in self.root:
                yield Path(self.uri(path))
                return
            with tempfile.TemporaryDirectory(prefix="adfml-") as folder:
                copy = Path(folder) / path.rpartition("/")[2]
                with copy.open("wb") as target:
                    shutil.copyfileobj(file, target, _WRITE_BUFFER_BYTES)
                yield copy

    def describe_file(self, path: str) -> WrittenFile:
        """Read a Parquet file another process wrote: its rows, size and sha256.

        Raises:
            NotFound: it is not there.
        """
        import pyarrow.parquet as pq

        digest, size = hashlib.sha256(), 0
        with self.open_file(path) as file:
            rows = pq.ParquetFile(file).metadata.num_rows
            file.seek(0)
            while block := file.read(1 << 20):
                digest.update(block)
                size += len(block)
        return WrittenFile(path, rows, size, digest.hexdigest())


def split_path(path: str) -> tuple[str, str]:
    """`container/key` of a path in the lake.

    Raises:
        UnsafePath: it has no container of the lake, or parts that would leave it.
    """
    container, _, key = path.partition("/")
    parts = key.split("/")
    if container not in CONTAINERS or not key or any(part in {"", ".", ".."} or "\\" in part for part in parts):
        raise UnsafePath(path)
    return container, key


def _build_store(root: str, container: str) -> Any:
    from obstore.store import LocalStore, from_url

    if "://" not in root:
        folder = Path(root) / container
        folder.mkdir(parents=True, exist_ok=True)
        return LocalStore(folder)
    from azure.identity import DefaultAzureCredential
    from obstore.auth.azure import AzureCredentialProvider

    host = root.partition("://")[2]
    return from_url(
        f"abfss://{container}@{host}",
        credential_provider=AzureCredentialProvider(DefaultAzureCredential()),
    )


class _CountingFile:
    """Passes writes on and keeps size and checksum, so that the file need not be read again."""

    def __init__(self, remote: Any) -> None:
        self._remote = remote
        self.digest = hashlib.sha256()
        self.size = 0
        # pyarrow asks for the attribute; obstore has a method of this name. Closing stays with the owner:
        # closing commits, and only a clean end may commit.
        self.closed = False
        self.abandoned = False

    def write(self, data: bytes) -> int:
        block = memoryview(data)
        if self.abandoned:
            return block.nbytes
        self.digest.update(block)
        self.size += block.nbytes
        self._remote.write(bytes(block))
        return block.nbytes

    def flush(self) -> None:
        """Nothing: the store keeps its own buffer."""

    def tell(self) -> int:
        return self.size

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


class _SizedReader:
    """obstore's reader as pyarrow wants it: bytes of its own type and `closed` as an attribute."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        return bytes(self._reader.read(size) if size >= 0 else self._reader.readall())

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True
