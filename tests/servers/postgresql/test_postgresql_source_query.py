"""Rows that a model is trained on, read from PostgreSQL: chosen by their days, typed exactly."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from sqlalchemy.engine import URL

from adfml_assets.source_query import count_null, join_conditions, read_rows, within_days
from resources.database import Databases
from resources.lake import Lake
from tests.training.conftest import FROM_QUERY, QUERY_LABEL, World, day


@pytest.fixture
def source(url: URL, writer: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch) -> Databases:
    """A row every tenth day for two customers, and one that has no date."""
    writer.execute(
        'CREATE TABLE "Rows" ("CustomerId" bigint, "Feature%Date" timestamptz, "Amount30d" numeric(12,2), "Spend" real)'
    )
    values = [
        (customer, f"{day(number)} 21:30:00+00", Decimal(number) + Decimal("0.25"), number * 2.5)
        for number in range(0, 300, 10)
        for customer in (1, 2)
    ]
    with writer.cursor() as cursor:
        cursor.executemany('INSERT INTO "Rows" VALUES (%s, %s, %s, %s)', [*values, (3, None, None, None)])
    monkeypatch.setenv("ADFML_SHOP_URL", url.render_as_string(hide_password=False))
    return Databases()


def test_days_are_whole_and_names_are_quoted(source: Databases) -> None:
    days = within_days(source, "shop", "Feature%Date", date(2025, 1, 11), date(2025, 1, 21))
    where = join_conditions("\"CustomerId\" < 2 AND '%' <> '{' -- a comment", days)
    schema, batches = read_rows(source, "shop", "public", "Rows", where, ["Amount30d", "Feature%Date"])
    rows = pa.Table.from_batches(batches, schema)
    assert schema.field("Feature%Date").type == pa.timestamp("us", tz="UTC")
    assert rows["Amount30d"].to_pylist() == [Decimal("10.25"), Decimal("20.25")]
    assert count_null(source, "shop", "public", "Rows", "Feature%Date", None) == 1


def test_training_data_is_made_of_them(source: Databases, lake: Lake) -> None:
    world = World(lake, source, source=replace(FROM_QUERY, table="shop.public.Rows", time="Feature%Date"))
    world.label = QUERY_LABEL
    built = world.build()
    assert built.card["feature_types"] == {"Amount30d": "decimal128(12, 2)"}
    assert built.card["periods"]["test"] == [day(290).isoformat()]
    assert built.card["source"]["rows_without_time"] == 1
    assert built.read("test")["Amount30d"].to_pylist() == [Decimal("290.25")] * 2
