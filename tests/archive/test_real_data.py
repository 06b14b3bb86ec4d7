"""Real invoices, archived whole from every server and compared value by value."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from tests.archive.conftest import Archive, Source
from tests.demo_data.shop import REPOSITORY

# Read at import: fixtures of the whole test suite clear the ADFML_ variables.
DATA = Path(os.environ.get("ADFML_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
RETAIL = DATA / "online_retail.parquet"

pytestmark = pytest.mark.skipif(
    not RETAIL.is_file(), reason=f"{RETAIL.name} is not in {DATA}; set ADFML_TEST_DATA to the folder that holds it"
)

COLUMNS = {
    "InvoiceNo": "VARCHAR(20)",
    "StockCode": "VARCHAR(20)",
    "Description": "TEXT",
    "Quantity": "BIGINT",
    "InvoiceDate": "TIMESTAMP",
    "UnitPrice": "DOUBLE PRECISION",
    "CustomerID": "VARCHAR(20)",
    "Country": "VARCHAR(60)",
}


def load(source: Source) -> int:
    """All lines of the file, with their number as key; everything as the file has it."""
    declared = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
    source.execute(f'CREATE TABLE "Retail" (line INTEGER PRIMARY KEY, {declared})')
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    line = 0
    with source.engine.begin() as connection:
        insert = sa.text(f'INSERT INTO "Retail" (line, {names}) VALUES (:line, {", ".join(":" + n for n in COLUMNS)})')
        for batch in pq.ParquetFile(RETAIL).iter_batches(20_000):
            rows = [{name: row[name] for name in COLUMNS} for row in batch.to_pylist()]
            for row in rows:
                line += 1
                row["line"] = line
                row["CustomerID"] = None if row["CustomerID"] is None else str(row["CustomerID"])
                row["InvoiceDate"] = str(row["InvoiceDate"]) if source.kind == "sqlite" else row["InvoiceDate"]
            connection.execute(insert, rows)
    return line


def test_half_a_million_invoice_lines_are_the_same(archive: Archive, source: Source, tmp_path: Path) -> None:
    lines = load(source)
    archived = archive.snapshot(source.table("Retail"))
    assert archived.manifest.rows == archived.manifest.facts["rows_at_source"] == lines == 541_909
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    truth = names.replace('"CustomerID"', 'CAST("CustomerID" AS VARCHAR) AS "CustomerID"')
    with duckdb.connect() as connection:
        connection.execute(
            f"CREATE VIEW truth AS SELECT file_row_number + 1 AS line, {truth} "
            f"FROM read_parquet('{RETAIL}', file_row_number = true)"
        )
        folder = f"{tmp_path}/lake/{archived.folder}"
        connection.execute(f"CREATE VIEW found AS SELECT line, {names} FROM '{folder}/*.parquet'")
        for one, other in (("truth", "found"), ("found", "truth")):
            different = connection.sql(f"SELECT * FROM {one} EXCEPT ALL SELECT * FROM {other} LIMIT 3").fetchall()
            assert different == []
