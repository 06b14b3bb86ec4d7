"""A value arrives as exactly what it is, in the type its column declares; any other value is named, or kept."""

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from sqlite3 import Connection
from typing import Any

import pyarrow as pa
import pytest

from resources.errors import UnexpectedValue
from resources.servers.base import MISMATCHED, TableName
from resources.servers.sqlite_types import find_arrow_type, find_conversion, list_types
from tests.servers.sqlite.conftest import Serve, read, read_table, whole

LARGEST = 2**63 - 1
EXACT: dict[str, list[tuple[Any, Any]]] = {
    "INTEGER": [(0, 0), (-1, -1), (LARGEST, LARGEST), (-(2**63), -(2**63)), ("12", 12), (3.0, 3)],
    "TINYINT": [(70_000, 70_000)],
    "BOOLEAN": [(0, False), (1, True), ("1", True)],
    "REAL": [(1.5, 1.5), (float("inf"), float("inf")), (float("-inf"), float("-inf")), (5e-324, 5e-324), (3, 3.0)],
    "DOUBLE PRECISION": [(0.1, 0.1), (-0.0, 0.0), (2**53, 2.0**53), (float("nan"), None)],
    "DECIMAL(12,2)": [
        (12.34, Decimal("12.34")),
        (-0.01, Decimal("-0.01")),
        (7, Decimal(7)),
        ("9999999999.99", Decimal("9999999999.99")),
        (-9999999999.99, Decimal("-9999999999.99")),
    ],
    "NUMERIC(38, 20)": [
        (0.1, Decimal("0.1")),
        (1e17, Decimal(10**17)),
        (1e-20, Decimal("1e-20")),
        (123456789012345678, Decimal(123456789012345678)),
    ],
    "DECIMAL(18)": [(10**18 - 1, Decimal(10**18 - 1)), (1 - 10**18, Decimal(1 - 10**18)), (5e15, Decimal(5 * 10**15))],
    "DATETIME": [
        ("2026-03-01 12:30:45.123456", datetime(2026, 3, 1, 12, 30, 45, 123456)),
        ("2026-03-01T12:30:45", datetime(2026, 3, 1, 12, 30, 45)),
        ("2026-03-01 12:30", datetime(2026, 3, 1, 12, 30)),
        ("2026-03-01", datetime(2026, 3, 1)),
        ("2024-02-29 23:59:59.9", datetime(2024, 2, 29, 23, 59, 59, 900_000)),
        ("0001-01-01 00:00:00", datetime(1, 1, 1)),
        ("9999-12-31 23:59:59.9999990", datetime.max),
        ("1900-03-01 00:00:00", datetime(1900, 3, 1)),
    ],
    "TIMESTAMP WITH TIME ZONE": [
        ("2026-03-01 12:30:45Z", datetime(2026, 3, 1, 12, 30, 45, tzinfo=UTC)),
        ("2026-03-01T00:30:45.5+02:00", datetime(2026, 2, 28, 22, 30, 45, 500_000, tzinfo=UTC)),
        ("2026-03-01 12:30-0530", datetime(2026, 3, 1, 18, 0, tzinfo=UTC)),
        ("2026-03-01 12:30:45+00", datetime(2026, 3, 1, 12, 30, 45, tzinfo=UTC)),
        ("2026-03-01 12:30:45", datetime(2026, 3, 1, 12, 30, 45, tzinfo=UTC)),
    ],
    "DATE": [("2026-03-01", date(2026, 3, 1)), ("1600-02-29", date(1600, 2, 29)), ("0001-01-01", date.min)],
    "TIME": [("23:59:59.999999", time.max), ("07:05", time(7, 5)), ("00:00:00", time(0))],
    "VARCHAR(3)": [("", ""), ("longer than three", "longer than three"), ("Zürich 🚲 12345678", "Zürich 🚲 12345678"),
                   ("a\0b", "a\0b"), (5, "5"), ("1234567", "1234567"), ("12345678", "12345678")],
    "JSON": [('{"a": 1}', '{"a": 1}'), (5, "5"), (1.5, "1.5")],
    "BLOB": [(b"", b""), (b"\x00\xff", b"\x00\xff"), (b"x" * 100_000, b"x" * 100_000)],
    "NUMERIC": [(1, "1"), (1.5, "1.5"), (0.1 + 0.2, "0.30000000000000004"), ("abc", "abc"), (1e300, "1e+300")],
    "DECIMAL(50,2)": [(12.5, "12.5")],
    "": [(1, "1"), (1.0, "1.0"), ("1", "1")],
}  # fmt: skip
OTHER: dict[str, list[Any]] = {
    "INTEGER": ["abc", 1.5, 1e300, b"1", "2026-01-01"],
    "BOOLEAN": [2, -1, "true", 0.5, b"1"],
    "REAL": ["abc", b"1.0", "1,5"],
    "DECIMAL(12,2)": [1.234, 0.1 + 0.2, 10**10, 1e10, "abc", b"1", float("inf"), 1e300],
    "NUMERIC(38,20)": [10**18, 1e-21],
    "DATETIME": [
        "2026-02-30 00:00:00", "2026-13-01", "2026-00-01", "2026-01-00", "2100-02-29", "0000-01-01",
        1_700_000_000, 2460000.5,
        "2026-03-01 24:00:00", "2026-03-01 23:60:00", "2026-03-01 23:59:60", "2026-03-01 12:30:45.1234567",
        "2026-03-01 12:30:45Z", "2026-03-01 12:30:45+00:00", "2026-03-01x12:30:45", "2026-03-01 12:30:45.",
        "2026-03-01 12",
        "2026-3-1", " 2026-03-01", "2026-03-01 ", "yesterday", "", b"2026-03-01", "2026-03-01 12:30:5", "\uff12026-3-1",
    ],
    "DATETIMEOFFSET": ["2026-03-01 12:30:45+15:00", "2026-03-01 12:30+01:60", "0001-01-01 00:00:00+01:00",
                       "9999-12-31 23:59:59-01:00", "2026-03-01Z", "2026-03-01 12:30:45+1", "2026-03-01 12:30:45 Z",
                       "2026-03-01 12:30:45+01-00", "2026-03-01 12:30:45ZZ"],
    "DATE": ["2026-02-30", "2026-03-01 00:00:00", "20260301", 20260301, "2026/03/01", b""],
    "TIME": ["24:00:00", "12", "12:60", "12:30:45.1234567", "12:30Z", "", 12],
    "TEXT": [b"text", b""],
    "BLOB": ["text", 5, 1.5],
    "": [b"blob"],
}  # fmt: skip


def fill(source: Connection, declared: str, values: list[Any], table: str = "t") -> None:
    source.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, v {declared})")
    source.executemany(f"INSERT INTO {table} (v) VALUES (?)", [(value,) for value in values])


@pytest.mark.parametrize("declared", EXACT, ids=lambda name: name or "none")
def test_every_value_is_exact(declared: str, source: Connection, serve: Serve) -> None:
    fill(source, declared, [value for value, _ in EXACT[declared]] + [None])
    found = read_table(serve(), "t")["v"]
    assert found.type == find_arrow_type(find_conversion(declared))
    assert found.to_pylist() == [value for _, value in EXACT[declared]] + [None]


@pytest.mark.parametrize(("declared", "value"), [(name, value) for name in OTHER for value in OTHER[name]])
def test_a_value_of_another_type_is_named_or_kept(declared: str, value: Any, source: Connection, serve: Serve) -> None:
    (good, converted), *_ = EXACT.get(declared) or EXACT.get(f"{declared} ") or [(None, None)]
    fill(source, declared, [good, value, good])
    with pytest.raises(
        UnexpectedValue, match=r"main\.t\.v: a value is not of the declared type, expected .*\(rowid 2: "
    ):
        read_table(serve(), "t")
    with serve("keep").open_snapshot() as snapshot:
        found = read(snapshot, whole(snapshot, "t"))
        assert snapshot.mismatches == {TableName("main", "t"): 1}
    assert found["v"].to_pylist() == [converted, None, converted]
    ((stored,),) = source.execute("SELECT v FROM t WHERE id = 2")
    text = stored.hex() if isinstance(stored, bytes) else str(stored)
    kept = [None if row is None else json.loads(row) for row in found[MISMATCHED].to_pylist()]
    assert kept == [None, {"v": text}, None]


def test_text_that_is_not_utf_8_is_kept_as_digits(source: Connection, serve: Serve) -> None:
    source.execute("CREATE TABLE t (v TEXT)")
    broken = ["ff", "c080", "eda080", "f4908080", "e282", "6162636465666768c3", "6162636465666768c328", "80"]
    sound = ["c3a9", "e282ac", "f09f9ab2", "ed9fbf", "ee8080", "f48fbfbf", "7f", "61626364656667c3a9"]
    for digits in [*broken, *sound]:
        source.execute(f"INSERT INTO t VALUES (CAST(x'{digits}' AS TEXT))")
    with pytest.raises(UnexpectedValue, match="is not text in UTF-8"):
        read_table(serve(), "t")
    found = read_table(serve("keep"), "t")
    assert found["v"].to_pylist() == [None] * len(broken) + [bytes.fromhex(digits).decode() for digits in sound]
    assert [json.loads(row) for row in found[MISMATCHED].to_pylist()[: len(broken)]] == [{"v": d} for d in broken]


def test_a_message_shows_little_of_the_value(source: Connection, serve: Serve) -> None:
    fill(source, "INTEGER", ["secret " * 1000])
    with pytest.raises(UnexpectedValue) as caught:
        read_table(serve(), "t")
    assert caught.value.reason == f"rowid 1: TEXT '{('secret ' * 6)[:36]}... is not an integer of 64 bits"
    assert (caught.value.table, caught.value.column, caught.value.expected) == ("main.t", "v", "int64")


def test_the_schema_comes_from_the_declaration_alone(source: Connection, serve: Serve) -> None:
    source.execute("CREATE TABLE t (a INT NOT NULL, b NUMERIC(9 , 3), c, d MONEY, _x TEXT NOT NULL)")
    expected = [("a", pa.int64(), False), ("b", pa.decimal128(9, 3), True), ("c", pa.string(), True),
                ("d", pa.string(), True), ("_x", pa.string(), False)]  # fmt: skip
    assert [(f.name, f.type, f.nullable) for f in read_table(serve(), "t").schema] == expected
    kept = read_table(serve("keep"), "t").schema
    assert [(f.name, f.type, f.nullable) for f in kept] == [*((n, t, True) for n, t, _ in expected),
                                                           (MISMATCHED, pa.string(), True)]  # fmt: skip
    sources = {f.name: (f.metadata[b"source_type"], f.metadata.get(b"note")) for f in kept}
    assert sources["b"] == (b"NUMERIC(9 , 3)", None)
    assert sources["c"][0] == b"(none declared)"
    assert sources["c"][1].startswith(b"as text")


def test_types_are_listed_as_they_are_read() -> None:
    listed = list_types()
    for name, arrow, note in listed:
        if "..." not in name and "(" not in name and "," not in name:
            assert (str(find_arrow_type(find_conversion(name))), find_conversion(name).note) == (arrow, note)
    assert ("... INT ...", "int64", None) in listed
    assert str(find_arrow_type(find_conversion("unsigned big int"))) == "int64"
    assert str(find_arrow_type(find_conversion("timestamp(6) with time zone"))) == "timestamp[us, tz=UTC]"


def test_both_ways_keep_several_values_of_a_row(source: Connection, serve: Serve) -> None:
    source.execute("CREATE TABLE t (a INT, b DATE, c TEXT, d BLOB) ")
    source.execute("INSERT INTO t VALUES ('x', 'y', x'00', 'z'), (1, '2026-01-01', 'c', x'64'), (1.5, NULL, 'é', x'')")
    found = read_table(serve("keep"), "t").to_pylist()
    assert found == [
        {"a": None, "b": None, "c": None, "d": None, MISMATCHED: '{"a": "x", "b": "y", "c": "00", "d": "z"}'},
        {"a": 1, "b": date(2026, 1, 1), "c": "c", "d": b"d", MISMATCHED: None},
        {"a": None, "b": None, "c": "é", "d": b"", MISMATCHED: '{"a": "1.5"}'},
    ]
