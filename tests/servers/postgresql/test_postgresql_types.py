"""Every type arrives as the exact value the server holds, its edges too; what cannot be held is refused by name."""

from __future__ import annotations

import datetime as dt
import math
import struct
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from resources.errors import UnexpectedValue
from resources.servers import TableName
from resources.servers.postgresql import PostgresqlServer
from resources.servers.postgresql_types import list_types
from tests.postgresql_reading import Read

Writer = psycopg.Connection[Any]
D = Decimal
UTC = dt.UTC
MICRO = dt.timedelta(microseconds=1)

# Type, Arrow type, note, and literals with the values they are to be.
CASES: list[tuple[str, pa.DataType, str | None, list[tuple[str, Any]]]] = [
    ("boolean", pa.bool_(), None, [("true", True), ("false", False)]),
    ("smallint", pa.int16(), None, [("-32768", -32768), ("32767", 32767), ("0", 0)]),
    ("integer", pa.int32(), None, [("-2147483648", -(2**31)), ("2147483647", 2**31 - 1)]),
    ("bigint", pa.int64(), None, [("-9223372036854775808", -(2**63)), ("9223372036854775807", 2**63 - 1)]),
    ("oid", pa.uint32(), None, [("0", 0), ("4294967295", 2**32 - 1)]),
    (
        "real",
        pa.float32(),
        None,
        [
            ("1e-45", 2.0**-149),
            ("3.4028235e38", 3.4028234663852886e38),
            ("0.1", struct.unpack("f", struct.pack("f", 0.1))[0]),
        ],
    ),
    (
        "double precision",
        pa.float64(),
        None,
        [
            ("5e-324", 5e-324),
            ("1.7976931348623157e308", 1.7976931348623157e308),
            ("Infinity", math.inf),
            ("-Infinity", -math.inf),
            ("0.1", 0.1),
        ],
    ),
    (
        "numeric(12,2)",
        pa.decimal128(12, 2),
        None,
        [
            ("0", D("0.00")),
            ("-9999999999.99", D("-9999999999.99")),
            ("9999999999.99", D("9999999999.99")),
            ("0.01", D("0.01")),
            ("10000", D("10000.00")),
            ("-100000000", D("-100000000.00")),
        ],
    ),
    (
        "numeric(18,0)",
        pa.decimal128(18, 0),
        None,
        [("999999999999999999", D(10**18 - 1)), ("-999999999999999999", D(1 - 10**18)), ("10000", D(10000))],
    ),
    (
        "numeric(18,18)",
        pa.decimal128(18, 18),
        None,
        [("0.999999999999999999", D("0.999999999999999999")), ("-0.000000000000000001", D("-0.000000000000000001"))],
    ),
    (
        "numeric(18,1)",
        pa.decimal128(18, 1),
        None,
        [("99999999999999999.9", D("99999999999999999.9")), ("-99999999999999999.9", D("-99999999999999999.9"))],
    ),
    (
        "numeric(19,3)",
        pa.decimal128(19, 3),
        None,
        [
            ("9999999999999999.999", D("9999999999999999.999")),
            ("-0.001", D("-0.001")),
            ("1844674407370955.161", D("1844674407370955.161")),
        ],
    ),
    (
        "numeric(38,0)",
        pa.decimal128(38, 0),
        None,
        [
            ("9" * 38, D("9" * 38)),
            ("-" + "9" * 38, D("-" + "9" * 38)),
            ("18446744073709551616", D(2**64)),
            ("-18446744073709551616", D(-(2**64))),
            ("-18446744073709551615", D(1 - 2**64)),
        ],
    ),
    (
        "numeric(38,1)",
        pa.decimal128(38, 1),
        None,
        [("9" * 37 + ".9", D("9" * 37 + ".9")), ("-" + "9" * 37 + ".9", D("-" + "9" * 37 + ".9"))],
    ),
    (
        "numeric(38,38)",
        pa.decimal128(38, 38),
        None,
        [("0." + "9" * 38, D("0." + "9" * 38)), ("-0." + "0" * 37 + "1", D("-1E-38"))],
    ),
    ("numeric(3,-2)", pa.decimal128(5, 0), None, [("99900", D(99900)), ("-149", D(-100))]),
    ("numeric(3,5)", pa.decimal128(5, 5), None, [("0.00999", D("0.00999"))]),
    ("numeric(39,0)", pa.string(), "as text", [("9" * 39, "9" * 39)]),
    ("numeric", pa.string(), "as text", [("NaN", "NaN"), ("1.500", "1.500"), ("1" + "0" * 200, "1" + "0" * 200)]),
    (
        "date",
        pa.date32(),
        None,
        [("0001-01-01", dt.date.min), ("9999-12-31", dt.date.max), ("1969-12-31", dt.date(1969, 12, 31))],
    ),
    (
        "timestamp",
        pa.timestamp("us"),
        None,
        [
            ("0001-01-01", dt.datetime.min),
            ("9999-12-31 23:59:59.999999", dt.datetime.max),
            ("1969-12-31 23:59:59.999999", dt.datetime(1970, 1, 1) - MICRO),
        ],
    ),
    (
        "timestamptz",
        pa.timestamp("us", "UTC"),
        None,
        [("2026-03-29 03:30:00.000001+02", dt.datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=UTC))],
    ),
    ("time", pa.time64("us"), None, [("00:00", dt.time.min), ("23:59:59.999999", dt.time.max)]),
    (
        "text",
        pa.string(),
        None,
        [("", ""), ("a" * 40, "a" * 40), ("grün 🌲\n\t\\N", "grün 🌲\n\t\\N"), ("x" * 17, "x" * 17)],
    ),
    ("varchar(5)", pa.string(), None, [("abc  ", "abc  ")]),
    ("character(5)", pa.string(), None, [("abc", "abc  ")]),
    ("name", pa.string(), None, [("abc", "abc")]),
    ('"char"', pa.string(), None, [("x", "x")]),
    ("json", pa.string(), None, [('{"b": 1,  "a": 1.0}', '{"b": 1,  "a": 1.0}')]),
    ("jsonb", pa.string(), "as text", [('{"b":1,"a":1.0}', '{"a": 1.0, "b": 1}')]),
    ("bytea", pa.binary(), None, [("\\x", b""), ("\\x00ff5c", b"\x00\xff\\")]),
    (
        "uuid",
        pa.string(),
        "as text",
        [("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")],
    ),
    ("interval", pa.string(), "as text, ISO 8601", [("1 year -2 days 00:00:00.000001", "P1Y-2DT0.000001S")]),
    ("money", pa.string(), "as text, without currency", [("-1234.50", "-1234.50")]),
    ("timetz", pa.string(), "as text", [("24:00:00+05:30", "24:00:00+05:30")]),
    ("bit(3)", pa.string(), "as text of 0 and 1", [("101", "101")]),
    ("bit varying", pa.string(), "as text of 0 and 1", [("", "")]),
    ("inet", pa.string(), "as text", [("10.0.0.1", "10.0.0.1/32")]),
    ("tstzrange", pa.string(), "as text", [("[2026-01-01 00:00+01,)", '["2025-12-31 23:00:00+00",)')]),
    ("point", pa.string(), "as text", [("(0.1,1e300)", "(0.1,1e+300)")]),
    ("tsvector", pa.string(), "as text", [("a:1 b", "'a':1 'b'")]),
    ("pg_lsn", pa.string(), "as text", [("0/16B3748", "0/16B3748")]),
    ("int2vector", pa.string(), "as text", [("1 2", "1 2")]),
    ("xid", pa.string(), "as text", [("4294967295", "4294967295")]),
    ("mood", pa.string(), None, [("très bien", "très bien")]),
    ("pair", pa.string(), "as text", [("(1,a b)", '(1,"a b")')]),
    ("cents", pa.decimal128(9, 2), None, [("-0.05", D("-0.05"))]),
    ("even_cents", pa.decimal128(9, 2), None, [("0.02", D("0.02"))]),
    ("integer[]", pa.list_(pa.int32()), None, [("{}", []), ("{1,NULL,-3}", [1, None, -3])]),
    ("bigint[]", pa.list_(pa.int64()), None, [("{9223372036854775807}", [2**63 - 1])]),
    ("text[]", pa.list_(pa.string()), None, [('{a,"",NULL,"NULL","{,}"}', ["a", "", None, "NULL", "{,}"])]),
    ("numeric(20,2)[]", pa.list_(pa.decimal128(20, 2)), None, [("{-1.5,NULL}", [D("-1.50"), None])]),
    ("boolean[]", pa.list_(pa.bool_()), None, [("{t,f,NULL}", [True, False, None])]),
    (
        "timestamptz[]",
        pa.list_(pa.timestamp("us", "UTC")),
        None,
        [('{"2026-01-01 00:00+01"}', [dt.datetime(2025, 12, 31, 23, tzinfo=UTC)])],
    ),
    (
        "uuid[]",
        pa.list_(pa.string()),
        "elements as text",
        [("{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"])],
    ),
    ("mood[]", pa.list_(pa.string()), None, [("{ok,NULL}", ["ok", None])]),
    ("inet[]", pa.list_(pa.string()), "elements as text", [("{10.0.0.0/8}", ["10.0.0.0/8"])]),
    ("money[]", pa.list_(pa.string()), "elements as text, without currency", [("{1.5}", ["1.50"])]),
    ("jsonb[]", pa.list_(pa.string()), "elements as text", [('{"{\\"a\\":1}"}', ['{"a": 1}'])]),
    ("even_cents[]", pa.list_(pa.decimal128(9, 2)), None, [("{0.02,NULL}", [D("0.02"), None])]),
    ("some_cents", pa.list_(pa.decimal128(9, 2)), None, [("{0.02}", [D("0.02")])]),
]

REFUSED = [
    ("numeric(5,2)", "NaN", "NaN"),
    ("numeric(30,2)", "NaN", "NaN"),
    ("date", "infinity", "infinity"),
    ("date", "-infinity", "-infinity"),
    ("timestamp", "infinity", "infinity"),
    ("timestamp", "-infinity", "-infinity"),
    ("timestamp", "294276-12-31", "64 bits"),
    ("timestamptz", "infinity", "infinity"),
    ("time", "24:00:00", "24:00:00"),
    ("integer[]", "{{1,2},{3,4}}", "2 dimensions"),
    ("integer[]", "[0:1]={1,2}", "first index"),
    ("date[]", "{2026-01-01,infinity}", "infinity"),
    ("text[]", "{{a}}", "2 dimensions"),
]


@pytest.fixture
def types(writer: Writer) -> Writer:
    for statement in (
        "CREATE TYPE mood AS ENUM ('ok', 'très bien')",
        "CREATE TYPE pair AS (a int, b text)",
        "CREATE DOMAIN cents AS numeric(9,2)",
        "CREATE DOMAIN even_cents AS cents CHECK (VALUE * 100 % 2 = 0)",
        "CREATE DOMAIN some_cents AS numeric(9,2)[]",
    ):
        writer.execute(statement)
    return writer


def test_every_value_is_exact_in_every_type(types: Writer, read: Read, fetching: str, server: PostgresqlServer) -> None:
    rows = max(len(values) for *_, values in CASES)
    columns = ", ".join(f"c{index} {source}" for index, (source, *_) in enumerate(CASES))
    types.execute(f"CREATE TABLE t ({columns})".encode())
    expected: list[list[Any]] = [[value for _, value in values] + [None] * (rows - len(values)) for *_, values in CASES]
    for row in range(rows):
        literals = [values[row][0] if row < len(values) else None for *_, values in CASES]
        types.execute(f"INSERT INTO t VALUES ({', '.join(['%s'] * len(CASES))})".encode(), literals)
    table = read("t")
    for index, (source, arrow_type, _, _) in enumerate(CASES):
        assert table.schema.field(index).type == arrow_type, source
        assert table.column(index).to_pylist() == expected[index], source
    with server.open_snapshot() as snapshot:
        described = snapshot.describe(TableName("public", "t"))
    assert [(c.note, c.arrow_type) for c in described.columns] == [(note, arrow) for _, arrow, note, _ in CASES]


def test_not_a_number_and_minus_zero_keep_their_bits(writer: Writer, read: Read) -> None:
    writer.execute("CREATE TABLE t AS SELECT 'NaN'::float8 a, '-0'::float8 b, 'NaN'::float4 c, '-0'::float4 d")
    row = read("t").to_pylist()[0]
    assert math.isnan(row["a"])
    assert math.isnan(row["c"])
    assert math.copysign(1, row["b"]) == math.copysign(1, row["d"]) == -1


@pytest.mark.parametrize(("source", "literal", "reason"), REFUSED)
def test_a_value_without_counterpart_is_refused_by_name(
    writer: Writer, read: Read, source: str, literal: str, reason: str
) -> None:
    writer.execute(f"CREATE TABLE t (id int, odd {source})".encode())
    writer.execute("INSERT INTO t VALUES (1, NULL), (2, %s)", (literal,))
    with pytest.raises(UnexpectedValue, match=r"public\.t\.odd.*view") as caught:
        read("t")
    assert reason in caught.value.reason


def test_dates_and_timestamps_beyond_pythons_years_are_exact(writer: Writer, read: Read) -> None:
    writer.execute(
        "CREATE TABLE t AS SELECT d, t FROM (VALUES (date '4713-01-01 BC', timestamp '4713-01-01 BC'), "
        "('5874897-12-31', '294246-12-31 23:59:59.999999')) v(d, t)"
    )
    writer.execute("ALTER TABLE t ADD days int, ADD micros numeric")
    table = read("t")
    want = writer.execute(
        "SELECT d - date '1970-01-01', (extract(epoch FROM t) * 1000000)::bigint FROM t ORDER BY d"
    ).fetchall()
    assert (
        list(zip(table["d"].cast(pa.int32()).to_pylist(), table["t"].cast(pa.int64()).to_pylist(), strict=True)) == want
    )


def test_text_does_not_depend_on_the_roles_defaults(types: Writer, read: Read) -> None:
    changes = {
        "TimeZone": "Asia/Kolkata",
        "DateStyle": "German",
        "IntervalStyle": "postgres",
        "extra_float_digits": "-10",
        "bytea_output": "escape",
    }
    for name, value in changes.items():
        types.execute(f"ALTER ROLE postgres SET {name} = '{value}'".encode())
    try:
        types.execute(
            "CREATE TABLE t AS SELECT '[2026-01-01 00:00+00,2026-01-02 00:00+00]'::tstzrange a,"
            " '1 day 2 hours'::interval b,"
            " point(0.1::float8 + 0.2, 1) c, ARRAY[ROW(5, '\\x')]::pair[] d,"
            " timestamptz '2026-01-01 00:00+00' e"
        )
        assert read("t").to_pylist() == [
            {
                "a": '["2026-01-01 00:00:00+00","2026-01-02 00:00:00+00"]',
                "b": "P1DT2H",
                "c": "(0.30000000000000004,1)",
                "d": ['(5,"\\\\x")'],
                "e": dt.datetime(2026, 1, 1, tzinfo=UTC),
            }
        ]
    finally:
        types.execute("ALTER ROLE postgres RESET ALL")


def test_a_roles_time_limit_does_not_cut_a_long_read(writer: Writer, server: PostgresqlServer, read: Read) -> None:
    writer.execute("CREATE TABLE t AS SELECT 1 AS id")
    server.list_tables()
    name = writer.info.dbname
    writer.execute(f"ALTER DATABASE {name} SET statement_timeout = '500ms'".encode())
    writer.execute(f"ALTER DATABASE {name} SET idle_in_transaction_session_timeout = '500ms'".encode())
    assert read("t", where="pg_sleep(1) IS NOT NULL").num_rows == 1


def test_the_list_of_types_says_what_the_reader_does(writer: Writer, server: PostgresqlServer) -> None:
    types = {source: (arrow, note) for source, arrow, note in list_types() if " " not in source or source.startswith(
        ("double", "timestamp", "time", "character", "bit"))}  # fmt: skip
    types = {source: row for source, row in types.items() if source != "T[]"}
    columns = ", ".join(f"c{index} {source}" for index, source in enumerate(types))
    writer.execute(f"CREATE TABLE t ({columns})".encode())
    with server.open_snapshot() as snapshot:
        described = snapshot.describe(TableName("public", "t")).columns
    for column, (source, (arrow, note)) in zip(described, types.items(), strict=True):
        assert str(column.arrow_type) == arrow, source
        assert (note or "").startswith(column.note or ""), source
        assert column.source_type.split("(")[0] == source.split("(")[0]
