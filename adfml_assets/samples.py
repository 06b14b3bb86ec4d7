"""A few rows of a partition as a table in Markdown, for the UI: never a column of personal data."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from adfml_assets.origins import list_personal
from resources.lake import Lake
from resources.manifest import Manifest

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_ROWS = 5
SAMPLE_COLUMNS = 30
_WIDE_COLUMNS = 7
_WIDE_ROWS = 3
_MOST_CHARACTERS = 60
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~!#@&]|(?<=\w):(?=//))")
"""What Markdown would take for markup, a link or a picture: texts of customers are shown as they are."""


def draw_sample(batch: pa.RecordBatch, rows: int = SAMPLE_ROWS) -> dict[str, list[str | None]]:
    """The first rows as text: column -> values; columns beyond the first ones are left out."""
    first = batch.slice(0, rows)
    return {name: _to_text(first.column(name)) for name in first.schema.names[:SAMPLE_COLUMNS]}


def read_sample(
    lake: Lake, folder: str, manifest: Manifest, names: Mapping[str, str] | None = None
) -> dict[str, list[str | None]]:
    """The first rows of a partition's first file that has any, as text; no more of the file is read than that takes.

    Args:
        names: column of the file -> the name it is shown under; None: all columns, under their own names.
    """
    import pyarrow.parquet as pq

    file = next((one for one in manifest.files if one.rows and one.name.endswith(".parquet")), None)
    if file is None:
        return {}
    personal = set(list_personal(manifest))
    with lake.open_file(f"{folder}/{file.name}") as opened:
        parquet = pq.ParquetFile(opened, pre_buffer=False)
        existing = parquet.schema_arrow.names
        shown = [name for name in names or existing if name in existing and name not in personal][:SAMPLE_COLUMNS]
        if not shown:
            return {}
        for batch in parquet.iter_batches(SAMPLE_ROWS, row_groups=[0], columns=shown):
            found = draw_sample(batch)
            return {(names or {}).get(name, name): values for name, values in found.items()}
    return {}


def build_table(sample: Mapping[str, Sequence[str | None]], personal: Collection[str] = ()) -> str | None:
    """Columns as a table in Markdown, long values cut; None where there is nothing to show.

    Args:
        personal: columns that are not shown.
    """
    shown: dict[str, Sequence[str | None]] = {name: found for name, found in sample.items() if name not in personal}
    if not any(shown.values()):
        return None
    if len(shown) > _WIDE_COLUMNS:
        # The page cuts a wide table at its right: columns go down, and fewer rows across.
        rows = [f"row {at + 1}" for at in range(_count(shown))]
        values = {row: [found[at] for found in shown.values()] for at, row in enumerate(rows)}
        shown = {"": list(shown), **values}
    lines = ["| " + " | ".join(to_cell(name) for name in shown) + " |", "|" + " --- |" * len(shown)]
    lines += ["| " + " | ".join(to_cell(value) for value in row) + " |" for row in zip(*shown.values(), strict=True)]
    return "\n".join(lines)


def _count(shown: Mapping[str, Sequence[str | None]]) -> int:
    return min(_WIDE_ROWS, *(len(values) for values in shown.values()))


def to_cell(value: object) -> str:
    """A value as a cell shows it."""
    text = "" if value is None else " ".join(str(value).split())
    text = text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 3]}..."
    return _SPECIAL.sub(r"\\\1", text)


def _to_text(array: pa.Array) -> list[str | None]:
    """Values as text. Arrow writes it: Python values of its zoned timestamps would load pandas, 35 MB a process."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_floating(kind):
        return [None if value is None else f"{value:.6g}" for value in array.to_pylist()]
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return [None if value is None else str(value) for value in array.to_pylist()]
    if pa.types.is_fixed_size_binary(kind):
        return [None if value is None else value.hex() for value in array.to_pylist()]
    return array.cast(pa.string()).to_pylist()
