"""What SQL Server's types become, by declaration alone, with nothing lost."""

from __future__ import annotations

import pyarrow as pa
import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st

from resources.errors import UnexpectedValue, UnsupportedColumn
from resources.servers.base import BATCH_BYTES, TableName
from resources.servers.sqlserver_catalog import read_table
from resources.servers.sqlserver_reading import adapt_rows, build_schema, estimate_rows, limit_rows, shape_batch
from resources.servers.sqlserver_statements import quote
from resources.servers.sqlserver_types import Declared, list_types, map_column
from tests.servers.sqlserver.standin import column_row

ORDERS = TableName("dbo", "Orders")


@pytest.mark.parametrize(
    ("declared", "source_type", "arrow_type"),
    [
        (Declared("c", "bigint"), "bigint", pa.int64()),
        (Declared("c", "tinyint"), "tinyint", pa.uint8()),
        (Declared("c", "bit"), "bit", pa.bool_()),
        (Declared("c", "numeric", precision=38, scale=38), "numeric(38,38)", pa.decimal128(38, 38)),
        (Declared("c", "money", 8, 19, 4), "money", pa.decimal128(19, 4)),
        (Declared("c", "smallmoney", 4, 10, 4), "smallmoney", pa.decimal128(10, 4)),
        (Declared("c", "float", 8, 53), "float", pa.float64()),
        (Declared("c", "real", 4, 24), "real", pa.float32()),
        (Declared("c", "date"), "date", pa.date32()),
        (Declared("c", "time", scale=6), "time(6)", pa.time64("us")),
        (Declared("c", "time", scale=7), "time(7)", pa.time64("ns")),
        (Declared("c", "datetime"), "datetime", pa.timestamp("us")),
        (Declared("c", "datetime2", scale=3), "datetime2(3)", pa.timestamp("us")),
        (Declared("c", "nvarchar", 100), "nvarchar(50)", pa.string()),
        (Declared("c", "nvarchar", -1), "nvarchar(max)", pa.large_string()),
        (Declared("c", "varbinary", 16), "varbinary(16)", pa.binary()),
        (Declared("c", "varbinary", -1), "varbinary(max)", pa.large_binary()),
        (Declared("c", "timestamp", 8), "timestamp", pa.binary(8)),
        (Declared("c", "sysname", 256), "sysname", pa.string()),
    ],
)
def test_a_value_keeps_its_type(declared: Declared, source_type: str, arrow_type: pa.DataType) -> None:
    columns = map_column(declared, quote, ())
    assert columns is not None
    (column,) = columns
    assert (column.source_type, column.arrow_type) == (source_type, arrow_type)
    assert column.expression == "[c]"


def test_the_seventh_digit_is_in_a_column_beside() -> None:
    moment, digit = map_column(Declared("At", "datetime2", scale=7), quote, ()) or []
    assert (moment.arrow_type, moment.note) == (pa.timestamp("us"), "its 100 ns digit is in At_100ns")
    assert (digit.name, digit.arrow_type, digit.companion_of) == ("At_100ns", pa.uint8(), "At")
    assert digit.expression == "CONVERT(tinyint, DATEPART(NANOSECOND, [At]) % 1000 / 100)"


def test_the_offset_is_in_a_column_beside() -> None:
    moment, offset, digit = map_column(Declared("At", "datetimeoffset", scale=7), quote, ()) or []
    assert moment.arrow_type == pa.timestamp("us", "UTC")
    assert (offset.name, offset.arrow_type) == ("At_offset", pa.int16())
    assert offset.expression == "CONVERT(smallint, DATEPART(TZOFFSET, [At]))"
    assert digit.name == "At_100ns"


def test_a_companion_takes_no_name_of_the_source() -> None:
    rows = [column_row("At", "datetime2", scale=7), column_row("at_100NS", "int"), column_row("At_100ns_", "int")]
    table = read_table(ORDERS, rows, None)
    assert [column.name for column in table.columns] == ["At", "At_100ns__", "at_100NS", "At_100ns_"]


@pytest.mark.parametrize(
    ("declared", "expression"),
    [
        (Declared("c", "xml", -1), "CONVERT(nvarchar(max), [c])"),
        (Declared("c", "hierarchyid", 892, clr=True), "CONVERT(varbinary(892), [c])"),
        (Declared("c", "geography", -1, clr=True), "CONVERT(varbinary(max), [c])"),
        (Declared("c", "Money3", -1, clr=True), "CONVERT(varbinary(max), [c])"),
    ],
)
def test_what_has_no_type_of_its_own_is_converted_by_the_server(declared: Declared, expression: str) -> None:
    (column,) = map_column(declared, quote, ()) or []
    assert column.expression == expression
    assert column.note is not None


def test_a_variant_is_exact_text_with_its_type_beside() -> None:
    value, kind = map_column(Declared("c", "sql_variant"), quote, ()) or []
    assert "WHEN N'float' THEN CONVERT(nvarchar(max), CONVERT(float, [c]), 3)" in value.expression
    assert (kind.name, kind.arrow_type) == ("c_type", pa.string())


def test_ciphertext_and_masks_are_noted() -> None:
    (secret,) = map_column(Declared("c", "datetime2", scale=7, encrypted=True), quote, ()) or []
    assert (secret.expression, secret.arrow_type) == ("[c]", pa.large_binary())
    assert secret.note == "Always Encrypted: the ciphertext"
    (masked,) = map_column(Declared("c", "int", masked=True), quote, ()) or []
    assert masked.note == "masked by the server where the login lacks UNMASK"


def test_every_expression_is_tsql() -> None:
    names = [source.partition("(")[0] for source, _, _ in list_types()]
    for name in names:
        declared = Declared("a]b", name, -1, 38, 7, clr=name == "a CLR type")
        for column in map_column(declared, quote, ()) or []:
            sqlglot.parse_one(f"SELECT {column.expression} AS {quote(column.name)} FROM t", read="tsql")


def test_the_list_of_types_has_every_type_once() -> None:
    sources = [source for source, _, _ in list_types()]
    assert len(sources) == len(set(sources))
    assert {"datetime2(7)", "decimal(p,s)", "uniqueidentifier", "any, Always Encrypted"} <= set(sources)


def test_an_unknown_type_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedColumn, match=r"dbo\.Orders\.c: type holograph"):
        read_table(ORDERS, [column_row("c", "holograph")], None)


def test_a_table_is_read_from_the_catalog() -> None:
    rows = [
        column_row("Line", "int", key=2, temporal=2, nullable=False),
        column_row("Sparse", "xml", column_set=True, temporal=2),
        column_row("graph_id_1", "bigint", hidden=True, temporal=2),
        column_row("Order", "int", key=1, temporal=2, nullable=False),
        column_row("ValidTo", "datetime2", scale=3, hidden=True, generated=2, temporal=2),
    ]
    table = read_table(ORDERS, rows, 8192)
    assert [column.name for column in table.columns] == ["Line", "Order", "ValidTo"]
    assert table.primary_key == ("Order", "Line")
    assert (table.is_temporal, table.is_memory_optimized, table.estimated_bytes) == (True, False, 8192)
    assert table.columns[2].note == "hidden at the source"


def test_the_drivers_arrow_becomes_the_declared_arrow() -> None:
    declared = [
        Declared("Name", "nvarchar", 40, nullable=False),
        Declared("Version", "timestamp", 8),
        Declared("At", "datetimeoffset", scale=0),
        Declared("Clock", "time", scale=3),
    ]
    columns = [column for one in declared for column in map_column(one, quote, ()) or []]
    driver = pa.record_batch(
        {
            "Name": pa.array(["ä", "b"], pa.large_string()),
            "Version": pa.array([b"\0" * 7 + b"\1", None], pa.large_binary()),
            "At": pa.array([0, None], pa.timestamp("us", "+00:00")),
            "At_offset": pa.array([120, None], pa.int16()),
            "Clock": pa.array([1_000_000, None], pa.time64("ns")),
        }
    )
    schema = build_schema(columns)
    batch = shape_batch(driver, schema, ORDERS)
    assert batch.schema.equals(schema, check_metadata=True)
    assert schema.field("At").metadata[b"source_type"] == b"datetimeoffset(0)"
    assert schema.field("At").metadata[b"note"] == b"in UTC, its offset in minutes is in At_offset"
    assert batch.column(1).to_pylist() == [b"\0" * 7 + b"\1", None]


def test_a_value_that_would_be_cut_is_refused() -> None:
    (column,) = map_column(Declared("Clock", "time", scale=3), quote, ()) or []
    driver = pa.record_batch({"Clock": pa.array([1_001], pa.time64("ns"))})
    with pytest.raises(UnexpectedValue, match=r"dbo\.Orders\.Clock: .*time64\[us\]"):
        shape_batch(driver, build_schema([column]), ORDERS)


@given(st.integers(1, 10**6), st.integers(0, 10**10))
def test_batches_come_to_their_size_by_steps(rows: int, size: int) -> None:
    following = adapt_rows(rows, size, 50_000)
    assert 1 <= following <= min(50_000, 4 * rows)
    if following > 1 and size:
        assert following * size / rows <= BATCH_BYTES * 1.01


def test_the_first_batch_of_long_values_is_small() -> None:
    (short,) = map_column(Declared("c", "int"), quote, ()) or []
    (long,) = map_column(Declared("c", "nvarchar", -1), quote, ()) or []
    assert estimate_rows([short]) == 128 * 1024
    assert estimate_rows([long]) == 32
    assert estimate_rows([long] * 1000) == 1


def test_many_columns_of_short_values_do_not_make_long_batches() -> None:
    (short,) = map_column(Declared("c", "bit"), quote, ()) or []
    assert limit_rows([short] * 500) * 500 * 50 <= 4 * BATCH_BYTES
