"""How much memory DuckDB may take: little, and more only where a statement cannot be done in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

T = TypeVar("T")

CORE_MEGABYTES = 75
"""For each core at first, and for two at least: windows, joins and sorts that need more spill it to the disk."""


class MemoryLimit:
    """A connection's limit. What a statement holds beside what can be spilled (long lists, above all) may need more:
    it is then done again with twice as much, and what follows with that.
    """

    def __init__(self, connection: DuckDBPyConnection, *, begin_small: bool = True) -> None:
        """Set it.

        Args:
            begin_small: False: with DuckDB's own, 80 % of the machine's memory.
        """
        self._connection = connection
        found: Any = connection.execute(
            "SELECT parse_formatted_bytes(current_setting('memory_limit')) / 1e6, current_setting('threads')"
        ).fetchone()
        self._most = int(found[0])
        self._megabytes = min(self._most, CORE_MEGABYTES * max(2, int(found[1]))) if begin_small else self._most
        self._set()

    def run(self, statement: Callable[[], T]) -> T:
        """Do something that leaves nothing, or what can be written over, where the memory is not enough.

        Raises:
            duckdb.OutOfMemoryException: nor is DuckDB's own limit.
        """
        import duckdb

        while True:
            try:
                return statement()
            except duckdb.OutOfMemoryException:
                if self._megabytes >= self._most:
                    raise
                self._megabytes = min(self._most, 2 * self._megabytes)
                self._set()

    def _set(self) -> None:
        self._connection.execute(f"SET memory_limit = '{self._megabytes}MB'")
