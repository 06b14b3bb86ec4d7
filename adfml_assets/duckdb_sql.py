"""Names, texts and files as DuckDB's SQL takes them."""

from __future__ import annotations

from collections.abc import Sequence


def quote(name: str) -> str:
    """A name."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """A text."""
    return "'" + text.replace("'", "''") + "'"


def build_scan(paths: Sequence[str], *, by_name: bool = True) -> str:
    """Local Parquet files as one relation; their folders' names make no columns.

    Args:
        by_name: columns are found by name in each file, where files may differ.
    """
    union = "union_by_name = true, " if by_name else ""
    return f"read_parquet([{', '.join(map(quote_text, paths))}], {union}hive_partitioning = false)"
