"""The archive's files are read by others as they are by us."""

from __future__ import annotations

import decimal
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from resources.lake import Lake, ParquetOptions

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("price", pa.decimal128(18, 4)),
        ("small", pa.decimal128(9, 2)),
        ("huge", pa.decimal128(38, 10)),
        ("at", pa.timestamp("us")),
        ("at_utc", pa.timestamp("us", "UTC")),
        ("day", pa.date32()),
        ("clock", pa.time64("us")),
        ("flag", pa.bool_()),
        ("kind", pa.string()),
        ("note", pa.string()),
        ("data", pa.binary()),
        ("real", pa.float64()),
    ]
)


def make_row(n: int) -> dict[str, Any]:
    if n % 10 == 9:
        return {**dict.fromkeys(SCHEMA.names), "id": n}
    return {
        "id": n,
        "price": decimal.Decimal(n * 12_345_678_901 % 10**17).scaleb(-4),
        "small": decimal.Decimal(-n).scaleb(-2),
        "huge": decimal.Decimal(10**27 + n).scaleb(-10),
        "at": datetime(1999 + n % 20, 1, 1, 1, 2, 3, n % 10**6),
        "at_utc": datetime(2026, 1, 1, 1, 2, 3, n % 10**6, UTC),
        "day": date(1700 + n % 400, 3, 1),
        "clock": time(n % 24, 1, 2, n % 10**6),
        "flag": n % 3 == 0,
        "kind": f"kind {n % 4}",
        "note": f"ü {n}",
        "data": bytes([n % 256, 0]),
        "real": n / 7,
    }


ROWS = [make_row(n) for n in range(5000)]


@pytest.fixture(params=["snappy", "zstd"])
def files(folder_lake: Lake, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Several files of several row groups, as a pattern of their names."""
    options = ParquetOptions(compression=request.param, row_group_bytes=60_000, file_bytes=100_000)
    with folder_lake.write_parquet_parts(lambda index: f"archive/t/{index}.parquet", SCHEMA, options) as sink:
        sink.write(pa.RecordBatch.from_pylist(ROWS, SCHEMA))
    assert len(sink.files) > 1
    return str(tmp_path / "lake/archive/t/*.parquet")


def test_duckdb_reads_what_was_written(files: str) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        table = connection.execute(f"SELECT * FROM read_parquet('{files}') ORDER BY id").to_arrow_table()
        assert table.cast(SCHEMA).to_pylist() == ROWS
        found = connection.execute(f"SELECT kind, count(*) FROM read_parquet('{files}') WHERE id = 4000 GROUP BY 1")
        assert found.fetchall() == [("kind 0", 1)]


def test_pandas_reads_what_was_written(files: str) -> None:
    paths = sorted(Path(files).parent.glob("*.parquet"))
    frame = pd.concat([pd.read_parquet(path, dtype_backend="pyarrow") for path in paths]).sort_values("id")
    table = pa.Table.from_pandas(frame, SCHEMA, preserve_index=False)
    assert table.to_pylist() == ROWS
