"""A result's files are read once more: rows that repeat a key are counted exactly, and values are kept to the digit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adfml_assets.features import result
from adfml_assets.features.definition import FeatureSetSpec, TableRef
from adfml_assets.features.errors import DuplicateFeatures, EngineFailed
from adfml_assets.features.result_schema import build_category_type
from tests.features.conftest import EVENTS, Order, Shop, orders_only

_NEAR = st.integers(-40, 40)
_FAR = st.integers(-(2**62), 2**62)
_TEXTS = st.text(max_size=2)
ALL = {"rows": TableRef("shop.main.All", "Moment")}
END = datetime(2026, 3, 11, tzinfo=UTC)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.one_of(
        st.lists(_NEAR, max_size=60),
        st.lists(st.one_of(_NEAR, _NEAR, _FAR), max_size=60),
        st.lists(_TEXTS, max_size=60),
    ),
    files=st.integers(1, 3),
    at_once=st.sampled_from([3, 1_000]),
)
def test_repeated_keys_are_counted_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: list[Any], files: int, at_once: int
) -> None:
    monkeypatch.setattr(result, "KEYS_AT_ONCE", at_once)
    kind = pa.string() if keys and isinstance(keys[0], str) else pa.int64()
    schema = pa.schema([(EVENTS.key, kind), ("OrderedAt", pa.timestamp("us"))])
    paths = [tmp_path / f"{number}.parquet" for number in range(files)]
    for number, path in enumerate(paths):
        own = keys[number::files]
        pq.write_table(pa.table([pa.array(own, kind), pa.repeat(datetime(2026, 3, 1), len(own))], schema=schema), path)
    duplicates = 0
    try:
        found = result.examine_result(EVENTS, schema, paths, END, None)
        assert found.rows == len(keys)
    except DuplicateFeatures as error:
        duplicates = error.duplicates
    assert duplicates == len(keys) - len(set(keys))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.sampled_from([1.0, -1.0, float("inf"), float("nan"), None]), min_size=1, max_size=12),
    kind=st.sampled_from([pa.float32(), pa.float64()]),
)
def test_missing_values_are_counted_whoever_wrote_the_files(
    tmp_path: Path, values: list[float | None], kind: pa.DataType
) -> None:
    rows = len(values)
    table = pa.table(
        {
            EVENTS.key: range(rows),
            "OrderedAt": pa.repeat(datetime(2026, 3, 1), rows),
            "x": pa.array(values, kind),
            "n": pa.array([None if value is None else 1 for value in values], pa.int64()),
        }
    )
    with duckdb.connect() as connection:
        # Several row groups of each: statistics are of groups.
        connection.register("given", table)
        connection.execute(f"COPY (FROM given) TO '{tmp_path}/duckdb.parquet' (ROW_GROUP_SIZE 2048)")
    pq.write_table(table, tmp_path / "arrow.parquet", row_group_size=5)
    missing = {"x": sum(value is None or value != value for value in values), "n": values.count(None)}
    for file in (tmp_path / "duckdb.parquet", tmp_path / "arrow.parquet"):
        assert result.examine_result(EVENTS, table.schema, [file], END, None) == result.Findings(rows, missing, {})


def test_every_type_is_kept(shop: Shop) -> None:
    """What DuckDB writes is read as the types that the statement has, value for value."""
    columns: dict[str, Any] = {
        "Id": pa.array([1, 2], pa.int32()),
        "Moment": pa.array([datetime(2026, 1, 1, 1, 2, 3, 456_789)] * 2, pa.timestamp("us")),
        "zoned": pa.array([datetime(2026, 1, 1, 1, 2, 3, 456_789, UTC), None], pa.timestamp("us", tz="UTC")),
        "day": pa.array([date(1969, 12, 31), None], pa.date32()),
        "flag": pa.array([True, None]),
        "text": pa.array(["Büch|er\n", None]),
        "empty": pa.array([None, None], pa.string()),
        "small": pa.array([Decimal("-1.25"), None], pa.decimal128(5, 2)),
        "long": pa.array([Decimal("12345678901.25"), None], pa.decimal128(18, 2)),
        "huge": pa.array([Decimal("-9999999999999999999999999999.9999999999"), None], pa.decimal128(38, 10)),
        "single": pa.array([0.1, None], pa.float32()),
        "double": pa.array([0.1, float("nan")], pa.float64()),
        **{
            f"n_{kind}": pa.array([1, None], kind)
            for kind in (pa.int8(), pa.int16(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
        },
    }
    table = pa.table(columns)
    shop.archive("All", table)
    counts = "[{'name': 'a', 'count': CAST(2 AS INTEGER)}]"
    spec = FeatureSetSpec(
        name="all",
        key="Id",
        tables=ALL,
        sql=f"SELECT *, CASE WHEN flag THEN {counts} END AS counts, sum(n_int64) OVER () AS total FROM rows",
        rows="event",
        event_time="Moment",
    )
    folder, manifest = shop.build(spec)
    found = shop.lake.read_table(f"{folder}/features.parquet").sort_by("Id")
    assert found.select(table.column_names).schema.equals(table.schema)
    for name in table.column_names:
        # As text: not a number is equal to nothing, itself included.
        assert str(found[name].to_pylist()) == str(table[name].to_pylist()), name
    assert found.schema.field("counts").type == build_category_type()
    assert found["counts"].to_pylist() == [[{"name": "a", "count": 2}], None]
    assert found.schema.field("total").type == pa.int64()
    assert {column.name: column.type for column in manifest.columns} == {
        column.name: str(column.type) for column in found.schema
    }
    assert manifest.facts["missing"]["double"] == manifest.facts["missing"]["empty"] - 1 == 1


def test_a_sum_that_fits_no_64_bits_stops_it(shop: Shop) -> None:
    shop.archive("All", pa.table({"Id": [1, 2], "Moment": pa.array([0, 0], pa.timestamp("us")), "n": [2**62, 2**62]}))
    sql = "SELECT Id, Moment, sum(n) OVER () AS total FROM rows"
    spec = replace(EVENTS, key="Id", event_time="Moment", function=None, sql=sql, parameters={}, tables=ALL)
    with pytest.raises(EngineFailed, match=r"DuckDB failed.*9223372036854775808"):
        shop.build(spec)


@pytest.mark.parametrize("hours", [0, 7])
def test_a_feature_date_with_a_time_of_day_is_refused(shop: Shop, orders: list[Order], hours: int) -> None:
    shop.archive_orders(orders)
    sql = "SELECT DISTINCT Customer, feature_date + to_hours($hours) AS feature_date FROM orders, feature_dates"
    spec = orders_only("moments", function=None, sql=f"{sql} WHERE Customer = 1", parameters={"hours": hours})
    if hours:
        with pytest.raises(EngineFailed, match=r"feature_date is 2026-0.-.. 07:00:00, which is no DATE"):
            shop.build(spec)
    else:
        assert {row["feature_date"] for row in shop.build_rows(spec)} >= {date(2026, 3, 10)}
