"""Scores to write back, and the tables that hold half of them already."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy.engine import URL

    from tests.postgresql_server import RunningPostgresql

COLUMNS = {
    "RecordId": "BIGINT",
    "ModelName": "VARCHAR(200)",
    "Score": "DOUBLE PRECISION",
    "ModelVersion": "VARCHAR(60)",
    "ModelAlias": "VARCHAR(60)",
    "ScoredAt": "TIMESTAMP",
    "FeatureSnapshot": "DATE",
    "SnapshotDate": "DATE",
}
KEYS = ("RecordId", "ModelName")
DAY = date(2026, 3, 10)
FACTS = {"model": "spend", "version": "3", "alias": "champion", "feature_snapshot": "2026-03-10"}
WARM_ROWS = 2_000


def build_scores(rows: int, seed: int, step: int = 1) -> pa.Table:
    """Scores as a job leaves them: of records 0, step, 2 step ..., in no order."""
    import numpy as np
    import pyarrow as pa

    random = np.random.default_rng(seed)
    moment = np.datetime64("2026-03-10T12:00:00", "us").astype("int64")
    columns = {
        "RecordId": pa.array(random.permutation(np.arange(rows) * step)),
        "score": pa.array(random.random(rows)),
        **{name: pa.array([FACTS[name]] * rows) for name in ("model", "version", "alias")},
        "scored_at": pa.array(moment + random.integers(0, 3_600_000_000, rows), pa.timestamp("us", "UTC")),
        "feature_snapshot": pa.array([DAY] * rows),
    }
    return pa.table(columns)


def write_scores(folder: Path, rows: int) -> None:
    """`scores.parquet`, and `warm.parquet` with a few."""
    import pyarrow.parquet as pq

    for name, count in (("scores", rows), ("warm", WARM_ROWS)):
        pq.write_table(build_scores(count, 1), folder / f"{name}.parquet")


def name_columns(scores: pa.Table) -> pa.Table:
    """The scores with the names and columns of the table they go to; moments in UTC without a zone."""
    import pyarrow as pa

    names = {"score": "Score", "model": "ModelName", "version": "ModelVersion", "alias": "ModelAlias"}
    names |= {"scored_at": "ScoredAt", "feature_snapshot": "FeatureSnapshot"}
    renamed = scores.rename_columns([names.get(name, name) for name in scores.column_names])
    moments = renamed["ScoredAt"].cast(pa.timestamp("us"))
    renamed = renamed.set_column(renamed.schema.get_field_index("ScoredAt"), "ScoredAt", moments)
    days = pa.repeat(pa.scalar(DAY), renamed.num_rows)
    return renamed.append_column("SnapshotDate", days).select(list(COLUMNS))


def build_table_sql(name: str = '"Predictions"', *, keyed: bool = True, prefix: str = "CREATE TABLE") -> str:
    """CREATE TABLE of the target, or without its key of a staging table."""
    columns = ", ".join(f'"{column}" {kind}' for column, kind in COLUMNS.items())
    key = f", PRIMARY KEY ({quote(KEYS)})" if keyed else ""
    return f"{prefix} {name} ({columns}{key})"


def quote(names: tuple[str, ...] | dict[str, str]) -> str:
    """Quoted names with commas between them."""
    return ", ".join(f'"{name}"' for name in names)


def build_upsert_sql(source: str, *, schema: str = "") -> str:
    """The upsert by hand, the same for SQLite and PostgreSQL.

    Args:
        source: what is inserted, `SELECT ...` or `VALUES ...`.
    """
    others = [name for name in COLUMNS if name not in KEYS]
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in others)
    differs = " OR ".join(f'p."{name}" IS DISTINCT FROM excluded."{name}"' for name in others)
    into = f'INSERT INTO {schema}"Predictions" AS p ({quote(COLUMNS)}) {source}'
    return f"{into} ON CONFLICT ({quote(KEYS)}) DO UPDATE SET {changes} WHERE {differs}"


def prepare_sqlite(path: Path, rows: int) -> None:
    """A database whose table has half of the keys."""
    from adfml_assets.write_back.sqlite import to_values

    table = name_columns(build_scores(rows // 2, 2, 2).sort_by("RecordId"))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(build_table_sql())
        marks = ", ".join("?" * len(COLUMNS))
        for batch in table.to_batches(50_000):
            values = zip(*map(to_values, batch.columns), strict=True)
            connection.executemany(f'INSERT INTO "Predictions" VALUES ({marks})', values)  # noqa: S608 - question marks
        connection.commit()


def copy_sqlite(source: Path, target: Path) -> None:
    """A fresh copy, of which nothing is waiting to be written to the disk."""
    shutil.copy(source, target)


def prepare_postgresql(server: RunningPostgresql, url: URL, rows: int) -> None:
    """A table in this database that has half of the keys."""
    from adfml_assets.write_back.postgresql_rows import HEADER, TRAILER, encode
    from tests.postgresql_server import connect

    table = name_columns(build_scores(rows // 2, 2, 2).sort_by("RecordId"))
    with connect(url) as connection:
        connection.execute(build_table_sql().encode())
        with connection.cursor().copy(b'COPY "Predictions" FROM STDIN (FORMAT BINARY)') as copy:
            copy.write(HEADER)
            for batch in table.to_batches(50_000):
                copy.write(encode(batch))
            copy.write(TRAILER)
        connection.execute(b'VACUUM ANALYZE "Predictions"')
