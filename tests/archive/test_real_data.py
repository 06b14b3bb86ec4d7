"""Real invoices, archived whole from every server and compared value by value."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
    """All lines of the file, with their number as key, in the quickest way of each server; everything as it has it."""
    declared = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
    source.execute(f'CREATE TABLE "Retail" (line INTEGER PRIMARY KEY, {declared})')
    with closing(source.engine.raw_connection()) as raw:
        connection: Any = raw.driver_connection
        if source.kind == "duckdb":
            names = ", ".join(f'"{name}"' for name in COLUMNS)
            # Its executemany takes half a millisecond a row.
            connection.execute(
                f'INSERT INTO "Retail" SELECT file_row_number + 1, {names} '
                f"FROM read_parquet('{RETAIL}', file_row_number = true)"
            )
        elif source.kind == "sqlite":
            marks = ", ".join("?" * (1 + len(COLUMNS)))
            connection.executemany(f'INSERT INTO "Retail" VALUES ({marks})', read_lines(str))
        else:
            with connection.cursor().copy('COPY "Retail" FROM STDIN') as copy:
                for row in read_lines():
                    copy.write_row(row)
        raw.commit()
        cursor = raw.cursor()
        cursor.execute('SELECT count(*) FROM "Retail"')
        return int(cursor.fetchall()[0][0])


def read_lines(write_moment: Callable[[datetime], Any] = lambda moment: moment) -> Iterator[tuple[Any, ...]]:
    """Rows of the file, each after its number."""
    place = list(COLUMNS).index("InvoiceDate")
    line = 0
    for batch in pq.ParquetFile(RETAIL).iter_batches(20_000, columns=list(COLUMNS)):
        columns = [
            batch.column(name).cast(pa.string()) if name == "CustomerID" else batch.column(name) for name in COLUMNS
        ]
        values = [column.to_pylist() for column in columns]
        values[place] = [write_moment(moment) for moment in values[place]]
        for row in zip(*values, strict=True):
            line += 1
            yield line, *row


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
