"""The real shop: the public Online Retail data set of the UCI repository, whole and exact, in the demo's tables."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from demo.shop_database import ROWS_A_BATCH, Recipe, build, ensure, python_values
from demo.shop_schema import ShopSourceError, ShopSummary, insert_statement, transactions

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BUILDER_VERSION = 1

SOURCE_TYPES = {
    "InvoiceNo": "string",
    "StockCode": "string",
    "Description": "string",
    "Quantity": "int32",
    "InvoiceDate": "timestamp[us]",
    "UnitPrice": "double",
    "CustomerID": "int32",
    "Country": "string",
}
"""The columns of the file, and the Arrow types of what our tables hold; any type that converts without loss will do."""

WANTED = "the Online Retail data as a Parquet file"
NULLABLE = {"Description", "CustomerID"}
LONGEST = {"InvoiceNo": 20, "StockCode": 20, "Description": 200, "Country": 60}
LARGEST_PRICE = 999_999_999.999

SERVICE_CODES = ("POST", "DOT", "M", "D", "BANK CHARGES", "AMAZONFEE", "CRUK", "S", "PADS", "C2", "B")
"""Stock codes, in any case, that are postage, fees, corrections and the like; so are gift vouchers (GIFT_…)."""

# In SQLite a column beside a lone max() comes from the row of the maximum: here the last line by time, then number.
LAST_LINE = "max(TransactionDate || printf('%010d', TransactionId))"

FILL_CUSTOMERS = f"""
INSERT INTO Customers (CustomerId, Name, Country, CreatedDate, ModifiedDate)
SELECT CustomerId, NULL, Country, first, TransactionDate
FROM (SELECT CustomerId, Country, TransactionDate, {LAST_LINE}
      FROM Transactions WHERE CustomerId IS NOT NULL GROUP BY CustomerId)
JOIN (SELECT CustomerId, min(TransactionDate) AS first FROM Transactions GROUP BY CustomerId) USING (CustomerId)
ORDER BY CustomerId"""  # noqa: S608

# Of descriptions that are equally frequent the one seen last is taken: older ones were often notes ("damaged").
FILL_PRODUCTS = f"""
INSERT INTO Products (StockCode, Description, Category, UnitPrice, ModifiedDate)
WITH newest AS (
  SELECT StockCode, UnitPrice, TransactionDate, {LAST_LINE} FROM Transactions GROUP BY StockCode),
described AS (
  SELECT StockCode, Description, count(*) AS times, max(TransactionId) AS seen
  FROM Transactions WHERE Description IS NOT NULL GROUP BY StockCode, Description),
named AS (
  SELECT StockCode, Description, max(printf('%010d%010d', times, seen)) FROM described GROUP BY StockCode)
SELECT StockCode, named.Description,
       CASE WHEN upper(StockCode) IN (SELECT value FROM json_each(:service_codes))
              OR upper(StockCode) GLOB 'GIFT_*' THEN 'Service' ELSE 'Product' END,
       newest.UnitPrice, newest.TransactionDate
FROM newest LEFT JOIN named USING (StockCode)
ORDER BY StockCode"""  # noqa: S608


def ensure_online_retail(source_parquet: Path, path: Path) -> ShopSummary:
    """Like `load_online_retail`, but one that was loaded from the same bytes stays, with all that was done to it."""
    with _open(source_parquet) as file:
        recipe = _recipe(file)
    return ensure(path, recipe, lambda: load_online_retail(source_parquet, path))


def load_online_retail(source_parquet: Path, path: Path) -> ShopSummary:
    """Loads the Online Retail file into a shop database at `path`, in place of the one that may be there.

    Transactions has one row a line of the file, in its order, numbered from 1; the file's times are kept as they are
    and called UTC. ModifiedDate is InvoiceDate: the file knows no other. Customers come from the distinct CustomerIDs
    (the country of the last line, the first and the last invoice), Products from the distinct StockCodes (the most
    frequent description, the last line's unit price, whatever it was). Feedback and SensorReadings stay empty.

    Args:
        source_parquet: a Parquet file with the columns of `SOURCE_TYPES`.
        path: the SQLite file; `<path>.json` beside it says what it was loaded from.

    Raises:
        ShopSourceError: the file is missing, no Parquet, lacks a column, or holds a value the tables cannot hold.
        ShopFileError: the file at `path` is no shop database, is damaged, or is in use.
    """
    with _open(source_parquet) as file:
        # The bytes that are hashed are the bytes that are read: both come from this one open file.
        recipe = _recipe(file)
        parquet = _open_parquet(source_parquet, file)

        def fill(connection: sqlite3.Connection) -> None:
            statement = insert_statement(transactions)
            for first_line, batch in _batches(source_parquet, parquet):
                connection.executemany(statement, _rows(source_parquet, first_line, batch))
            connection.execute(FILL_CUSTOMERS)
            connection.execute(FILL_PRODUCTS, {"service_codes": json.dumps(SERVICE_CODES)})

        return build(path, recipe, fill)


def _open(source: Path) -> BinaryIO:
    try:
        return source.open("rb")
    except OSError as error:
        problem = f"it cannot be opened ({error.strerror})"
        raise ShopSourceError(str(source), problem, WANTED, "Give the path of that file.") from error


def _recipe(file: BinaryIO) -> Recipe:
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    return Recipe("online_retail", BUILDER_VERSION, {}, {"size": file.tell(), "sha256": digest})


def _open_parquet(source: Path, file: BinaryIO) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file.seek(0)
    try:
        parquet = pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        problem = f"it cannot be read as Parquet ({error})"
        raise ShopSourceError(str(source), problem, WANTED, "Give the path of that file.") from error
    found = parquet.schema_arrow.names
    missing = [name for name in SOURCE_TYPES if name not in found]
    if missing:
        raise ShopSourceError(
            str(source),
            f"it has no column {', '.join(missing)}; its columns are {', '.join(found)}",
            f"the columns {', '.join(SOURCE_TYPES)}",
            "Rename its columns, or give another file.",
        )
    return parquet


def _batches(source: Path, parquet: pq.ParquetFile) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The file's lines in their order, each batch with the number of its first line, from 1."""
    import pyarrow as pa

    first_line = 1
    try:
        for batch in parquet.iter_batches(batch_size=ROWS_A_BATCH, columns=list(SOURCE_TYPES)):
            yield first_line, batch
            first_line += len(batch)
    except (pa.ArrowException, OSError) as error:
        problem = f"it cannot be read after line {first_line - 1} ({error})"
        raise ShopSourceError(str(source), problem, WANTED, "Fetch the file again.") from error


def _rows(source: Path, first_line: int, batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    """The batch as rows of Transactions."""
    columns = {name: _checked(source, first_line, name, batch.column(name)) for name in SOURCE_TYPES}
    invoiced = python_values(columns["InvoiceDate"].to_numpy(zero_copy_only=False))
    return zip(
        range(first_line, first_line + len(batch)),
        columns["InvoiceNo"].to_pylist(),
        columns["CustomerID"].to_pylist(),
        columns["StockCode"].to_pylist(),
        columns["Description"].to_pylist(),
        columns["Quantity"].to_pylist(),
        columns["UnitPrice"].to_pylist(),
        columns["Country"].to_pylist(),
        invoiced,
        invoiced,
        strict=True,
    )


def _checked(source: Path, first_line: int, name: str, column: pa.Array) -> pa.Array:
    """The column in the type of `SOURCE_TYPES`; refuses what our table would cut, round or not take."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    def refuse(bad: pa.Array, expected: str) -> None:
        """Names the first line where `bad` is true, if there is one."""
        position = pc.index(bad, True).as_py()
        if position >= 0:
            where = f"{source}, line {first_line + position}, column {name}"
            raise ShopSourceError(where, f"{column[position].as_py()!r}", expected, "Mend the file, or give another.")

    try:
        if name == "UnitPrice" and pa.types.is_decimal(column.type):
            # Arrow's own way from a decimal to a double is not always the nearest one; through its digits it is.
            column = column.cast(pa.decimal128(15, 3)).cast(pa.string())
        converted = column.cast(SOURCE_TYPES[name])
    except pa.ArrowException as error:
        where = f"{source}, column {name}, lines {first_line} to {first_line + len(column) - 1}"
        problem = f"{column.type} that does not convert without loss ({error})"
        raise ShopSourceError(where, problem, SOURCE_TYPES[name], "Mend the file, or give another.") from error
    if name not in NULLABLE:
        refuse(converted.is_null(), "a value")
    if name in LONGEST:
        refuse(pc.greater(pc.utf8_length(converted), LONGEST[name]), f"at most {LONGEST[name]} characters")
    if name == "InvoiceDate":
        years = pc.year(converted)
        refuse(pc.or_(pc.less(years, 1000), pc.greater(years, 9999)), "a year of four digits")
    if name == "UnitPrice":
        prices = converted.to_numpy(zero_copy_only=False)
        # The nearest double of a decimal with three places is what dividing whole thousandths gives, and only that.
        inexact = (np.rint(prices * 1000) / 1000 != prices) | ~(np.abs(prices) <= LARGEST_PRICE)
        refuse(pa.array(inexact), "a price with at most three decimals and nine digits before them")
    return converted
