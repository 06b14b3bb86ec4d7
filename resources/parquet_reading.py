"""Reading Parquet files in constant memory, and checking that one is what was recorded of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from resources.errors import Corrupt, NotFound

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH_BYTES = 8 * 1024 * 1024
_BATCH_ROWS = 65_536


class FileFacts(Protocol):
    """What was recorded of a file: WrittenFile and a manifest's ManifestFile have it."""

    @property
    def rows(self) -> int:
        """Its rows."""
        ...

    @property
    def bytes(self) -> int:
        """Its size."""
        ...

    @property
    def sha256(self) -> str:
        """Of its bytes, hexadecimal."""
        ...


def iterate_batches(
    file: Any, path: str, columns: Sequence[str] | None, batch_rows: int | None
) -> Iterator[pa.RecordBatch]:
    """The rows of an open Parquet file; see `Lake.iter_batches`.

    Raises:
        NotFound: a column is not there.
    """
    import pyarrow.parquet as pq

    parquet = pq.ParquetFile(file, pre_buffer=False)
    existing = parquet.schema_arrow.names
    for column in columns or ():
        if column not in existing:
            raise NotFound("column", column, path, existing)
    metadata = parquet.metadata
    stored = sum(metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
    per_row = max(1, stored // max(1, metadata.num_rows))
    rows = batch_rows or max(1, min(_BATCH_ROWS, _BATCH_BYTES // per_row))
    yield from parquet.iter_batches(rows, columns=list(columns) if columns is not None else None)


def require_match(path: str, fact: str, expected: int | str, found: int | str) -> None:
    """Compare one fact of a file.

    Raises:
        Corrupt: they differ.
    """
    if expected != found:
        raise Corrupt(path, f"{fact} {expected}", f"{found}")
