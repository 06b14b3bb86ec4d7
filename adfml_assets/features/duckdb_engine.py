"""Running a definition on DuckDB: in little memory, in parts by a hash where it is declared, one file a part."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from adfml_assets.duckdb_sql import build_scan, quote, quote_text
from adfml_assets.features.definition import FeatureSetSpec
from adfml_assets.features.errors import EngineFailed, OutOfMemory
from adfml_assets.features.hash_parts import count_parts, is_small, split_tables
from adfml_assets.features.memory_limit import MemoryLimit
from adfml_assets.features.result_schema import build_typed_query
from adfml_assets.features.sources import Source
from adfml_assets.features.statement import Statement
from resources.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

Stage = Callable[[int, int], Path]
"""Where the Parquet file of a part goes: by its index, from 0, and how many there are."""

GROUP_ROWS = 122_880
"""Rows of a row group at most: DuckDB's own."""

_GROUP_BYTES = 16 * 1024 * 1024

# Hours, days, counts and names have fewer different values; to look on in amounts costs a twentieth of the whole work.
_DICTIONARY_VALUES = 4096


def run_on_duckdb(
    lake: Lake,
    spec: FeatureSetSpec,
    statement: Statement,
    sources: Mapping[str, Source],
    before: datetime,
    stage: Stage,
) -> Generator[Path, None, None]:
    """Write the result's files, part by part; gives each when it is written.

    Rows with the same value in the column of `partition_by` are in the same part. What does not fit into memory goes to
    a temporary folder, which is removed again.

    Args:
        before: with time zone UTC; of tables with a timestamp only rows before this moment are seen.

    Raises:
        OutOfMemory: neither memory nor disk is enough.
        EngineFailed: DuckDB stopped at a value.
    """
    parts = count_parts(spec, sources)
    with (
        explain_duckdb(spec),
        tempfile.TemporaryDirectory(prefix="adfml-") as folder,
        open_duckdb(Path(folder)) as connection,
        ExitStack() as copies,
    ):
        for name, table in statement.constants.items():
            _create_constant(connection, name, table)
        _create_views(lake, connection, sources, before, copies)
        memory = MemoryLimit(connection, begin_small=parts > 1 or is_small(sources))
        query = build_typed_query(connection, statement.duckdb, statement.schema)
        options = (
            f"FORMAT parquet, USE_TMP_FILE false, COMPRESSION {lake.compression}, "
            f"ROW_GROUP_SIZE {choose_group_rows(statement.schema)}, DICTIONARY_SIZE_LIMIT {_DICTIONARY_VALUES}"
        )
        split = None
        if parts > 1:
            split = memory.run(partial(split_tables, connection, spec, statement.duckdb, sources, parts, Path(folder)))
            copies.close()
        for index in range(parts):
            if split is not None:
                split[index].open(connection)
            path = stage(index, parts)
            copy = f"COPY ({query}) TO {quote_text(str(path))} ({options})"
            memory.run(partial(connection.execute, copy))
            yield path


@contextmanager
def open_duckdb(folder: Path) -> Iterator[DuckDBPyConnection]:
    """A DuckDB of its own that gives rows in any order; what does not fit into memory goes to a folder."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET temp_directory = $folder", {"folder": str(folder / "spilled")})
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET preserve_insertion_order = false")
        # What was read of a file is read once: kept, it grows with every part until the limit.
        connection.execute("SET enable_external_file_cache = false")
        # A division by zero is NULL, not infinity: so it is on every engine, and for everybody who reads the features.
        connection.execute("SET ieee_floating_point_ops = false")
        yield connection


def build_cut(kind: pa.DataType, before: datetime) -> str:
    """A moment as a literal of DuckDB's SQL that compares with a timestamp's type."""
    import pyarrow as pa

    moment = before.astimezone(UTC)
    if pa.types.is_timestamp(kind) and kind.tz:
        return f"TIMESTAMPTZ '{moment:%Y-%m-%d %H:%M:%S.%f}+00'"
    return f"TIMESTAMP '{moment:%Y-%m-%d %H:%M:%S.%f}'"


def _create_views(
    lake: Lake, connection: DuckDBPyConnection, sources: Mapping[str, Source], before: datetime, stack: ExitStack
) -> None:
    """The tables under their names, of each only what is before the moment."""
    for source in sources.values():
        files = [str(stack.enter_context(lake.local_copy(path))) for path in source.paths]
        view = f"CREATE VIEW {quote(source.name)} AS SELECT * FROM {build_scan(files, by_name=False)}"  # noqa: S608
        if source.timestamp:
            cut = build_cut(source.schema.field(source.timestamp).type, before)
            view += f" WHERE {quote(source.timestamp)} < {cut}"
        connection.execute(view)


def _create_constant(connection: DuckDBPyConnection, name: str, table: pa.Table) -> None:
    # A table of DuckDB's own: of others it cannot write a plan down.
    connection.register("adfml_constant", table)
    connection.execute(f"CREATE TEMP TABLE {quote(name)} AS SELECT * FROM adfml_constant")  # noqa: S608
    connection.unregister("adfml_constant")


def choose_group_rows(schema: pa.Schema) -> int:
    """Rows of a row group: fewer where there are hundreds of columns, because each core holds one in memory."""
    import pyarrow as pa

    widths = [column.type.bit_width // 8 if pa.types.is_primitive(column.type) else 64 for column in schema]
    return max(2048, min(GROUP_ROWS, _GROUP_BYTES // max(1, sum(widths))))


@contextmanager
def explain_duckdb(spec: FeatureSetSpec) -> Iterator[None]:
    """A block whose errors of DuckDB become OutOfMemory or EngineFailed."""
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise OutOfMemory(spec.name, _describe(error), spec.partition_by is not None) from error
    except duckdb.Error as error:
        raise EngineFailed(spec.name, "DuckDB", _describe(error), "the definition and the tables' values") from error


def _describe(error: Exception) -> str:
    return " ".join(str(error).partition("\nLINE ")[0].split())
