"""How the columns of a table are encoded in Parquet: chosen once, by type and by the first row group.

The choice changes size and speed, never a value or the schema.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from resources.parquet_files import MEGABYTE, ParquetOptions

if TYPE_CHECKING:
    import pyarrow as pa

_SAMPLE_ROWS = 32_768
_LARGEST_SHARE = 0.25
# pyarrow gives up a dictionary of more than 1 MB in the middle of a row group, after having paid for it.
_LARGEST_DICTIONARY = MEGABYTE // 2
_PAGE_BYTES = MEGABYTE


def require_columns(schema: pa.Schema, options: ParquetOptions) -> None:
    """Look whether the columns that the options name are there: pyarrow passes over others.

    Raises:
        ValueError: one is not.
    """
    if isinstance(options.dictionary, bool) or options.dictionary == "auto":
        return
    for name in options.dictionary:
        if name not in schema.names:
            raise ValueError(
                f"dictionary names column {name!r}, which is not there: expected {', '.join(schema.names)}."
            )


def choose_settings(group: pa.Table, options: ParquetOptions) -> dict[str, Any]:
    """pyarrow's settings for files that begin with this row group."""
    dictionary: Any = options.dictionary
    if dictionary == "auto":
        dictionary = [name for name in group.schema.names if _repeats(group, name)]
    elif not isinstance(dictionary, bool):
        dictionary = list(dictionary)
    return {
        "compression": options.compression,
        "use_dictionary": dictionary,
        "write_statistics": True,
        "write_page_index": True,
        "write_batch_size": _choose_batch_size(group),
    }


def _repeats(group: pa.Table, name: str) -> bool:
    """Whether so few different values stand in a column that writing each once, and its number often, is less."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column = group[name].slice(0, _SAMPLE_ROWS)
    if pa.types.is_nested(column.type) or pa.types.is_boolean(column.type) or len(column) == 0:
        return False
    distinct = pc.count_distinct(column, mode="only_valid").as_py()
    values = len(column) - column.null_count
    width = column.nbytes / len(column)
    return distinct <= values * _LARGEST_SHARE and distinct * width <= _LARGEST_DICTIONARY


def _choose_batch_size(group: pa.Table) -> int:
    """Values between two looks at the page's size: few where they are long, so that pages stay small."""
    if group.num_rows == 0:
        return 1024
    widest = max((column.nbytes / group.num_rows for column in group.columns), default=1)
    return int(min(1024, max(1, _PAGE_BYTES // max(widest, 1))))
