"""Category columns: counts by category, whose columns are pinned when a model is trained; everything new is `other`.

A category column is a list of {name, count}, sorted by name. A NULL name is never pinned: it counts as `other`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    from ibis.backends.duckdb import Backend
    from ibis.expr.types import IntegerValue, Table

OTHER = "other"
"""What follows the category column's name in the name of the column of all categories that are not pinned."""


def is_category_type(kind: pa.DataType) -> bool:
    """Whether an Arrow type is that of a category column."""
    import pyarrow as pa

    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_struct(kind.value_type):
        return False
    fields = {field.name: field.type for field in kind.value_type}
    is_text = pa.types.is_string(fields.get("name")) or pa.types.is_large_string(fields.get("name"))
    return set(fields) == {"name", "count"} and is_text and pa.types.is_integer(fields["count"])


def pin_categories(backend: Backend, table: Table, column: str, *, most: int) -> list[str]:
    """The categories of a category column with the largest counts, at most `most`, sorted by name.

    Args:
        table: the rows of the train split, and no others: what comes later must not decide what a model sees.
    """
    import ibis

    counted = _list_counts(table, column).group_by("name").aggregate(total=ibis._.total.sum())
    largest: Any = backend.to_pyarrow(counted.order_by(ibis.desc("total"), "name").limit(most))
    return sorted(largest["name"].to_pylist())


def expand_categories(table: Table, pinned: Mapping[str, Sequence[str]]) -> Table:
    """A table with each category column as int64 columns, in its place: one a pinned category, then `<column>_other`.

    NULL and an empty list are zeros. See `expanded_names` for the names.
    """
    names = name_columns(pinned)
    columns: list[Any] = []
    for column in table.columns:
        if column not in pinned:
            columns.append(table[column])
            continue
        counts = table[column]
        for category in sorted(pinned[column]):
            columns.append(_add_up(counts, [category]).name(names[column][category]))
        columns.append((_add_up(counts, None) - _add_up(counts, pinned[column])).name(f"{column}_{OTHER}"))
    return table.select(*columns)


def list_unknown(backend: Backend, table: Table, pinned: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The categories that rows have and no column, sorted, by category column; only columns with such are in it."""
    unknown = {}
    for column, categories in pinned.items():
        names = _list_counts(table, column).select("name").distinct()
        if categories:
            names = names.filter(names["name"].notin(list(categories)))
        found: Any = backend.to_pyarrow(names)
        if found.num_rows:
            unknown[column] = sorted(found["name"].to_pylist())
    return unknown


def expanded_names(features: Sequence[str], pinned: Mapping[str, Sequence[str]]) -> list[str]:
    """The names of features with category columns expanded, in order; stable for the same pinned categories.

    A category's column is `<column>_<slug>`: lower-case letters, digits and _. Where two would be the same, the later
    by name gets a number.
    """
    names = name_columns(pinned)
    expanded: list[str] = []
    for feature in features:
        if feature in pinned:
            expanded += [*(names[feature][name] for name in sorted(pinned[feature])), f"{feature}_{OTHER}"]
        else:
            expanded.append(feature)
    return expanded


def name_columns(pinned: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
    """Category column -> category -> the name of its column. All names are different."""
    taken = {f"{column}_{OTHER}" for column in pinned}
    names: dict[str, dict[str, str]] = {}
    for column in sorted(pinned):
        names[column] = {}
        for category in sorted(pinned[column]):
            wanted = name = f"{column}_{_make_slug(category)}"
            number = 2
            while name in taken:
                name, number = f"{wanted}_{number}", number + 1
            taken.add(name)
            names[column][category] = name
    return names


def _make_slug(category: str) -> str:
    plain = unicodedata.normalize("NFKD", category).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_") or "category"


def _list_counts(table: Table, column: str) -> Table:
    """One row a category of a row: `name`, never NULL, and `total`."""
    import ibis

    flat = table.select(entry=table[column].unnest())
    named = flat.select(name=flat["entry"]["name"], total=flat["entry"]["count"])
    return named.filter(ibis._.name.notnull())


def _add_up(counts: Any, categories: Sequence[str] | None) -> IntegerValue:
    """The counts of some categories, or of all; 0 where there is none."""
    import ibis

    if categories is not None and not categories:
        return ibis.literal(0, "int64")
    entries = counts
    if categories is not None:
        chosen = list(categories)
        entries = counts.filter(lambda entry: entry["name"].isin(chosen))
    total = entries.map(lambda entry: entry["count"]).sums()
    # DuckDB adds int64 up to int128, of which ibis knows nothing: a cast to int64 alone would be left out.
    return total.cast("decimal(38, 0)").cast("int64").fill_null(0)
