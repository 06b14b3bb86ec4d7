"""Past days of tables that keep their own past (`FOR SYSTEM_TIME AS OF`): the one way to take a snapshot afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adfml_assets.archive.tables import SourceTable

if TYPE_CHECKING:
    import pyarrow as pa

    from resources.servers.base import Snapshot, TableName, TableQuery, TableSchema, TemporalSnapshot, Watermark


def find_past(snapshot: Snapshot, source: SourceTable, day: str) -> PastState | None:
    """A table as it was at the end of a past day, UTC; None: the table keeps no past."""
    from resources.servers.base import TemporalSnapshot

    if not isinstance(snapshot, TemporalSnapshot) or not snapshot.is_temporal(source.name):
        return None
    return PastState(snapshot, snapshot, f"{day} 23:59:59.9999999")


class PastState:
    """A snapshot whose rows are those of a past moment; its declarations are today's."""

    def __init__(self, snapshot: Snapshot, temporal: TemporalSnapshot, moment: str) -> None:
        self._snapshot = snapshot
        self._temporal = temporal
        self._moment = moment

    @property
    def facts(self) -> Mapping[str, Any]:
        """The snapshot's, and `as_of`: the moment, UTC."""
        return {**self._snapshot.facts, "as_of": self._moment}

    def describe(self, table: TableName) -> TableSchema:
        """The table's declaration now."""
        return self._snapshot.describe(table)

    def schema_of(self, query: TableQuery) -> pa.Schema:
        """The Arrow schema of `read`."""
        return self._snapshot.schema_of(query)

    def read(self, query: TableQuery) -> Iterator[pa.RecordBatch]:
        """The rows as they were."""
        return self._temporal.read_as_of(query, self._moment)

    def count(self, query: TableQuery) -> int:
        """The number of rows there were."""
        return self._temporal.count_as_of(query, self._moment)

    def count_null(self, table: TableSchema, column: str, where: str | None = None) -> int:
        """Of the table now: the past is only read whole."""
        return self._snapshot.count_null(table, column, where)

    def find_largest(self, table: TableSchema, watermark: Watermark, where: str | None = None) -> str | None:
        """Of the table now: the past is only read whole."""
        return self._snapshot.find_largest(table, watermark, where)

    def split(self, query: TableQuery, parts: int) -> Sequence[TableQuery]:
        """The query alone."""
        return [query]
