"""Writing scores back: this project, and others that can.

`python -m benchmarks.writeback_methods <time> <method> <server> <url> <warm url> <folder>` measures one of them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import report
from benchmarks.writeback_data import COLUMNS, FACTS, KEYS, build_table_sql, build_upsert_sql, name_columns, quote

if TYPE_CHECKING:
    import pyarrow as pa

Write = Callable[[str, str, Path], None]
"""Writes a file of scores to the table of a database: (server, URL, file)."""

CHUNK_ROWS = 10_000


def _write_with_adfml(url: str, file: Path, batch_rows: int | None) -> None:
    import pyarrow.parquet as pq

    from adfml_assets.scoring.write_back import describe_target, write_scores
    from adfml_assets.write_back.progress import Partition
    from resources.database import Databases

    os.environ["ADFML_SHOP_URL"] = url
    databases = Databases()
    target = describe_target("shop", None, "Predictions", KEYS, batch_rows=batch_rows)
    with pq.ParquetFile(file) as scores:
        of = Partition("scores", "2026-03-10", file.name)

        def read(columns: list[str]) -> Iterator[pa.RecordBatch]:
            return scores.iter_batches(65_536, columns=columns)

        write_scores(databases, target, scores.schema_arrow, read, "2026-03-10", said=FACTS, of=of)
    databases.engine("shop").dispose()


def write_with_adfml(server: str, url: str, file: Path) -> None:
    """One transaction."""
    _write_with_adfml(url, file, None)


def write_in_batches(server: str, url: str, file: Path) -> None:
    """The same in transactions of 10,000 rows, which can be resumed."""
    _write_with_adfml(url, file, CHUNK_ROWS)


def write_with_pandas(server: str, url: str, file: Path) -> None:
    """read_parquet, to_sql into a staging table, and an upsert."""
    import sqlalchemy as sa

    frame = name_columns(_read(file)).to_pandas(date_as_object=True)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        frame.to_sql("staging", connection, index=False, chunksize=CHUNK_ROWS)
        connection.exec_driver_sql(build_upsert_sql(_select("staging")))
        connection.exec_driver_sql("DROP TABLE staging")
    engine.dispose()


def write_with_sqlalchemy(server: str, url: str, file: Path) -> None:
    """executemany of INSERT ... ON CONFLICT, ten thousand rows a call."""
    import importlib

    import pyarrow.parquet as pq
    import sqlalchemy as sa

    engine = sa.create_engine(url)
    dialect = importlib.import_module(f"sqlalchemy.dialects.{server}")
    table = sa.Table("Predictions", sa.MetaData(), autoload_with=engine)
    insert = dialect.insert(table)
    others = [name for name in COLUMNS if name not in KEYS]
    differs = sa.or_(*(table.c[name].is_distinct_from(insert.excluded[name]) for name in others))
    changes = {name: insert.excluded[name] for name in others}
    upsert = insert.on_conflict_do_update(index_elements=list(KEYS), set_=changes, where=differs)
    with engine.begin() as connection, pq.ParquetFile(file) as scores:
        import pyarrow as pa

        for batch in scores.iter_batches(CHUNK_ROWS):
            connection.execute(upsert, name_columns(pa.Table.from_batches([batch])).to_pylist())
    engine.dispose()


def write_by_hand(server: str, url: str, file: Path) -> None:
    """PostgreSQL: COPY of CSV into a temporary table. SQLite: executemany, sorted, with a larger page cache."""
    if server == "sqlite":
        _write_rows_to_sqlite(url, file)
        return
    import io

    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    def write_csv(copy: Any) -> None:
        import pyarrow as pa

        options = pc.WriteOptions(include_header=False)
        with pq.ParquetFile(file) as scores:
            for batch in scores.iter_batches(65_536):
                text = io.BytesIO()
                pc.write_csv(name_columns(pa.Table.from_batches([batch])), text, options)
                copy.write(text.getvalue())

    _copy_into_postgresql(url, "CSV", write_csv)


def write_with_pgpq(server: str, url: str, file: Path) -> None:
    """PostgreSQL only: COPY of the binary format, encoded by pgpq, into a temporary table; upsert in key order."""
    import pgpq
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write_binary(copy: Any) -> None:
        with pq.ParquetFile(file) as scores:
            schema = name_columns(scores.schema_arrow.empty_table()).schema
            encoder = pgpq.ArrowToPostgresBinaryEncoder(schema)
            copy.write(encoder.write_header())
            for batch in scores.iter_batches(65_536):
                for part in name_columns(pa.Table.from_batches([batch])).to_batches():
                    copy.write(encoder.write_batch(part))
            copy.write(encoder.finish())

    _copy_into_postgresql(url, "BINARY", write_binary)


def write_with_adbc(server: str, url: str, file: Path) -> None:
    """ADBC's ingest into a temporary table, then an upsert in key order; SQLite: sorted before, a larger page cache."""
    import pyarrow as pa
    import sqlalchemy as sa

    parsed = sa.make_url(url)
    scores = name_columns(_read(file))
    if server == "sqlite":
        import adbc_driver_sqlite.dbapi as adbc

        # Moments as SQLAlchemy stores them; ADBC's own have a T.
        text = scores["ScoredAt"].cast(pa.string())
        scores = scores.set_column(scores.schema.get_field_index("ScoredAt"), "ScoredAt", text)
        scores = scores.sort_by([(key, "ascending") for key in KEYS])
        opened = adbc.connect(str(parsed.database))
    else:
        import adbc_driver_postgresql.dbapi as adbc

        opened = adbc.connect(f"postgresql://{parsed.username}@/{parsed.database}?host={parsed.query['host']}")
    with opened as connection, connection.cursor() as cursor:
        if server == "sqlite":
            cursor.execute("PRAGMA cache_size = -64000")
        cursor.adbc_ingest("staging", scores, mode="create", temporary=True)
        order = "" if server == "sqlite" else f" ORDER BY {quote(KEYS)}"
        cursor.execute(build_upsert_sql(_select("staging") + order))
        connection.commit()


def _copy_into_postgresql(url: str, kind: str, write: Callable[[Any], None]) -> None:
    import sqlalchemy as sa

    from tests.postgresql_server import connect

    with connect(sa.make_url(url)) as connection, connection.transaction():
        staging = build_table_sql("staging", keyed=False, prefix="CREATE TEMPORARY TABLE")
        connection.execute(f"{staging} ON COMMIT DROP".encode())
        with connection.cursor().copy(f"COPY staging FROM STDIN (FORMAT {kind})".encode()) as copy:
            write(copy)
        connection.execute(build_upsert_sql(f"{_select('staging')} ORDER BY {quote(KEYS)}").encode())


def _write_rows_to_sqlite(url: str, file: Path) -> None:
    import sqlite3
    from contextlib import closing

    import pyarrow as pa
    import sqlalchemy as sa

    scores = name_columns(_read(file)).sort_by([(key, "ascending") for key in KEYS])
    for name in ("ScoredAt", "FeatureSnapshot", "SnapshotDate"):
        scores = scores.set_column(scores.schema.get_field_index(name), name, scores[name].cast(pa.string()))
    marks = ", ".join("?" * len(COLUMNS))
    upsert = build_upsert_sql(f"VALUES ({marks})")
    with closing(sqlite3.connect(str(sa.make_url(url).database))) as connection:
        connection.execute("PRAGMA cache_size = -64000")
        for batch in scores.to_batches(50_000):
            columns = [column.to_numpy(zero_copy_only=False).tolist() for column in batch.columns]
            connection.executemany(upsert, zip(*columns, strict=True))
        connection.commit()


def _select(table: str) -> str:
    # SQLite would take the ON of ON CONFLICT for that of a join.
    return f"SELECT {quote(COLUMNS)} FROM {table} WHERE true"  # noqa: S608 - names of this benchmark


def _read(file: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(file)


METHODS: dict[str, Write] = {
    "adfml": write_with_adfml,
    "adfml, batches of 10,000": write_in_batches,
    "by hand": write_by_hand,
    "pgpq by hand": write_with_pgpq,
    "ADBC": write_with_adbc,
    "SQLAlchemy executemany": write_with_sqlalchemy,
    "pandas.to_sql": write_with_pandas,
}
ONLY_POSTGRESQL = {"pgpq by hand"}


def main() -> None:
    """Warm up on a small table, write, report."""
    started, method, server, url, warm, folder = sys.argv[1:]
    write, files = METHODS[method], Path(folder)

    def measure() -> dict[str, Any]:
        write(server, url, files / "scores.parquet")
        return {}

    report(started, lambda: write(server, warm, files / "warm.parquet"), measure)


if __name__ == "__main__":
    main()
