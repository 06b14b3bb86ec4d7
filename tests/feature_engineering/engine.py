"""Running an expression on DuckDB over rows in memory, compiled once: a property is tried on many small tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import ibis
import pyarrow as pa
import pytest

from tests.feature_engineering.plain_python import Line

TRANSACTIONS = pa.schema(
    {
        "TransactionId": pa.int64(),
        "InvoiceNo": pa.string(),
        "CustomerId": pa.int64(),
        "StockCode": pa.string(),
        "Quantity": pa.int64(),
        "UnitPrice": pa.decimal128(12, 3),
        "TransactionDate": pa.timestamp("us"),
    }
)
PRODUCTS = pa.schema({"StockCode": pa.string(), "Category": pa.string()})
DATES = pa.schema({"feature_date": pa.date32()})

Row = dict[str, Any]


class Expression:
    """A function of transactions (and products and feature dates), ready for one set of rows after another."""

    def __init__(self, build: Callable[..., Any], *tables: str, **parameters: Any) -> None:
        self.backend = ibis.duckdb.connect()
        schemas = {"transactions": TRANSACTIONS, "products": PRODUCTS, "feature_dates": DATES}
        given = {}
        for name in ("transactions", *tables):
            given[name] = self.backend.create_table(name, schema=ibis.Schema.from_pyarrow(schemas[name]))
        self.sql = self.backend.compile(build(**given, **parameters))

    def run(
        self,
        lines: Iterable[Line],
        categories: Mapping[str, str | None] | None = None,
        dates: Sequence[date] = (),
    ) -> list[Row]:
        """The result for these rows."""
        self._fill("transactions", make_transactions(lines))
        if categories is not None:
            self._fill("products", pa.table([[*categories], [*categories.values()]], schema=PRODUCTS))
            self._fill("feature_dates", pa.table([pa.array(dates, pa.date32())], schema=DATES))
        return self.backend.con.execute(self.sql).to_arrow_table().to_pylist()

    def _fill(self, name: str, rows: pa.Table) -> None:
        self.backend.con.execute(f"DELETE FROM {name}")
        self.backend.con.register("rows", rows)
        self.backend.con.execute(f"INSERT INTO {name} SELECT * FROM rows")


def make_transactions(lines: Iterable[Line]) -> pa.Table:
    """Lines as the shop's Transactions has them."""
    return pa.Table.from_pylist(
        [
            {
                "TransactionId": line.number,
                "InvoiceNo": line.invoice,
                "CustomerId": line.customer,
                "StockCode": line.code,
                "Quantity": line.quantity,
                "UnitPrice": line.price,
                "TransactionDate": line.moment,
            }
            for line in lines
        ],
        TRANSACTIONS,
    )


def index_rows(rows: Iterable[Row], *keys: str, drop: Sequence[str] = ()) -> dict[Any, Row]:
    """Rows by their keys, without these; a key that comes twice fails."""
    indexed: dict[Any, Row] = {}
    for row in rows:
        key = tuple(row[name] for name in keys)
        assert key not in indexed, f"{keys} {key} comes twice"
        indexed[key] = {name: value for name, value in row.items() if name not in (*keys, *drop)}
    return indexed


def assert_same(found: Mapping[Any, Row], expected: Mapping[Any, Row]) -> None:
    """The same keys; names in the same order; the same values, floats to 1e-9 of themselves."""
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        assert [*found[key]] == [*row]
        for name, value in row.items():
            wanted = pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else value
            assert found[key][name] == wanted, f"{name} of {key}"
            assert type(found[key][name]) is type(value), f"{name} of {key}"
