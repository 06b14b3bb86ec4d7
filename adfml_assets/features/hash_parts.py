"""Splitting tables by a hash of one column, in one pass: a definition then runs part by part, in constant memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adfml_assets.duckdb_sql import build_scan, quote, quote_text
from adfml_assets.features.definition import FeatureSetSpec
from adfml_assets.features.sources import Source

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

ROWS_A_PART = 2_500_000
"""Rows of all tables that are split, in one part: what DuckDB's windows do in little memory without slowing down."""

_UNSPLIT_PARTS = 2
_BUFFERED_ROWS = 2_048_000
_ROW_GROUP, _LEAST_ROW_GROUP = 122_880, 8_192
_PART = "adfml_part"


@dataclass(frozen=True)
class Part:
    """One part of all tables that are split; the others are whole in each.

    Attributes:
        files: table -> its rows of this part; none where it has none.
        schemas: table -> the columns in its files.
        selected: table -> all of its columns, as DuckDB's SQL over its files: those that nobody reads are NULL, because
            a definition may name them on its way.
    """

    files: Mapping[str, Sequence[str]]
    schemas: Mapping[str, pa.Schema]
    selected: Mapping[str, str]

    def open(self, connection: DuckDBPyConnection) -> None:
        """Let the tables' names stand for this part."""
        for name, files in self.files.items():
            if files:
                scan = build_scan(files, by_name=False)
            else:
                connection.register(f"{name}_empty", self.schemas[name].empty_table())
                scan = quote(f"{name}_empty")
            view = f"SELECT {self.selected[name]} FROM {scan}"  # noqa: S608
            connection.execute(f"CREATE OR REPLACE VIEW {quote(name)} AS {view}")


def count_parts(spec: FeatureSetSpec, sources: Mapping[str, Source]) -> int:
    """How many parts a definition's tables are split into; 1: all at once."""
    if spec.partition_by is None:
        return 1
    rows = sum(source.manifest.rows for source in sources.values() if spec.partition_by in source.schema.names)
    parts = math.ceil(rows / ROWS_A_PART)
    return parts if parts > _UNSPLIT_PARTS else 1


def is_small(sources: Mapping[str, Source]) -> bool:
    """Whether tables are so few rows that they would not be split."""
    return sum(source.manifest.rows for source in sources.values()) <= _UNSPLIT_PARTS * ROWS_A_PART


def split_tables(
    connection: DuckDBPyConnection,
    spec: FeatureSetSpec,
    sql: str,
    sources: Mapping[str, Source],
    parts: int,
    folder: Path,
) -> list[Part]:
    """Write every table of a connection that has the column into files by part; the others into one file each.

    Rows without a value in the column are all in one part. Columns that the definition does not read are left out.
    What an earlier try left in the folder is written over.

    Args:
        connection: with the tables as views.
        sql: the definition.
        parts: how many.
        folder: where the files go.
    """
    needed = find_needed_columns(connection, sql, sources)
    files: dict[str, list[list[str]]] = {}
    schemas: dict[str, pa.Schema] = {}
    selected: dict[str, str] = {}
    for name, source in sources.items():
        columns = [column for column in source.schema.names if column in needed[name]] or source.schema.names[:1]
        listed = ", ".join(map(quote, columns))
        target = folder / "tables" / name
        target.mkdir(parents=True, exist_ok=True)
        query = f"SELECT {listed} FROM {quote(name)}"  # noqa: S608
        if spec.partition_by not in source.schema.names:
            whole = str(target / "whole.parquet")
            connection.execute(f"COPY ({query}) TO {quote_text(whole)} (FORMAT parquet)")
            files[name] = [[whole]] * parts
        else:
            part = build_part(sources, str(spec.partition_by), parts)
            query = f"SELECT {listed}, {part} AS {_PART} FROM {quote(name)}"  # noqa: S608
            # These files are read once: to look for dictionaries takes more time than they save.
            connection.execute(
                f"COPY ({query}) TO {quote_text(str(target))} (FORMAT parquet, OVERWRITE, DICTIONARY_SIZE_LIMIT 1, "
                f"PARTITION_BY ({_PART}), ROW_GROUP_SIZE {_choose_row_group(parts)})"
            )
            files[name] = [sorted(map(str, (target / f"{_PART}={index}").glob("*.parquet"))) for index in range(parts)]
        schemas[name] = connection.execute(f"SELECT {listed} FROM {quote(name)} LIMIT 0").to_arrow_reader(1).schema  # noqa: S608
        selected[name] = _select_columns(connection, name, columns)
    return [Part({name: files[name][index] for name in sources}, schemas, selected) for index in range(parts)]


def _choose_row_group(parts: int) -> int:
    # DuckDB keeps an unfinished row group of every part in memory.
    return max(_LEAST_ROW_GROUP, min(_ROW_GROUP, _BUFFERED_ROWS // parts))


def _select_columns(connection: DuckDBPyConnection, table: str, present: Sequence[str]) -> str:
    described = connection.execute(f"DESCRIBE {quote(table)}").fetchall()
    return ", ".join(
        quote(name) if name in present else f"CAST(NULL AS {kind}) AS {quote(name)}" for name, kind, *_ in described
    )


def build_part(sources: Mapping[str, Source], column: str, parts: int) -> str:
    """The part of a row, from 0, as DuckDB's SQL: the same in all tables, also where integers are of several widths."""
    schemas = [source.schema for source in sources.values() if column in source.schema.names]
    kinds = {str(schema.field(column).type) for schema in schemas}
    value = quote(column) if len(kinds) == 1 else f"CAST({quote(column)} AS HUGEINT)"
    return f"CAST(hash({value}) % {parts} AS INTEGER)"


def find_needed_columns(connection: DuckDBPyConnection, sql: str, sources: Mapping[str, Source]) -> dict[str, set[str]]:
    """The columns of each table that a definition reads: what DuckDB's own optimizer leaves of them.

    Where DuckDB cannot write the plan down, they are all columns.
    """
    scans = _find_scans(connection, sql)
    if scans is None:
        return {name: set(source.schema.names) for name, source in sources.items()}
    needed: dict[str, set[str]] = {name: set() for name in sources}
    for name in sources:
        own = {path for scan in _find_scans(connection, f"FROM {quote(name)}") or () for path in _list_files(scan)}
        for scan in scans:
            if own & _list_files(scan):
                names = scan["names"]
                read = [column["index"] for column in scan["column_indexes"]]
                needed[name] |= {names[index] for index in read if index < len(names)}
    return needed


def _find_scans(connection: DuckDBPyConnection, sql: str) -> list[Any] | None:
    """The nodes of a query's plan that read Parquet files; None: the plan cannot be written down."""
    import duckdb

    try:
        found: Any = connection.execute("SELECT json_serialize_plan($sql, optimize := true)", {"sql": sql}).fetchone()
    except duckdb.NotImplementedException:
        return None
    plan = json.loads(found[0])
    return None if plan["error"] else [scan for one in plan["plans"] for scan in _walk(one)]


def _walk(node: Any) -> Iterator[Any]:
    if node["type"] == "LOGICAL_GET" and node["name"] == "read_parquet":
        yield node
    for child in node["children"]:
        yield from _walk(child)


def _list_files(scan: Any) -> set[str]:
    return set(scan["function_data"]["files"])
