"""What keeps rows from being written: one family, each with its facts as attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adfml_assets.errors import AdfmlError


class WriteBackError(AdfmlError):
    """Rows cannot be written to a table."""


class DuplicateKeys(WriteBackError):
    """Several rows to be written have one key.

    Attributes:
        examples: some of these keys, each a tuple in the order of `keys`.
    """

    def __init__(self, table: str, keys: Sequence[str], examples: Sequence[tuple[Any, ...]]) -> None:
        self.table = table
        self.keys = tuple(keys)
        self.examples = tuple(examples)
        shown = ", ".join(map(str, self.examples))
        super().__init__(f"{table}: several rows have one key ({', '.join(keys)}): {shown}. Nothing was written.")


class NullKeys(WriteBackError):
    """Rows to be written have no key.

    Attributes:
        rows: how many.
        examples: the keys of some of them, each a tuple in the order of `keys`.
    """

    def __init__(self, table: str, keys: Sequence[str], rows: int, examples: Sequence[tuple[Any, ...]]) -> None:
        self.table = table
        self.keys = tuple(keys)
        self.rows = rows
        self.examples = tuple(examples)
        shown = ", ".join(map(str, self.examples))
        super().__init__(
            f"{table}: {rows} rows have NULL in their key ({', '.join(keys)}), for example {shown}. "
            "Nothing was written."
        )


class TargetInvalid(WriteBackError):
    """A table that is there cannot take the rows.

    Attributes:
        problems: everything that is wrong with it, one sentence each.
    """

    def __init__(self, table: str, problems: Sequence[str]) -> None:
        self.table = table
        self.problems = tuple(problems)
        listed = "".join(f"\n- {problem}" for problem in self.problems)
        super().__init__(
            f"{table} cannot take the rows; nothing was written. Change it as said, or name another table (one that "
            f"does not exist can be made):{listed}"
        )


class ValueInvalid(WriteBackError):
    """A value does not fit into its column.

    Attributes:
        expected, found: what the column holds, and the value.
        key: of the row, by column; empty for a value that all rows have.
    """

    def __init__(self, table: str, column: str, expected: str, found: str, key: dict[str, Any]) -> None:
        self.table = table
        self.column = column
        self.expected = expected
        self.found = found
        self.key = key
        row = ", ".join(f"{name} {value!r}" for name, value in key.items()) or "all rows"
        super().__init__(
            f"{table}.{column}: expected {expected}, found {found} ({row}). Nothing was written; correct the value or "
            "alter the column."
        )


class Superseded(WriteBackError):
    """Another run began to write other rows for the same partition while this one was at it."""

    def __init__(self, table: str, asset: str, partition: str, rows_done: int) -> None:
        self.table = table
        self.asset = asset
        self.partition = partition
        self.rows_done = rows_done
        super().__init__(
            f"{table}: another run writes other rows for {asset}, partition {partition}, since this one had written "
            f"{rows_done} of its own. Materialise the partition again once that run has ended."
        )
