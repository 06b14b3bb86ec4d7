"""What is known of a result from its files: how many rows, which values are missing, and that all its rows can be."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adfml_assets.duckdb_sql import build_scan, quote, quote_text
from adfml_assets.features.definition import FeatureSetSpec
from adfml_assets.features.duckdb_engine import build_cut, explain_duckdb, open_duckdb
from adfml_assets.features.errors import DuplicateFeatures, KeyMissing, WrongDate
from adfml_assets.features.memory_limit import MemoryLimit
from adfml_assets.features.result_schema import list_category_columns

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

MOST_CATEGORIES = 20
"""How many categories of a column the manifest names."""

KEYS_AT_ONCE = 5_000_000
"""Rows whose keys are compared with each other at once."""

_MOST_BITS = 1 << 28


@dataclass(frozen=True)
class Findings:
    """What was found in a result's files.

    Attributes:
        rows: how many.
        missing: feature -> rows without a value (NULL, or not a number).
        categories: category column -> `distinct`, how many there are, and `largest`: category -> its count in all rows.
    """

    rows: int
    missing: Mapping[str, int]
    categories: Mapping[str, Mapping[str, Any]]

    @property
    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        return {"missing": dict(self.missing), "categories": dict(self.categories)}


def examine_result(
    spec: FeatureSetSpec, schema: pa.Schema, files: Sequence[Path], latest: datetime, dates: Sequence[date] | None
) -> Findings:
    """Look through a result's files, in constant memory; what their own statistics say is not read again.

    Args:
        schema: of every file.
        latest: no event may be of this moment or later; with time zone UTC.
        dates: the feature dates that were asked for; None: rows are events.

    Raises:
        KeyMissing: a row has no key or no time.
        WrongDate: a row's time is later than it may be, or of another date.
        DuplicateFeatures: rows repeat another row's key and date.
        OutOfMemory: neither memory nor disk is enough.
    """
    scan = build_scan([str(file) for file in files], by_name=False)
    with explain_duckdb(spec), _open() as (connection, memory):
        columns = [f"count({quote(name)})" for name in schema.names]
        rows, *values = _fetch(connection, f"SELECT count(*), {', '.join(columns)} FROM {scan}")  # noqa: S608
        absent = {name: rows - count for name, count in zip(schema.names, values, strict=True)}
        for column in (spec.key, spec.time):
            if absent.pop(column):
                raise KeyMissing(spec.name, column, rows - values[schema.names.index(column)])
        _require_times(connection, spec, schema, scan, latest, dates)
        if duplicates := memory.run(partial(count_duplicates, connection, spec, schema, scan, rows)):
            raise DuplicateFeatures(spec.name, spec.identity, duplicates)
        for column, count in _count_nan(connection, schema, files, scan).items():
            absent[column] += count
        categories = {
            name: memory.run(partial(_count_categories, connection, scan, name))
            for name in list_category_columns(schema)
        }
    return Findings(rows, absent, categories)


def list_features(schema: pa.Schema) -> list[str]:
    """The features of a result, in order: everything after key and time."""
    return list(schema.names[2:])


def count_duplicates(
    connection: DuckDBPyConnection, spec: FeatureSetSpec, schema: pa.Schema, scan: str, rows: int
) -> int:
    """How many rows of a relation repeat the identity of another; no value of it is NULL."""
    import pyarrow as pa

    key = quote(spec.key)
    if rows and spec.identity == (spec.key,) and pa.types.is_integer(schema.field(spec.key).type):
        least, most = _fetch(connection, f"SELECT min({key}), max({key}) FROM {scan}")  # noqa: S608
        if most - least < _MOST_BITS:
            # Whole numbers that lie close together, as ids do, are a bit each.
            query = f"SELECT bit_count(bitstring_agg({key}, {least}, {most})) FROM {scan}"  # noqa: S608
            return rows - int(_fetch(connection, query)[0])
    listed, passes = ", ".join(map(quote, spec.identity)), max(1, math.ceil(rows / KEYS_AT_ONCE))
    found = 0
    for number in range(passes):
        chosen = f" WHERE hash({listed}) % {passes} = {number}" if passes > 1 else ""
        repeats = f"SELECT count(*) - 1 AS repeats FROM {scan}{chosen} GROUP BY {listed} HAVING count(*) > 1"  # noqa: S608
        found += int(_fetch(connection, f"SELECT coalesce(sum(repeats), 0) FROM ({repeats})")[0])  # noqa: S608
    return found


def _require_times(
    connection: DuckDBPyConnection,
    spec: FeatureSetSpec,
    schema: pa.Schema,
    scan: str,
    latest: datetime,
    dates: Sequence[date] | None,
) -> None:
    time = quote(spec.time)
    if dates is None:
        cut = build_cut(schema.field(spec.time).type, latest)
        query = f"SELECT CAST(max({time}) AS VARCHAR) FROM {scan} HAVING max({time}) >= {cut}"  # noqa: S608
        expected = f"before {latest}"
    else:
        listed = ", ".join(f"DATE '{one}'" for one in dates)
        wrong = f"WHERE {time} NOT IN ({listed})" if dates else ""
        query = f"SELECT CAST(max({time}) AS VARCHAR) AS found FROM {scan} {wrong} HAVING found IS NOT NULL"  # noqa: S608
        expected = f"one of {', '.join(map(str, dates))}"
    if found := _fetch(connection, query):
        raise WrongDate(spec.name, spec.time, found[0], expected)


def _count_nan(connection: DuckDBPyConnection, schema: pa.Schema, files: Sequence[Path], scan: str) -> dict[str, int]:
    """The rows of each column of floats that are not a number."""
    import pyarrow as pa

    columns = [name for name in list_features(schema) if pa.types.is_floating(schema.field(name).type)]
    if columns and _tell_nan(connection, files):
        greatest = ", ".join(f"max({quote(name)})" for name in columns)
        found = _fetch(connection, f"SELECT {greatest} FROM {scan}")  # noqa: S608
        columns = [name for name, value in zip(columns, found, strict=True) if value is not None and math.isnan(value)]
    if not columns:
        return {}
    counts = ", ".join(f"count(*) FILTER (WHERE isnan({quote(name)}))" for name in columns)
    return dict(zip(columns, _fetch(connection, f"SELECT {counts} FROM {scan}"), strict=True))  # noqa: S608


def _tell_nan(connection: DuckDBPyConnection, files: Sequence[Path]) -> bool:
    """Whether NaN is the greatest value where there is one: DuckDB keeps no statistics of it, others pass over it."""
    listed = ", ".join(quote_text(str(file)) for file in files)
    query = f"SELECT bool_and(created_by LIKE 'DuckDB %') FROM parquet_file_metadata([{listed}])"  # noqa: S608
    return bool(_fetch(connection, query)[0])


def _count_categories(connection: DuckDBPyConnection, scan: str, column: str) -> dict[str, Any]:
    pairs = f"SELECT unnest({quote(column)}) AS pair FROM {scan}"  # noqa: S608
    sums = f"SELECT coalesce(pair.name, '') AS name, sum(pair.count) AS n FROM ({pairs}) GROUP BY ALL"  # noqa: S608
    largest = f"SELECT name, n, count(*) OVER () FROM ({sums}) ORDER BY n DESC, name LIMIT {MOST_CATEGORIES}"  # noqa: S608
    found = connection.execute(largest).fetchall()
    return {"distinct": found[0][2] if found else 0, "largest": {name: int(count or 0) for name, count, _ in found}}


def _fetch(connection: DuckDBPyConnection, query: str) -> Any:
    return connection.execute(query).fetchone()


@contextmanager
def _open() -> Iterator[tuple[DuckDBPyConnection, MemoryLimit]]:
    with tempfile.TemporaryDirectory(prefix="adfml-") as folder, open_duckdb(Path(folder)) as connection:
        yield connection, MemoryLimit(connection)
