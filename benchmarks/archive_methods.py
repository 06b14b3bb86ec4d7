"""Copying one table of a server to Parquet in a folder: this project, and others that can.

`python -m benchmarks.archive_methods <time> <method> <server> <url> <folder>` measures one of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.archive_sources import COLUMNS, LARGE, WARM
from benchmarks.measuring import report

if TYPE_CHECKING:
    import pyarrow as pa

Copy = Callable[[str, str, str, Path], list[Path]]
"""Copies (server, URL, table, folder) and returns the files."""

BATCH_ROWS = 65536


def _copy_with_adfml(server: str, url: str, table: str, folder: Path, readers: int) -> list[Path]:
    from datetime import UTC, datetime

    from adfml_assets.archive.plan import ArchivePlan
    from adfml_assets.archive.run import CopyOptions, closing_run
    from adfml_assets.archive.snapshot import take_snapshot
    from adfml_assets.archive.tables import SourceTable, TableRules
    from resources.control import ControlDatabase
    from resources.database import Databases
    from resources.lake import Lake
    from resources.manifest import list_data_paths

    folder.mkdir(exist_ok=True)
    os.environ |= {
        "ADFML_SHOP_URL": url,
        "ADFML_LAKE": str(folder / "lake"),
        "ADFML_CONTROL_URL": f"sqlite:///{folder}/control.sqlite",
    }
    now = datetime.now(UTC)
    plan = ArchivePlan("shop", "full", {}, options=CopyOptions(readers=readers, split_bytes=1))
    source = SourceTable("shop", "main" if server == "sqlite" else "public", table)
    with closing_run(plan.open_run(Databases(), Lake(), ControlDatabase(), now=now, run_id="benchmark")) as run:
        archived = take_snapshot(run, source, TableRules(), f"{now:%Y-%m-%d}", asset=f"archive/{source.full_name}")
    if archived.manifest.facts["rows_at_source"] != archived.manifest.rows:
        raise RuntimeError(f"{source.full_name}: {archived.manifest.rows} rows are not what the source counted")
    return [folder / "lake" / path for path in list_data_paths(archived.folder, archived.manifest)]


def copy_with_adfml(server: str, url: str, table: str, folder: Path) -> list[Path]:
    """A snapshot with everything: claim, count at the source, checksums, manifest, schema; one reader."""
    return _copy_with_adfml(server, url, table, folder, 1)


def copy_with_two_readers(server: str, url: str, table: str, folder: Path) -> list[Path]:
    """The same by two readers of one snapshot."""
    return _copy_with_adfml(server, url, table, folder, 2)


def open_duckdb(server: str, url: str) -> Any:
    """DuckDB with the server's database attached as `source`, its extension from its wheel."""
    import duckdb
    from duckdb_extensions import import_extension

    extension = "sqlite_scanner" if server == "sqlite" else "postgres_scanner"
    import_extension(extension)
    connection = duckdb.connect()
    connection.load_extension(extension)
    connection.execute("SET preserve_insertion_order = false")
    kind = "sqlite" if server == "sqlite" else "postgres"
    connection.execute(f"ATTACH '{build_address(server, url)}' AS source (TYPE {kind}, READ_ONLY)")
    return connection


def copy_with_duckdb(server: str, url: str, table: str, folder: Path) -> list[Path]:
    """DuckDB's scanner and its Parquet writer, on all its threads."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{table}.parquet"
    with open_duckdb(server, url) as connection:
        connection.execute(f"COPY source.{table} TO '{path}' (FORMAT parquet, COMPRESSION snappy)")
    return [path]


def build_address(server: str, url: str) -> str:
    """A SQLAlchemy URL as the other libraries take it: a path of SQLite, a libpq URI of PostgreSQL."""
    if server == "sqlite":
        return url.removeprefix("sqlite:///")
    return url.replace("postgresql+psycopg://", "postgresql://")


def build_schema(server: str) -> pa.Schema:
    """The right types of the large table."""
    import pyarrow as pa

    others = {"timestamp[us, tz=UTC]": pa.timestamp("us", "UTC"), "decimal128(12, 2)": pa.decimal128(12, 2)}
    named = [(column.name, column.right_types(server)[0]) for column in COLUMNS]
    return pa.schema([(name, others.get(kind) or pa.type_for_alias(kind)) for name, kind in named])


def cast_batches(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterable[pa.RecordBatch]:
    """Batches in the given types; numbers that arrive as text (ADBC's numeric) go to decimals without a float."""
    import pyarrow as pa

    for batch in batches:
        arrays = []
        for array, field in zip(batch.columns, schema, strict=True):
            stored = array.storage if isinstance(array.type, pa.BaseExtensionType) else array
            arrays.append(stored.cast(field.type))
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def open_adbc(server: str, url: str) -> Any:
    """An ADBC connection."""
    if server == "sqlite":
        from adbc_driver_sqlite import dbapi
    else:
        from adbc_driver_postgresql import dbapi
    return dbapi.connect(build_address(server, url))


def copy_with_adbc(server: str, url: str, table: str, folder: Path) -> list[Path]:
    """ADBC and pyarrow's writer, every column cast to its right type."""
    import pyarrow.parquet as pq

    folder.mkdir(exist_ok=True)
    path, schema = folder / f"{table}.parquet", build_schema(server)
    with open_adbc(server, url) as connection, connection.cursor() as cursor:
        if server == "sqlite":
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(BATCH_ROWS)})
        cursor.execute(f"SELECT * FROM {table}")  # noqa: S608 - a constant
        with pq.ParquetWriter(path, schema, compression="snappy") as writer:
            for batch in cast_batches(cursor.fetch_record_batch(), schema):
                writer.write_batch(batch)
    return [path]


def copy_with_connectorx(server: str, url: str, table: str, folder: Path) -> list[Path]:
    """connectorx streamed into pyarrow's writer, in the types it gives."""
    import connectorx as cx
    import pyarrow.parquet as pq

    folder.mkdir(exist_ok=True)
    # Its parser wants a host in the address; the one in the query is the one that holds.
    address = url if server == "sqlite" else build_address(server, url).replace("@/", "@localhost/")
    path = folder / f"{table}.parquet"
    batches = cx.read_sql(address, f"SELECT * FROM {table}", return_type="arrow_stream", batch_size=BATCH_ROWS)  # noqa: S608
    with pq.ParquetWriter(path, batches.schema, compression="snappy") as writer:
        for batch in batches:
            writer.write_batch(batch)
    return [path]


def copy_with_dlt(server: str, url: str, table: str, folder: Path) -> list[Path]:
    """dlt's sql_table (its pyarrow backend) into its filesystem destination."""
    os.environ |= {
        "DLT_DATA_DIR": str(folder / "dlt"),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "NORMALIZE__DATA_WRITER__COMPRESSION": "snappy",
    }
    import dlt
    from dlt.sources.sql_database import sql_table

    source = sql_table(
        credentials=url, table=table, backend="pyarrow", chunk_size=BATCH_ROWS, reflection_level="full_with_precision"
    )
    pipeline = dlt.pipeline(
        f"bench_{table}",
        destination=dlt.destinations.filesystem((folder / "dlt_lake").as_uri()),
        dataset_name="copied",
        pipelines_dir=str(folder / "pipelines"),
    )
    pipeline.run(source, loader_file_format="parquet")
    return sorted((folder / "dlt_lake" / "copied" / table).glob("*.parquet"))


METHODS: dict[str, Copy] = {
    "adfml, 1 reader": copy_with_adfml,
    "adfml, 2 readers": copy_with_two_readers,
    "DuckDB scanner": copy_with_duckdb,
    "ADBC, pyarrow, casts": copy_with_adbc,
    "connectorx, streamed": copy_with_connectorx,
}
SLOW_METHODS: dict[str, Copy] = {"dlt, pyarrow": copy_with_dlt}


def _measure(started: str, method: str, server: str, url: str, folder: str) -> None:
    copy = {**METHODS, **SLOW_METHODS}[method]

    def act() -> dict[str, Any]:
        return {"paths": [str(path) for path in copy(server, url, LARGE, Path(folder))]}

    report(started, lambda: copy(server, url, WARM, Path(folder)), act)


if __name__ == "__main__":
    _measure(*sys.argv[1:])
