"""The lake: a folder, or an ADLS Gen2 / Blob account, through one class (obstore).

A path in the lake is `container/folder/.../file`. The containers are folders locally and containers on Azure.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from resources.errors import NotFound, UnsafePath
from resources.lake_addresses import AccountAddress, FolderAddress, LakeAddress, read_address
from resources.lake_administration import delete_blob
from resources.lake_credentials import LakeCredential, read_credential
from resources.lake_errors import explain_errors, is_container_missing
from resources.lake_files import READ_BUFFER_BYTES, NewFile, SizedReader, open_new, settle
from resources.lake_stores import build_store, ensure_container
from resources.parquet_files import CountingFile, ParquetOptions, ParquetSink, WrittenFile, build_writer
from resources.parquet_parts import PartedSink, write_parts
from resources.parquet_reading import FileFacts, iterate_batches, require_match
from resources.staged_files import StagedFile, delete_staged, stage_file

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CONTAINERS", "Lake", "ParquetOptions", "ParquetSink", "PartedSink", "WrittenFile", "split_path"]

CONTAINERS = ("archive", "incremental", "ml", "feature-store")


class Lake(dg.ConfigurableResource):
    """The lake at ADFML_LAKE: a folder, `file://` address, or a storage account (`abfss://` or `https://`).

    An account is signed in to with a SAS token or account key where one is set, otherwise with the identity of the
    process (managed identity, workload identity or a developer's login). Containers that are missing are made when
    something is first written to them.

    Every method raises SettingMissing or SettingInvalid where the settings are wrong, UnsafePath for a path that is
    none of the lake's, Unreachable where the account does not answer, Refused where it says no, and StorageFull where
    nothing more fits; after any of them no part of a file is visible.
    """

    compression: str = Field(default="snappy", description="Parquet compression: snappy or zstd.")
    _stores: dict[str, Any] = PrivateAttr(default_factory=dict)
    _ready: set[str] = PrivateAttr(default_factory=set)
    _credential: LakeCredential | None = PrivateAttr(default=None)

    @property
    def root(self) -> str:
        """The lake's root: an absolute folder, or `abfss://account...` or `https://...` without a trailing slash."""
        return str(read_address())

    def uri(self, path: str) -> str:
        """The address of a path as Databricks and other services take it: a local path, or `abfss://container@...`."""
        container, key = split_path(path)
        return read_address().build_uri(container, key)

    def url(self, path: str) -> str | None:
        """The address of a file's blob; None where the lake is a folder."""
        container, key = split_path(path)
        return read_address().build_url(container, key)

    def store(self, container: str) -> Any:
        """obstore's store of a container; its errors are obstore's."""
        if container not in self._stores:
            address = read_address()
            self._stores[container] = build_store(address, container, self._sign_in(address))
        return self._stores[container]

    def write_bytes(self, path: str, data: bytes) -> None:
        """Write a small file whole, replacing what is there: a reader sees the old one or the new one."""
        import obstore

        container, key = split_path(path)
        store = self._store_to_write(container)
        with self._explain(path):
            obstore.put(store, key, data)
            if local := self._local_path(path):
                settle(local)

    def read_bytes(self, path: str) -> bytes:
        """Read a small file.

        Raises:
            FileNotFoundError: there is none.
        """
        import obstore

        container, key = split_path(path)
        with self._explain_reading(path):
            return bytes(obstore.get(self.store(container), key).bytes())

    def list_files(self, folder: str, *, before: datetime | None = None) -> list[str]:
        """Paths of all files below a folder, or in a container, sorted; empty where it does not exist. Any depth.

        Args:
            before: only those that were written before this time, by the store's clock.
        """
        import obstore

        container, key = (folder, None) if folder in CONTAINERS else split_path(folder)
        with self._explain(folder):
            try:
                entries = obstore.list(self.store(container), key, chunk_size=1000).collect()
            except Exception as error:
                if is_container_missing(error):
                    return []
                raise
        return sorted(
            f"{container}/{entry['path']}" for entry in entries if before is None or entry["last_modified"] < before
        )

    def delete(self, path: str) -> None:
        """Delete a file; one that is not there is no error."""
        import obstore

        container, key = split_path(path)
        address = read_address()
        if isinstance(address, AccountAddress):
            credential = self._sign_in(address)
            assert credential is not None  # noqa: S101 - an account is always signed in to
            delete_blob(address, container, key, credential)
            return
        with suppress(FileNotFoundError), self._explain_reading(path):
            obstore.delete(self.store(container), key)

    def delete_unfinished(self, folder: str, is_abandoned: Callable[[str], bool]) -> int:
        """Delete what killed processes left half written in a folder of this machine: no listing shows it.

        An account shows nothing of such files either, and drops them by itself after a week.

        Args:
            folder: in the lake; those below it are not looked at.
            is_abandoned: whether nobody writes the file of this name (without its folder) any more.

        Returns:
            How many there were.
        """
        local = self._local_path(folder)
        return delete_staged(local, is_abandoned) if local else 0

    @contextmanager
    def create_file(self, path: str) -> Iterator[NewFile]:
        """A file to stream bytes into, in constant memory: it is there, whole, when the block ends, else not at all.

        Raises:
            UnsafePath, StorageFull, Unreachable, Refused: as for every write.
        """
        container, key = split_path(path)
        store = self._store_to_write(container)
        with open_new(store, key, lambda: self._explain(path), self._local_path(path)) as file:
            yield file

    @contextmanager
    def write_parquet(self, path: str, schema: pa.Schema) -> Iterator[ParquetSink]:
        """Stream record batches into one Parquet file.

        The file becomes visible when the block ends; on an exception or a crash nothing is visible and a file that
        was there before stays as it was.
        """
        with self.create_file(path) as remote:
            counting = CountingFile(remote)
            writer = build_writer(counting, schema, {"compression": self.compression})
            sink = ParquetSink(path, schema, writer)
            try:
                yield sink
                writer.close()
            except BaseException:
                counting.abandoned = True
                raise
        sink.written = WrittenFile(path, sink.rows, counting.size, counting.digest.hexdigest())

    @contextmanager
    def write_parquet_parts(
        self, build_path: Callable[[int], str], schema: pa.Schema, options: ParquetOptions | None = None
    ) -> Iterator[PartedSink]:
        """Stream record batches of any size into one or several Parquet files, encoded in a thread beside the caller.

        A file is visible when it is full, but nothing names it yet. On an exception none stays; of a process that is
        killed only whole files stay, which the next commit of the folder's manifest removes. Without rows there is
        one file with the schema.

        Args:
            build_path: the path of the file of an index, from 0; must differ between runs.
            schema: of the batches; its metadata becomes the files'.
            options: None: this lake's compression, and what was measured to be best.
        """
        if options is None:
            options = ParquetOptions(compression=self.compression)  # type: ignore[arg-type]  # checked there
        with write_parts(build_path, schema, options, self.create_file, self.delete) as sink:
            yield sink

    @contextmanager
    def stage_parquet(self, path: str) -> Iterator[StagedFile]:
        """A place on this machine where a library itself writes a Parquet file that belongs into the lake.

        When the block ends the file is in the lake, whole, in the place of one that was there before; after an
        exception nothing of it is. Of a process that is killed an unfinished file may stay, which no listing shows.
        """
        container, _ = split_path(path)
        self._store_to_write(container)
        with stage_file(path, self._local_path(path), self.create_file, lambda: self._explain(path)) as staged:
            yield staged

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

    def iter_batches(
        self, path: str, columns: Sequence[str] | None = None, batch_rows: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows of one Parquet file, in the file's order and in constant memory; no batch where there is no row.

        Args:
            path: of the file.
            columns: those to read; None: all.
            batch_rows: rows of a batch at most; None: as many as are about 8 MB.

        Raises:
            NotFound: the file, or one of the columns, is not there.
        """
        with self.open_file(path) as file:
            yield from iterate_batches(file, path, columns, batch_rows)

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
            with self._explain_reading(path):
                reader = obstore.open_reader(self.store(container), key)
        except FileNotFoundError:
            raise self._not_found(path) from None
        with pa.PythonFile(SizedReader(reader, lambda: self._explain(path)), mode="r") as file:
            yield file

    @contextmanager
    def local_copy(self, path: str) -> Iterator[Path]:
        """A path on this machine for libraries that only read such: the file itself, or a copy of a remote one.

        Raises:
            NotFound: it is not there.
        """
        with self.open_file(path) as file:
            if local := self._local_path(path):
                yield local
                return
            with tempfile.TemporaryDirectory(prefix="adfml-") as folder:
                copy = Path(folder) / path.rpartition("/")[2]
                with copy.open("wb") as target:
                    shutil.copyfileobj(file, target, READ_BUFFER_BYTES)
                yield copy

    def describe_file(self, path: str) -> WrittenFile:
        """Read a Parquet file another process wrote: its rows, size and sha256.

        Raises:
            NotFound: it is not there.
        """
        import pyarrow.parquet as pq

        size, digest = self._measure(path)
        with self.open_file(path) as file:
            return WrittenFile(path, pq.ParquetFile(file).metadata.num_rows, size, digest)

    def verify_file(self, path: str, expected: FileFacts) -> None:
        """Read a file whole and compare it with what was recorded when it was written: size, sha256 and rows.

        Raises:
            NotFound: it is not there.
            Corrupt: it is not what was recorded.
        """
        size, digest = self._measure(path)
        require_match(path, "bytes", expected.bytes, size)
        require_match(path, "sha256", expected.sha256, digest)
        require_match(path, "rows", expected.rows, self.describe_rows(path))

    def describe_rows(self, path: str) -> int:
        """The number of rows that a Parquet file's footer tells; reads nothing else.

        Raises:
            NotFound: it is not there.
        """
        import pyarrow.parquet as pq

        with self.open_file(path) as file:
            return int(pq.ParquetFile(file).metadata.num_rows)

    def _measure(self, path: str) -> tuple[int, str]:
        """Size and sha256 of a file, by one request."""
        import obstore

        container, key = split_path(path)
        digest, size = hashlib.sha256(), 0
        try:
            with self._explain_reading(path):
                for block in obstore.get(self.store(container), key).stream(min_chunk_size=READ_BUFFER_BYTES):
                    digest.update(block)
                    size += len(block)
        except FileNotFoundError:
            raise self._not_found(path) from None
        return size, digest.hexdigest()

    def _not_found(self, path: str) -> NotFound:
        folder, _, name = path.rpartition("/")
        neighbours = self.list_files(folder) if "/" in folder else []
        return NotFound("file", name, folder, [neighbour.removeprefix(f"{folder}/") for neighbour in neighbours])

    def _sign_in(self, address: LakeAddress) -> LakeCredential | None:
        if self._credential is None and not isinstance(address, FolderAddress):
            self._credential = read_credential()
        return self._credential

    def _store_to_write(self, container: str) -> Any:
        store = self.store(container)
        if container not in self._ready:
            ensure_container(store, read_address(), container, self._credential)
            self._ready.add(container)
        return store

    def _local_path(self, path: str) -> Path | None:
        address = read_address()
        return Path(self.uri(path)) if isinstance(address, FolderAddress) else None

    def _explain(self, path: str) -> AbstractContextManager[None]:
        address = read_address()
        credential = self._sign_in(address)
        return explain_errors(address, path, credential.advice if credential else "")

    @contextmanager
    def _explain_reading(self, path: str) -> Iterator[None]:
        """The same for what is read: a container that is missing holds no file."""
        with self._explain(path):
            try:
                yield
            except Exception as error:
                if is_container_missing(error):
                    raise FileNotFoundError(path) from None
                raise


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
