"""What is known of a Parquet file while it is written and when it is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

MEGABYTE = 1024 * 1024

Compression = Literal["snappy", "zstd"]


@dataclass(frozen=True)
class WrittenFile:
    """A file as it was written: its path in the lake, rows, size in bytes and sha256."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ParquetOptions:
    """How rows become Parquet files. The files hold the same values whatever the options.

    Attributes:
        compression: zstd is about a quarter smaller than snappy and a quarter slower to write.
        row_group_bytes: about how much Arrow memory a row group is cut at; it has at least one row. Twice as much is
            held while writing: one row group is encoded, the next one collected.
        file_bytes: the size at which a file is ended and the next one begun.
        dictionary: the columns to store as a dictionary: `auto` looks at the first row group, True and False are all
            and none, otherwise their names.
    """

    compression: Compression = "snappy"
    row_group_bytes: int = 16 * MEGABYTE
    file_bytes: int = 1024 * MEGABYTE
    dictionary: Literal["auto"] | bool | Sequence[str] = "auto"

    def __post_init__(self) -> None:
        """Raise ValueError for what cannot be."""
        for name in ("row_group_bytes", "file_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected a number of bytes above 0.")
        if self.compression not in {"snappy", "zstd"}:
            raise ValueError(f"compression is {self.compression!r}: expected snappy or zstd.")


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


class CountingFile:
    """Passes writes on and keeps size and checksum, so that the file need not be read again.

    Attributes:
        size: bytes so far.
        digest: sha256 of them.
        abandoned: set it where the file will not be ended: pyarrow's writer writes its footer when it is collected,
            into a file that is gone by then.
    """

    def __init__(self, remote: Any) -> None:
        self._remote = remote
        self.digest = hashlib.sha256()
        self.size = 0
        # pyarrow asks for the attribute; obstore has a method of this name. Closing stays with the owner:
        # closing commits, and only a clean end may commit.
        self.closed = False
        self.abandoned = False

    def write(self, data: Any) -> int:
        """Pass a buffer on."""
        block = memoryview(data)
        if self.abandoned:
            return block.nbytes
        self.digest.update(block)
        self._remote.write(data if isinstance(data, bytes) else bytes(block))
        self.size += block.nbytes
        return block.nbytes

    def flush(self) -> None:
        """Nothing: the store keeps its own buffer."""

    def tell(self) -> int:
        """Bytes so far."""
        return self.size

    def writable(self) -> bool:
        """Yes."""
        return True

    def readable(self) -> bool:
        """No."""
        return False

    def seekable(self) -> bool:
        """No."""
        return False

    def close(self) -> None:
        """Take no more writes; the owner ends the file."""
        self.closed = True


def build_writer(file: CountingFile | Path, schema: pa.Schema, settings: Mapping[str, Any]) -> Any:
    """A pyarrow writer of this project's kind of Parquet: 2.6, logical types that Spark, DuckDB and pandas share.

    Decimals of up to 18 digits are integers, as Spark writes them: smaller and faster than byte arrays.
    """
    import pyarrow.parquet as pq

    return pq.ParquetWriter(file, schema, version="2.6", store_decimal_as_integer=True, **settings)
