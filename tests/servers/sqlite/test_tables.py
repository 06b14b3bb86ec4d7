"""Every kind of table is found, described and read, whatever its names and its size."""

from contextlib import closing
from pathlib import Path
from sqlite3 import Connection, connect

import pyarrow as pa
import pytest

from resources.errors import NotFound, Refused, UnexpectedValue
from resources.servers.base import BATCH_BYTES, MISMATCHED, TableName, TableQuery, Watermark
from tests.servers.sqlite.conftest import Serve, read, read_table, whole

ODD_NAMES = [
    "a b",
    'q"uote',
    "b[rack]et",
    "semi;colon",
    "ünï 🚲",
    "select",
    "it's",
    "back`tick",
    "a.b",
    "%s",
    "?1",
    "--",
    "",
]


def test_tables_are_listed_without_views_and_inner_tables(source: Connection, serve: Serve) -> None:
    source.execute("CREATE TABLE Real (id INTEGER PRIMARY KEY AUTOINCREMENT, v TEXT)")
    source.execute("CREATE VIRTUAL TABLE search USING fts5(v)")
    source.execute("CREATE VIRTUAL TABLE box USING rtree(id, low, high)")
    source.execute("CREATE VIEW seen AS SELECT * FROM Real")
    source.execute("CREATE VIEW broken AS SELECT * FROM nowhere")
    source.execute("CREATE TEMP TABLE passing (v)")
    assert serve().list_tables() == [TableName("main", name) for name in ("Real", "box", "search")]


def test_odd_names_are_names(source: Connection, serve: Serve) -> None:
    for name in ODD_NAMES:
        quoted = '"' + name.replace('"', '""') + '"'
        source.execute(f"CREATE TABLE {quoted} ({quoted} TEXT, other INTEGER)")
        source.execute(f"INSERT INTO {quoted} VALUES (?, 5)", (name,))
    assert [table.table for table in serve().list_tables()] == sorted(ODD_NAMES)
    with serve().open_snapshot() as snapshot:
        for name in ODD_NAMES:
            query = whole(snapshot, name)
            assert read(snapshot, query).to_pylist() == [{name: name, "other": 5}]
            assert (snapshot.count(query), snapshot.count_null(query.table, name)) == (1, 0)
            assert snapshot.find_largest(query.table, Watermark("other", "integer")) == "5"


def test_a_view_of_a_table_that_is_gone_names_the_table(source: Connection, serve: Serve) -> None:
    source.execute("CREATE TABLE somewhere (v)")
    source.execute("CREATE VIEW broken AS SELECT * FROM nowhere")
    with serve().open_snapshot() as snapshot, pytest.raises(NotFound, match=r"no table 'nowhere'.*It has: somewhere"):
        snapshot.describe(TableName("main", "broken"))


def test_a_name_has_to_be_exact(source: Connection, serve: Serve) -> None:
    source.execute("CREATE TABLE Orders (Id INT)")
    with serve().open_snapshot() as snapshot:
        with pytest.raises(
            NotFound, match=r"no table 'orders' in database 'shop', schema 'main'.*Did you mean 'Orders'"
        ):
            snapshot.describe(TableName("main", "orders"))
        with pytest.raises(NotFound, match=r"no schema 'dbo' in database 'shop'"):
            snapshot.describe(TableName("dbo", "Orders"))
        with pytest.raises(NotFound, match=r"no column 'id' in main.Orders"):
            next(snapshot.read(TableQuery(snapshot.describe(TableName("main", "Orders")), ("id",))))


def test_a_column_that_was_dropped_is_no_text(path: Path, serve: Serve) -> None:
    with closing(connect(path)) as source:
        source.execute("CREATE TABLE t (a TEXT, b TEXT)")
        source.execute("INSERT INTO t VALUES ('a1', 'b1')")
        source.commit()
        with serve().open_snapshot() as snapshot:
            query = whole(snapshot, "t")
            source.execute("ALTER TABLE t DROP COLUMN b")
            source.commit()
            with pytest.raises(NotFound, match=r"no column 't\.b' in main\.t"):
                read(snapshot, query)


def test_keys_nullability_and_size_are_described(source: Connection, serve: Serve) -> None:
    source.execute("CREATE TABLE t (b TEXT NOT NULL, a INT, c INT, PRIMARY KEY (c, a)) WITHOUT ROWID")
    source.execute("CREATE TABLE n (id INTEGER PRIMARY KEY, v INT)")
    source.executemany("INSERT INTO n (v) VALUES (?)", [(1,)] * 1000)
    with serve().open_snapshot() as snapshot:
        table = snapshot.describe(TableName("main", "t"))
        assert (table.primary_key, table.estimated_bytes) == (("c", "a"), None)
        assert [column.nullable for column in table.columns] == [False, False, False]
        assert snapshot.describe(TableName("main", "n")).estimated_bytes == 16_000


@pytest.mark.parametrize(
    "create",
    [
        "CREATE TABLE t (k TEXT PRIMARY KEY, v INT) WITHOUT ROWID",
        "CREATE TABLE t (k TEXT, v INT) STRICT",
        "CREATE TABLE t (rowid TEXT, v INT)",
        "CREATE TABLE t (rowid TEXT, _rowid_ INT, oid INT AS (_rowid_ + 1))",
        "CREATE TABLE t (k TEXT, v INT, g INT AS (v * 2), s TEXT AS (k || v) STORED)",
        "CREATE TABLE x (k TEXT, v INT); CREATE VIEW t AS SELECT k, v FROM x; INSERT INTO x VALUES ('a', 1), ('b', 2)",
        "CREATE VIRTUAL TABLE t USING fts5(k, v)",
    ],
)
def test_every_kind_of_table_is_read(create: str, source: Connection, serve: Serve) -> None:
    source.executescript(create)
    if "VIEW" not in create:
        names = [row[1] for row in source.execute("PRAGMA table_xinfo(t)") if row[6] == 0][:2]
        source.execute(f"INSERT INTO t ({', '.join(names)}) VALUES ('a', 1), ('b', 2)")
    cursor = source.execute("SELECT * FROM t")
    expected = [dict(zip([about[0] for about in cursor.description], row, strict=True)) for row in cursor]
    with serve().open_snapshot() as snapshot:
        query = whole(snapshot, "t")
        found = [row for part in snapshot.split(query, 2) for row in read(snapshot, part).to_pylist()]
    if "fts5" in create:
        expected = [{name: str(value) for name, value in row.items()} for row in expected]
    assert found == expected


def test_the_row_is_named_as_far_as_it_has_a_name(source: Connection, serve: Serve) -> None:
    source.execute("CREATE TABLE t (rowid TEXT, v INT)")
    source.execute("CREATE TABLE k (k INT PRIMARY KEY, v INT) WITHOUT ROWID")
    source.execute("INSERT INTO t (_rowid_, rowid, v) VALUES (17, 'a', 'x')")
    source.execute("INSERT INTO k VALUES (1, 1), (2, 'x')")
    with pytest.raises(UnexpectedValue, match="rowid 17"):
        read_table(serve(), "t")
    with pytest.raises(UnexpectedValue, match="row 2 of those read"):
        read_table(serve(), "k")


def test_a_null_where_none_may_be_is_named_or_kept(source: Connection, serve: Serve) -> None:
    source.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v INT, w TEXT)")
    source.execute("INSERT INTO t (v, w) VALUES (1, 'a'), (NULL, 'b'), (3, NULL)")
    source.execute("PRAGMA writable_schema = ON")
    sql = "CREATE TABLE t (id INTEGER PRIMARY KEY, v INT NOT NULL, w TEXT NOT NULL)"
    source.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 't'", (sql,))
    source.execute("PRAGMA writable_schema = RESET")
    with pytest.raises(UnexpectedValue, match=r"main\.t\.v.*rowid 2: NULL is not a value: the column is NOT NULL"):
        read_table(serve(), "t")
    found = read_table(serve("keep"), "t")
    assert found["v"].to_pylist() == [1, None, 3]
    assert found[MISMATCHED].to_pylist() == [None, '{"v": null}', '{"w": null}']


def test_two_thousand_columns(source: Connection, serve: Serve) -> None:
    names = [f"c{number}" for number in range(2000)]
    source.execute(f"CREATE TABLE wide ({', '.join(f'{name} INT' for name in names)})")
    source.execute(f"INSERT INTO wide VALUES ({', '.join(str(number) for number in range(2000))})")
    assert read_table(serve(), "wide").to_pylist() == [{name: number for number, name in enumerate(names)}]
    assert read_table(serve("keep"), "wide").num_columns == 2001


def test_an_empty_table_has_its_schema(source: Connection, serve: Serve) -> None:
    source.execute("CREATE TABLE t (a INT, b TEXT)")
    found = read_table(serve(), "t")
    assert (found.num_rows, found.schema.types) == (0, [pa.int64(), pa.string()])


def test_batches_are_of_one_size_whatever_the_width(source: Connection, serve: Serve) -> None:
    source.execute("CREATE TABLE wide (id INTEGER PRIMARY KEY, v TEXT, b BLOB)")
    texts = [("é" * (50_000 + number), bytes(number)) for number in range(300)]
    texts[150] = ("x" * 30_000_000, b"y" * 20_000_000)
    source.executemany("INSERT INTO wide (v, b) VALUES (?, ?)", texts)
    with serve().open_snapshot() as snapshot:
        batches = list(snapshot.read(whole(snapshot, "wide")))
    rows = [tuple(row.values())[1:] for batch in batches for row in batch.to_pylist()]
    assert rows == texts
    assert len(batches) == 4
    sizes = sorted(batch.nbytes for batch in batches)
    assert sizes[-1] < 50_000_000 + 1.2 * BATCH_BYTES
    assert sizes[-2] < 1.2 * BATCH_BYTES


def test_many_narrow_rows_are_a_few_batches(source: Connection, serve: Serve) -> None:
    source.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v REAL)")
    source.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600000) "
        "INSERT INTO t SELECT i, i / 3.0 FROM n"
    )
    with serve().open_snapshot() as snapshot:
        batches = list(snapshot.read(whole(snapshot, "t")))
    assert 1 < len(batches) <= 3
    found = pa.Table.from_batches(batches)
    assert found["id"].to_pylist() == list(range(1, 600_001))
    assert found["v"].to_pylist() == [number / 3 for number in range(1, 600_001)]


def test_a_utf_16_database_is_the_same_text(path: Path, serve: Serve) -> None:
    with closing(connect(path)) as source:
        source.execute("PRAGMA encoding = 'UTF-16le'")
        source.execute("CREATE TABLE t (v TEXT, d DATETIME)")
        source.execute("INSERT INTO t VALUES ('Zürich 🚲 and a longer text', '2026-03-01 12:00:00')")
        source.commit()
    (row,) = read_table(serve(), "t").to_pylist()
    assert (row["v"], row["d"].isoformat()) == ("Zürich 🚲 and a longer text", "2026-03-01T12:00:00")


def test_a_condition_chooses_rows_and_a_wrong_one_is_refused(source: Connection, serve: Serve) -> None:
    source.execute("CREATE TABLE t (v INT, w TEXT)")
    source.execute("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (NULL, 'd')")
    with serve().open_snapshot() as snapshot:
        query = whole(snapshot, "t", where="t.v > 1 OR w = 'a' -- the rest is not ours")
        assert [row["v"] for row in read(snapshot, query).to_pylist()] == [1, 2, 3]
        assert snapshot.count(query) == 3
        assert snapshot.count_null(query.table, "v", "w > 'a'") == 1
        for wrong, message in (("v >", "syntax error"), ("v = absent(1)", "no such function")):
            with pytest.raises(Refused, match=rf"{message}.*main\.t: its condition `where`"):
                read(snapshot, whole(snapshot, "t", where=wrong))
        with pytest.raises(Refused, match=r"statement.*main\.t: its condition `where`"):
            read(snapshot, whole(snapshot, "t", where="1); --"))
        with pytest.raises(NotFound, match=r"no column 'vv' in main\.t.*Did you mean 'v'"):
            snapshot.count(whole(snapshot, "t", where="vv > 1"))


def test_a_column_of_the_kept_values_name_is_refused(source: Connection, serve: Serve) -> None:
    source.execute(f"CREATE TABLE t ({MISMATCHED} TEXT)")
    assert read_table(serve(), "t").num_rows == 0
    with pytest.raises(UnexpectedValue, match=f"{MISMATCHED}.*the name is taken"):
        read_table(serve("keep"), "t")


def test_parts_are_all_rows_once(source: Connection, serve: Serve) -> None:
    source.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v INT)")
    ids = [-(2**63), -5, 0, 1, 2, 3, 1000, 2**62, 2**63 - 1]
    source.executemany("INSERT INTO t VALUES (?, ?)", [(number, number % 7) for number in ids])
    with serve(readers=4).open_snapshot() as snapshot:
        for where in (None, "v > 2"):
            query = whole(snapshot, "t", where=where)
            parts = snapshot.split(query, 8)
            found = [row["id"] for part in parts for row in read(snapshot, part).to_pylist()]
            assert len(parts) == 4
            assert found == [number for number in ids if where is None or number % 7 > 2]
            assert sum(snapshot.count(part) for part in parts) == len(found)
