"""Running a definition on DuckDB: bounded memory, in parts by a hash where it is declared, batches out."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from adfml_assets.duckdb_sql import build_scan, quote
from adfml_assets.features.definition import FeatureSetSpec
from adfml_assets.features.errors import EngineFailed, OutOfMemory
from adfml_assets.features.hash_parts import count_parts, split_tables
from adfml_assets.features.sources import Source
from adfml_assets.features.statement import Statement
from resources.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

BATCH_ROWS = 122_880
"""Rows of a batch at most: DuckDB's own row group."""

_BATCH_BYTES = 16 * 1024 * 1024

PARTS_MEMORY = "300MB"
"""What DuckDB may use while it works in parts; all else may be as large as DuckDB's own limit, 80 % of the memory."""

_SKEW = 4
_RESULT = "adfml_result"


def run_on_duckdb(
    lake: Lake, spec: FeatureSetSpec, statement: Statement, sources: Mapping[str, Source], before: datetime
) -> Generator[Iterator[pa.RecordBatch], None, None]:
    """The result's batches, part by part; each part must be read before the next one is asked for.

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
        _explained(spec),
        tempfile.TemporaryDirectory(prefix="adfml-") as folder,
        open_duckdb(Path(folder)) as connection,
    ):
        with ExitStack() as stack:
            for name, table in statement.constants.items():
                _create_constant(connection, name, table)
            _create_views(lake, connection, sources, before, stack)
            if parts == 1:
                yield _stream(connection, spec, statement)
                return
            connection.execute(f"SET memory_limit = '{PARTS_MEMORY}'")
            split = split_tables(connection, spec, statement.duckdb, sources, parts, Path(folder))
        usual = sum(part.bytes for part in split) / parts
        for part in split:
            if part.bytes > _SKEW * usual:
                # One value of the column has most of the rows: constant memory cannot be had.
                connection.execute("RESET memory_limit")
            part.open(connection)
            yield _compute(connection, spec, statement)
            connection.execute(f"SET memory_limit = '{PARTS_MEMORY}'")


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


def _stream(connection: DuckDBPyConnection, spec: FeatureSetSpec, statement: Statement) -> Iterator[pa.RecordBatch]:
    with _explained(spec):
        yield from connection.execute(statement.duckdb).to_arrow_reader(choose_batch_rows(statement.schema))


def _compute(connection: DuckDBPyConnection, spec: FeatureSetSpec, statement: Statement) -> Iterator[pa.RecordBatch]:
    """The batches of a part, by way of a table: it is filled on all cores, a result that is read meanwhile on one."""
    with _explained(spec):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {_RESULT} AS {statement.duckdb}")
        yield from connection.execute(f"FROM {_RESULT}").to_arrow_reader(choose_batch_rows(statement.schema))
        connection.execute(f"DROP TABLE {_RESULT}")


def choose_batch_rows(schema: pa.Schema) -> int:
    """Rows of a batch: fewer where there are hundreds of columns, so that a batch stays small."""
    import pyarrow as pa

    widths = [column.type.bit_width // 8 if pa.types.is_primitive(column.type) else 64 for column in schema]
    return max(2048, min(BATCH_ROWS, _BATCH_BYTES // max(1, sum(widths))))


@contextmanager
def _explained(spec: FeatureSetSpec) -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise OutOfMemory(spec.name, _describe(error), spec.partition_by is not None) from error
    except duckdb.Error as error:
        raise EngineFailed(spec.name, "DuckDB", _describe(error), "the definition and the tables' values") from error


def _describe(error: Exception) -> str:
    return " ".join(str(error).partition("\nLINE ")[0].split())
