"""How far long copies are."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from adfml_assets.samples import draw_sample
from resources.servers.base import MISMATCHED

if TYPE_CHECKING:
    import pyarrow as pa

_MOST_MARKS = 200


@dataclass
class TableProgress:
    """One table's copy, so far or at its end.

    Attributes:
        table: its name.
        started: on the monotonic clock.
        rows, bytes: that were read, in Arrow's memory.
        mismatched_rows: rows with values that are not of their column's type.
        seconds: from the start to the last batch, or to the end.
        sample: the first rows as they are written: column -> values as text.
        marks: how many rows there were after how many seconds; a few of the many batches of a long copy.
    """

    table: str
    started: float = field(default_factory=time.monotonic)
    rows: int = 0
    bytes: int = 0
    mismatched_rows: int = 0
    seconds: float = 0.0
    sample: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    marks: list[tuple[float, int]] = field(default_factory=list)

    def add(self, batch: pa.RecordBatch) -> None:
        """Count rows that were copied, and those that keep values which are not of their column's type."""
        if not self.sample:
            self.sample = draw_sample(batch)
        self.rows += batch.num_rows
        self.bytes += batch.nbytes
        if MISMATCHED in batch.schema.names:
            self.mismatched_rows += batch.num_rows - batch.column(MISMATCHED).null_count
        self.seconds = time.monotonic() - self.started
        self.marks.append((self.seconds, self.rows))
        if len(self.marks) > _MOST_MARKS:
            del self.marks[::2]

    def end(self) -> None:
        """The copy is complete."""
        self.seconds = time.monotonic() - self.started

    def describe(self) -> str:
        """Rows, megabytes and rows per second, in one line."""
        rate = self.rows / self.seconds if self.seconds else 0.0
        return f"{self.table}: {self.rows:,} rows, {self.bytes / 1e6:,.0f} MB, {rate:,.0f} rows/s"


class Progress:
    """The copies that are under way. Used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tables: dict[str, TableProgress] = {}

    def start(self, table: str) -> TableProgress:
        """A table's copy begins, for the first time or anew."""
        with self._lock:
            self._tables[table] = TableProgress(table)
            return self._tables[table]

    def end(self, table: str) -> None:
        """A table's copy has ended."""
        with self._lock:
            self._tables.pop(table, None)

    def describe(self) -> list[str]:
        """One line for each copy under way."""
        with self._lock:
            return [self._tables[name].describe() for name in sorted(self._tables)]
