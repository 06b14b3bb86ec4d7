"""A DuckDB file as a source: typed by its declarations, exact, of one state; and open to one process at a time."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from resources.database import Databases
from resources.errors import NotFound, Refused, SettingInvalid, UnexpectedValue, Unreachable
from resources.servers.base import TableName, TableQuery, Watermark
from resources.servers.duckdb import READERS, DuckdbServer, DuckdbSnapshot
from resources.servers.opening import open_server
from resources.settings import database_setting

NAME = TableName("main", "T")
COLUMNS: dict[str, tuple[str, str, pa.DataType, Any]] = {
    "a": ("UTINYINT", "255", pa.uint8(), 255),
    "b": ("UBIGINT", "18446744073709551615", pa.uint64(), 2**64 - 1),
    "c": ("HUGEINT", "-170141183460469231731687303715884105727", pa.string(), str(-(2**127) + 1)),
    "d": ("DECIMAL(38,4)", "1234567890123456789012345678901234.5678", pa.decimal128(38, 4), None),
    "e": ("FLOAT", "0.5", pa.float32(), 0.5),
    "f": ("DOUBLE", "'Infinity'", pa.float64(), float("inf")),
    "g": ("VARCHAR", "'ü 😀'", pa.string(), "ü 😀"),
    "h": ("ENUM('x', 'y')", "'y'", pa.string(), "y"),
    "i": ("UUID", "'0b6f6f0e-6f0e-4f0e-8f0e-0f0e0f0e0f0e'", pa.string(), "0b6f6f0e-6f0e-4f0e-8f0e-0f0e0f0e0f0e"),
    "j": ("BLOB", "'\\x00\\xFF'", pa.binary(), b"\x00\xff"),
    "k": ("DATE", "'2026-02-28'", pa.date32(), date(2026, 2, 28)),
    "l": ("TIME", "'23:59:59.999999'", pa.time64("us"), time(23, 59, 59, 999_999)),
    "m": ("TIMESTAMP_S", "'2026-02-28 01:02:03'", pa.timestamp("us"), datetime(2026, 2, 28, 1, 2, 3)),
    "n": (
        "TIMESTAMPTZ",
        "'2026-02-28 01:00:00.000001+01'",
        pa.timestamp("us", "UTC"),
        datetime(2026, 2, 28, 0, 0, 0, 1, tzinfo=UTC),
    ),
    "o": ("TIMESTAMP_NS", "'2026-02-28 01:02:03.123456789'", pa.string(), "2026-02-28 01:02:03.123456789"),
    "p": ("STRUCT(x INTEGER, y VARCHAR[])", "{'x': 1, 'y': ['a', NULL]}", pa.string(), '{"x":1,"y":["a",null]}'),
    "q": ("INTEGER[]", "[1, NULL]", pa.string(), "[1,null]"),
    "r": ("INTERVAL", "INTERVAL 3 DAY", pa.string(), "3 days"),
    "s": ("JSON", """'{"a":  1}'""", pa.string(), '{"a":  1}'),
    "t": ("BOOLEAN", "true", pa.bool_(), True),
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "shop.duckdb"
    monkeypatch.setenv("ADFML_SHOP_URL", f"duckdb:///{path}")
    with duckdb.connect(path) as connection:
        declared = ", ".join(f'"{name}" {kind}' for name, (kind, *_) in COLUMNS.items())
        values = ", ".join(value for _, value, *_ in COLUMNS.values())
        connection.execute(f'CREATE TABLE "T" (id INTEGER PRIMARY KEY, "When" TIMESTAMP NOT NULL, {declared})')
        connection.execute(f"""INSERT INTO "T" VALUES (1, '2026-03-01 12:00:00.5', {values})""")
        connection.execute("""INSERT INTO "T" (id, "When") VALUES (2, '2026-03-02'), (3, 'infinity')""")
        connection.execute('CREATE VIEW few AS SELECT id, "When" FROM "T" WHERE id < 3')
    return path


@pytest.fixture
def server(file: Path, databases: Databases) -> DuckdbServer:
    opened = open_server(databases.engine("shop"), "shop", database_setting("shop"))
    assert isinstance(opened, DuckdbServer)
    return opened


@pytest.fixture
def snapshot(server: DuckdbServer) -> Iterator[DuckdbSnapshot]:
    with server.open_snapshot() as opened:
        yield opened


def read(snapshot: DuckdbSnapshot, *columns: str, table: TableName = NAME, **options: Any) -> list[dict[str, Any]]:
    query = TableQuery(snapshot.describe(table), columns, **options)
    batches = list(snapshot.read(query))
    assert all(batch.schema.equals(snapshot.schema_of(query)) for batch in batches)
    assert sum(batch.num_rows for batch in batches) == snapshot.count(query)
    return pa.Table.from_batches(batches, snapshot.schema_of(query)).to_pylist()


def test_every_type_comes_as_it_is_declared(server: DuckdbServer, snapshot: DuckdbSnapshot) -> None:
    described = snapshot.describe(NAME)
    assert (server.list_tables(), described.primary_key) == ([NAME], ("id",))
    assert {column.name: column.arrow_type for column in described.columns[2:]} == {
        name: kind for name, (_, _, kind, _) in COLUMNS.items()
    }
    first, second = read(snapshot, *COLUMNS, where="id < 3 -- not the last")
    expected = {name: value for name, (*_, value) in COLUMNS.items()}
    assert first == {**expected, "d": Decimal("1234567890123456789012345678901234.5678")}
    assert set(second.values()) == {None}
    assert snapshot.count_null(described, "a") == 2


def test_what_has_no_counterpart_is_refused(snapshot: DuckdbSnapshot) -> None:
    with pytest.raises(UnexpectedValue, match=r"main.T.When: .* expected a finite TIMESTAMP"):
        read(snapshot, "When")
    # What failed is in nobody's way.
    for _ in range(12):
        with pytest.raises(Refused, match=r"shop.duckdb refused: Conversion Error.*where"):
            read(snapshot, "id", where="CAST(g AS INTEGER) = 1")
    assert len(read(snapshot, "id")) == 3
    with pytest.raises(NotFound, match=r"no table 'main.Tee' in database 'shop'. It has: main.T, main.few"):
        snapshot.describe(TableName("main", "Tee"))
    with pytest.raises(NotFound, match=r"no column 'idd' in main.T"):
        read(snapshot, "idd")


def test_a_condition_is_refused_with_its_reason_also_where_no_transaction_is_free(snapshot: DuckdbSnapshot) -> None:
    query = TableQuery(snapshot.describe(NAME), ("id",))
    begun = [snapshot.read(query) for _ in range(READERS - 1)]
    assert sum(next(reader).num_rows for reader in begun) == 3 * len(begun)
    with pytest.raises(Refused, match=r"refused: Catalog Error: .*no_such_function.*where"):
        read(snapshot, "id", where="no_such_function(id)")
    with pytest.raises(Refused, match=r"refused: Catalog Error: .*no_such_table.*where"):
        snapshot.count(replace(query, where="id IN (FROM no_such_table)"))


def test_a_table_that_was_dropped_since_it_was_described_is_not_found(server: DuckdbServer, file: Path) -> None:
    with server.open_snapshot() as before:
        described = before.describe(NAME)
    with duckdb.connect(file) as connection:
        connection.execute('DROP VIEW few; DROP TABLE "T"')
    with server.open_snapshot() as after, pytest.raises(NotFound, match=r"no table 'main.T' in database 'shop'"):
        list(after.read(TableQuery(described, ("id",))))


def test_rows_are_followed_by_a_watermark(snapshot: DuckdbSnapshot) -> None:
    some = TableName("main", "few")
    when, number = Watermark("When"), Watermark("id", "integer")
    described = snapshot.describe(some)
    assert snapshot.find_largest(described, when) == "2026-03-02T00:00:00.000000"
    assert snapshot.find_largest(described, number) == "2"
    assert snapshot.find_largest(snapshot.describe(NAME), when) == "2026-03-02T00:00:00.000000"
    assert snapshot.find_largest(described, Watermark("When", lag_seconds=10**9)) is None
    lower, upper = "2026-03-01T12:00:00.500000", "2026-03-02T00:00:00.000000"
    assert read(snapshot, "id", table=some, watermark=when, upper=lower) == [{"id": 1}]
    assert read(snapshot, "id", table=some, watermark=when, lower=lower, upper=upper) == [{"id": 2}]
    assert read(snapshot, "id", table=some, watermark=when) == []
    assert read(snapshot, "id", table=some, watermark=number, lower="0", upper="1") == [{"id": 1}]
    with pytest.raises(SettingInvalid, match="kind rowversion"):
        snapshot.find_largest(described, Watermark("id", "rowversion"))


def test_all_reads_of_a_snapshot_see_one_state(server: DuckdbServer, databases: Databases) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 10
        with databases.connect("shop") as connection:
            while not stop.is_set():
                with connection.begin():
                    connection.exec_driver_sql(f'INSERT INTO "T" (id, "When") VALUES ({number}, \'2026-03-03\')')
                number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            with server.open_snapshot() as snapshot:
                query = TableQuery(snapshot.describe(NAME), ("id",))
                # Each of them is another transaction.
                readers = [snapshot.read(query) for _ in range(8)]
                firsts = [next(reader).num_rows for reader in readers]
                assert len(set(firsts)) == 1
                assert snapshot.facts["one_state"]
                del readers
    finally:
        stop.set()
        writer.join()


def test_snapshots_begin_beside_each_other(server: DuckdbServer) -> None:
    gate = threading.Barrier(4)

    def count(_: int) -> int:
        gate.wait()
        for _ in range(10):
            with server.open_snapshot() as snapshot:
                rows = snapshot.describe(NAME)
        return len(rows.columns)

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(count, range(4))) == {len(COLUMNS) + 2}


def test_another_process_that_has_the_file_is_named(file: Path, databases: Databases) -> None:
    hold = f"import duckdb; c = duckdb.connect({str(file)!r}); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        hasty = Databases(connect_timeout_seconds=0)
        with (
            pytest.raises(Unreachable, match=rf"process {holder.pid} \(.*python.*\) has it open") as caught,
            hasty.connect("shop"),
        ):
            pass
        assert "wait until it has ended" in str(caught.value)
        # Who waits comes in as soon as the other one has ended.
        threading.Timer(0.2, holder.communicate, ["\n"]).start()
        with databases.connect("shop") as connection:
            assert connection.exec_driver_sql('SELECT count(*) FROM "T"').scalar_one() == 3
    # A connection that was closed keeps nobody out.
    with duckdb.connect(file) as connection:
        assert connection.execute('SELECT count(*) FROM "T"').fetchall() == [(3,)]


def test_a_file_that_does_not_exist_is_not_made(
    tmp_path: Path, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADFML_SHOP_URL", f"duckdb:///{tmp_path}/none.duckdb")
    with pytest.raises(Unreachable, match="the file does not exist"), databases.connect("shop"):
        pass
    assert not (tmp_path / "none.duckdb").exists()
    monkeypatch.setenv("ADFML_MEMORY_URL", "duckdb:///:memory:")
    with pytest.raises(SettingInvalid, match="ADFML_MEMORY_URL is not valid: expected a DuckDB file"):
        open_server(databases.engine("memory"), "memory", database_setting("memory"))
