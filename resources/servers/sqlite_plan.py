"""What is read of a table of SQLite, column by column, and what becomes of values that are not of their type."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resources.errors import UnexpectedValue
from resources.servers.base import BATCH_BYTES, MISMATCHED, Mismatches, TableName
from resources.servers.sqlite_types import Conversion, Kind
from resources.servers.sqlite_values import Mismatched, Stored, convert, describe_value, write_text

if TYPE_CHECKING:
    import pyarrow as pa

_LONGEST_KEPT = 256 * 1024 * 1024
_WIDTHS = {Kind.DECIMAL: 16, Kind.BOOLEAN: 1, Kind.DATE: 4, Kind.TEXT: 4, Kind.BINARY: 4}
_MOST_ROWS = 1 << 20


@dataclass(frozen=True)
class Plan:
    """What the rows of a statement become.

    Attributes:
        table: that is read, for messages.
        conversions: of its columns, in the order of the statement.
        schema: of the batches: a field a column, and MISMATCHED last where such values are kept.
        mismatches: what becomes of values that are not of their type.
        not_null: per column, whether a NULL is such a value, too.
        row_id: whether the statement has the row id as one column more.
    """

    table: TableName
    conversions: tuple[Conversion, ...]
    schema: pa.Schema
    mismatches: Mismatches
    not_null: tuple[bool, ...]
    row_id: bool

    @property
    def row_bytes(self) -> int:
        """What each row takes in a batch, whatever its texts."""
        return sum(_WIDTHS.get(conversion.kind, 8) + 1 for conversion in self.conversions)

    @property
    def batch_rows(self) -> int:
        """The most rows of a batch."""
        return max(1, min(BATCH_BYTES // max(1, self.row_bytes), _MOST_ROWS))


@dataclass
class KeptValues:
    """The values of one batch that are not of their column's type, by row and column.

    Attributes:
        plan: of the read.
        rows_before: how many rows were read before this batch, for messages.
        bytes: about how much text is kept.
    """

    plan: Plan
    rows_before: int = 0
    bytes: int = 0
    _rows: dict[int, dict[str, str | None]] = field(default_factory=dict)

    def resolve(self, row: int, column: int, value: Stored, row_id: int | None) -> Any:
        """The value that the typed column gets: the converted one, or None where it is kept here.

        Raises:
            UnexpectedValue: it is not of the declared type, and such values are not kept.
        """
        plan = self.plan
        try:
            if value is None:
                if plan.not_null[column]:
                    raise Mismatched("a value: the column is NOT NULL")
                return None
            return convert(plan.conversions[column], value)
        except Mismatched as mismatch:
            expected = str(mismatch)
        name = plan.schema.field(column).name
        too_long = isinstance(value, bytes) and len(value) > _LONGEST_KEPT
        if plan.mismatches == "fail" or too_long:
            where = f"row {self.rows_before + row + 1} of those read" if row_id is None else f"rowid {row_id}"
            more = f"; {len(value)} bytes are too many to keep as text" if too_long else ""  # type: ignore[arg-type]
            reason = f"{where}: {describe_value(value)} is not {expected}{more}"
            raise UnexpectedValue(str(plan.table), name, str(plan.schema.field(column).type), reason)
        text = write_text(value)
        self.bytes += len(name) + len(text or "")
        self._rows.setdefault(row, {})[name] = text
        return None

    def count(self, rows: int) -> int:
        """How many values of the first `rows` rows are kept."""
        return sum(len(values) for row, values in self._rows.items() if row < rows)

    def build_array(self, rows: int) -> pa.Array:
        """The column MISMATCHED of the first `rows` rows."""
        import pyarrow as pa

        if not self._rows:
            return pa.nulls(rows, pa.string())
        texts: list[str | None] = [None] * rows
        for row, values in self._rows.items():
            if row < rows:
                texts[row] = json.dumps(values, ensure_ascii=False)
        return pa.array(texts, pa.string())


def build_schema(fields: list[pa.Field], mismatches: Mismatches) -> pa.Schema:
    """The schema of a read's batches: where mismatches are kept every column may be NULL, and MISMATCHED is last."""
    import pyarrow as pa

    if mismatches == "fail":
        return pa.schema(fields)
    metadata = {"source_type": "", "note": "values that are not of their column's declared type, as JSON"}
    kept = pa.field(MISMATCHED, pa.string(), metadata=metadata)
    return pa.schema([*(field.with_nullable(True) for field in fields), kept])
