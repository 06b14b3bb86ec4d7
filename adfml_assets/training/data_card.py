"""The data card: what the rows of a version's training data are, counted once they are all there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adfml_assets.duckdb_sql import quote
from adfml_assets.training.errors import FeaturesMissingEverywhere, LabelInvalid
from adfml_assets.training.spec import LabelSpec
from adfml_assets.training.splits import SPLITS
from adfml_assets.training.workspace import Staged, fetch_row, select_split

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

BINS = 30
_EXAMPLES = 3


def require_labels(connection: DuckDBPyConnection, table: str, model: str, staged: Staged, label: LabelSpec) -> None:
    """Make sure that every row has a label to learn from.

    Raises:
        LabelInvalid: labels are NULL or not finite; or all of the train split are 0.
    """
    name, key, time = quote(label.name), quote(staged.key), quote(staged.time)
    wrong = f"({name} IS NULL OR NOT isfinite({name}))"
    (count,) = fetch_row(connection, f"SELECT count(*) FROM {table} WHERE {wrong}")  # noqa: S608 - quoted
    if count:
        sql = f"SELECT {key}, {time} FROM {table} WHERE {wrong} ORDER BY ALL LIMIT {_EXAMPLES}"  # noqa: S608 - quoted
        examples = ", ".join(f"{staged.key} {row[0]} on {row[1]}" for row in connection.execute(sql).fetchall())
        advice = "Every row needs one: 0 where nothing happened, and no row where it is not known."
        raise LabelInvalid(model, label.name, f"is NULL or not finite in {count} rows, such as {examples}", advice)
    train = select_split(staged.time, staged.splits["train"])
    rows, nonzero = fetch_row(connection, f"SELECT count(*), count(*) FILTER ({name} <> 0) FROM {table} WHERE {train}")  # noqa: S608
    if rows and not nonzero:
        advice = "There is nothing to learn; look at how the label is made."
        raise LabelInvalid(model, label.name, f"is 0 in all {rows} rows of the train split", advice)


def measure_missing(
    connection: DuckDBPyConnection, table: str, model: str, staged: Staged, schema: pa.Schema, features: Sequence[str]
) -> dict[str, dict[str, float]]:
    """The share of rows, by split and feature, that have no finite value.

    Raises:
        FeaturesMissingEverywhere: features have none in the train split.
    """
    import pyarrow as pa

    counted = ", ".join(
        f"count(*) FILTER (isfinite({quote(name)}))"
        if pa.types.is_floating(schema.field(name).type)
        # NULL is not counted.
        else f"count({quote(name)})"
        for name in features
    )
    missing = {}
    for split in SPLITS:
        where = select_split(staged.time, staged.splits[split])
        rows, *present = fetch_row(connection, f"SELECT count(*), {counted} FROM {table} WHERE {where}")  # noqa: S608
        missing[split] = {
            name: round(1 - count / rows, 6) for name, count in zip(features, present, strict=True) if rows
        }
        if split == "train":
            empty = [name for name, count in zip(features, present, strict=True) if not count]
            if empty and rows:
                raise FeaturesMissingEverywhere(model, empty, rows)
    return missing


def measure_label(connection: DuckDBPyConnection, table: str, staged: Staged, label: str) -> dict[str, dict[str, Any]]:
    """The label's distribution by split: rows, mean, std (of the rows, not of a sample), quantiles and zeros."""
    name = quote(label)
    measures = {
        "rows": "count(*)",
        "mean": f"avg({name})",
        "std": f"stddev_pop({name})",
        "min": f"min({name})",
        "max": f"max({name})",
        "zeros": f"count(*) FILTER ({name} = 0)",
    }
    quartiles = ("p25", "p50", "p75")
    listed = f"quantile_cont({name}, [0.25, 0.5, 0.75]), {', '.join(measures.values())}"
    distribution = {}
    for split, dates in staged.splits.items():
        where = select_split(staged.time, dates)
        found, *rest = fetch_row(connection, f"SELECT {listed} FROM {table} WHERE {where}")  # noqa: S608 - quoted
        distribution[split] = {**dict(zip(measures, rest, strict=True)), **dict(zip(quartiles, found, strict=True))}
    return distribution


def count_labels(
    connection: DuckDBPyConnection,
    table: str,
    staged: Staged,
    label: str,
    distribution: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """How many labels of each split lie in each of BINS equally wide bins, for the plot: `edges` and `counts`."""
    low = min(found["min"] for found in distribution.values())
    high = max(found["max"] for found in distribution.values())
    width = (high - low) / BINS or 1.0
    position = f"least(CAST(floor(({quote(label)} - ?) / ?) AS INTEGER), {BINS - 1})"
    counts = {}
    for split, dates in staged.splits.items():
        where = select_split(staged.time, dates)
        sql = f"SELECT {position} AS bin, count(*) FROM {table} WHERE {where} GROUP BY bin"  # noqa: S608 - quoted
        found = dict(connection.execute(sql, [low, width]).fetchall())
        counts[split] = [int(found.get(index, 0)) for index in range(BINS)]
    return {"edges": [low + width * index for index in range(BINS + 1)], "counts": counts}
