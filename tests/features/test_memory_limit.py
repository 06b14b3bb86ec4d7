"""DuckDB works in little memory, and gets more only where a statement cannot be done in it."""

from __future__ import annotations

from dataclasses import replace

import duckdb
import pytest

from adfml_assets.features import memory_limit
from adfml_assets.features.memory_limit import MemoryLimit
from tests.features.conftest import EVENTS, Order, Shop, require_same

LISTS = "SELECT sum(len(l)) FROM (SELECT i % 9, list(i) AS l FROM range(4_000_000) t(i) GROUP BY 1)"
"""Lists are held in memory whole: about 100 MB."""


def test_a_statement_that_needs_more_is_done_again_with_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limit, "CORE_MEGABYTES", 15)
    with duckdb.connect(config={"threads": 2}) as connection:
        memory = MemoryLimit(connection)
        assert _read(connection) == pytest.approx(30, abs=1)
        with pytest.raises(duckdb.OutOfMemoryException):
            connection.execute(LISTS)
        assert memory.run(lambda: connection.execute(LISTS).fetchone()) == (4_000_000,)
        assert 60 <= _read(connection) + 1 <= 480


def test_there_is_an_end_to_it() -> None:
    with duckdb.connect(config={"threads": 1, "memory_limit": "40MB"}) as connection:
        memory = MemoryLimit(connection)
        assert _read(connection) == pytest.approx(40, abs=2)
        with pytest.raises(duckdb.OutOfMemoryException):
            memory.run(lambda: connection.execute(LISTS))


def test_features_that_need_more_than_they_get_at_first_are_the_same(
    shop: Shop, orders: list[Order], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.archive_orders(orders)
    lists = "(SELECT sum(len(l)) FROM (SELECT i % 9, list(i) AS l FROM range(1_000_000) t(i) GROUP BY 1))"
    sql = f"SELECT OrderId, OrderedAt, {lists} + OrderId AS n FROM orders"
    spec = replace(EVENTS, function=None, parameters={}, sql=sql)
    expected = shop.build_rows(spec)
    monkeypatch.setattr(memory_limit, "CORE_MEGABYTES", 5)
    require_same(shop.build_rows(spec), expected)


def _read(connection: duckdb.DuckDBPyConnection) -> float:
    query = "SELECT parse_formatted_bytes(current_setting('memory_limit')) / 1e6"
    found = connection.execute(query).fetchone()
    assert found is not None
    return float(found[0])
