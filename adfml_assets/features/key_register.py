"""Finding rows that repeat another row's key, without a second copy of the result in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adfml_assets.duckdb_sql import quote
from adfml_assets.features.definition import FeatureSetSpec
from adfml_assets.features.duckdb_engine import open_duckdb
from adfml_assets.features.errors import DuplicateFeatures

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

_MEMORY = "100MB"
_SPREAD = 1 << 28
_PIECE = 1 << 20


class KeyRegister:
    """Takes note of every row's key.

    Whole numbers that lie close together, as ids do, are marked in an array of a bit each. Others go into a table of
    DuckDB, of which what does not fit into memory is on the disk.
    """

    def __init__(self, spec: FeatureSetSpec, connection: DuckDBPyConnection, schema: pa.Schema) -> None:
        self._spec = spec
        self._connection = connection
        self._columns = list(spec.identity)
        is_number = len(self._columns) == 1 and str(schema.field(spec.key).type) in ("int16", "int32", "int64")
        self._marks: _Marks | None = _Marks() if is_number else None
        self._duplicates = 0
        connection.register("adfml_batch", schema.empty_table().select(self._columns))
        connection.execute("CREATE TABLE adfml_keys AS SELECT * FROM adfml_batch")

    def add(self, batch: pa.RecordBatch) -> None:
        """Take note of a batch's keys; none of them is NULL."""
        if not batch.num_rows:
            return
        if self._marks is not None:
            if self._marks.add(batch.column(self._spec.key).to_numpy(zero_copy_only=False)):
                return
            self._move_marks()
        self._insert(batch.select(self._columns))

    def end_part(self) -> None:
        """No row that follows has a key of those before: they need not be kept."""
        if self._spec.partition_by == self._spec.key:
            self._count()

    def check(self) -> None:
        """Say whether there were any, when all rows went by.

        Raises:
            DuplicateFeatures: with how many rows there are too many.
        """
        self._count()
        if self._duplicates:
            raise DuplicateFeatures(self._spec.name, self._spec.identity, self._duplicates)

    def _insert(self, keys: Any) -> None:
        self._connection.register("adfml_batch", keys)
        self._connection.execute("INSERT INTO adfml_keys SELECT * FROM adfml_batch")

    def _move_marks(self) -> None:
        """Go on with the table: these numbers lie too far apart."""
        import pyarrow as pa

        marks, self._marks = self._marks, None
        if marks is not None:
            self._duplicates += marks.count_duplicates()
            for numbers in marks.list_numbers():
                self._insert(pa.table({self._spec.key: numbers}))

    def _count(self) -> None:
        """Count the duplicates of the rows so far, and forget these rows."""
        if self._marks is not None:
            self._duplicates += self._marks.count_duplicates()
            self._marks = _Marks()
            return
        columns = ", ".join(map(quote, self._columns))
        groups = f"SELECT count(*) AS n FROM adfml_keys GROUP BY {columns} HAVING n > 1"  # noqa: S608
        found: Any = self._connection.execute(f"SELECT coalesce(sum(n - 1), 0) FROM ({groups})").fetchone()  # noqa: S608
        self._duplicates += int(found[0])
        self._connection.execute("TRUNCATE adfml_keys")


class _Marks:
    """Which whole numbers were there, a bit each. Memory that no number touches is never really taken."""

    def __init__(self) -> None:
        self._seen: np.ndarray | None = None
        self._first = 0
        self._rows = 0

    def add(self, numbers: np.ndarray) -> bool:
        """Mark numbers; False, and nothing is marked: they lie too far from those before."""
        import numpy as np

        least, most = int(numbers.min()), int(numbers.max())
        if self._seen is None:
            self._seen = np.zeros(_SPREAD // 8, dtype=np.uint8)
            self._first = (least + most) // 2 - _SPREAD // 2
        if least < self._first or most >= self._first + _SPREAD:
            return False
        places = numbers.astype(np.int64) - self._first
        bits = places & 7
        for bit in range(8):
            # One bit at a time: numbers that share a byte would overwrite each other's.
            self._seen[places[bits == bit] >> 3] |= np.uint8(1 << bit)
        self._rows += len(numbers)
        return True

    def count_duplicates(self) -> int:
        """How many rows repeated a number."""
        import numpy as np

        return self._rows - sum(int(np.bitwise_count(piece).sum(dtype=np.int64)) for _, piece in self._cut())

    def list_numbers(self) -> Iterator[np.ndarray]:
        """All that were there, a piece at a time."""
        import numpy as np

        for start, piece in self._cut():
            yield np.flatnonzero(np.unpackbits(piece, bitorder="little")) + (start * 8 + self._first)

    def _cut(self) -> Iterator[tuple[int, np.ndarray]]:
        """The bytes in pieces, each with the place of its first byte."""
        if self._seen is not None:
            for start in range(0, len(self._seen), _PIECE):
                yield start, self._seen[start : start + _PIECE]


@contextmanager
def open_register(spec: FeatureSetSpec, schema: pa.Schema) -> Iterator[KeyRegister]:
    """A register of a result's keys."""
    with tempfile.TemporaryDirectory(prefix="adfml-") as folder, open_duckdb(Path(folder)) as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        yield KeyRegister(spec, connection, schema)
