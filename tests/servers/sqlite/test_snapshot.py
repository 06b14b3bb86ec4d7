"""What is read through one snapshot is one state of the database, and reading leaves no trace in it."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection, connect

import pytest

from resources.errors import ConnectionLost, NotFound, Refused, SettingInvalid, Unreachable
from resources.servers import sqlite_pool
from resources.servers.base import TableName
from resources.servers.sqlite_failure import SqliteFailure
from tests.servers.sqlite.conftest import Serve, open_server, read, read_table, whole

ACCOUNTS = 200


@pytest.fixture
def accounts(source: Connection) -> Connection:
    """Two tables of accounts; their balances add up to nothing in every state."""
    for table in ("one", "other"):
        source.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)")
        source.executemany(f"INSERT INTO {table} VALUES (?, 0)", [(number,) for number in range(1, ACCOUNTS + 1)])
    return source


def move(connection: Connection, step: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE one SET balance = balance + ? WHERE id = ?", (step, step % ACCOUNTS + 1))
    connection.execute("UPDATE other SET balance = balance - ? WHERE id = ?", (step, step * 7 % ACCOUNTS + 1))
    connection.execute("COMMIT")


def test_all_reads_see_one_state_while_a_writer_commits(accounts: Connection, path: Path, serve: Serve) -> None:
    stop, written = threading.Event(), 0

    def write() -> None:
        nonlocal written
        with closing(connect(path, isolation_level=None, timeout=60)) as writer:
            writer.execute("PRAGMA synchronous = OFF")
            while not stop.is_set():
                written += 1
                move(writer, written)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        states = set()
        for _ in range(15):
            with serve(readers=4).open_snapshot() as snapshot, ThreadPoolExecutor(6) as threads:
                queries = [part for table in ("one", "other") for part in snapshot.split(whole(snapshot, table), 3)]
                assert len(queries) == 6
                sums = [
                    sum(found["balance"].to_pylist()) for found in threads.map(lambda q: read(snapshot, q), queries)
                ]
                assert snapshot.facts["isolation"].startswith("all reads see one state (WAL")
                assert sum(sums) == 0
                states.add(sum(sums[:3]))
    finally:
        stop.set()
        writer.join()
    assert written > len(states) > 1


def test_a_snapshot_does_not_move(accounts: Connection, serve: Serve) -> None:
    server = serve()
    with server.open_snapshot() as snapshot:
        query = whole(snapshot, "one")
        accounts.execute("DELETE FROM one WHERE id > 1")
        accounts.execute("DROP TABLE other")
        assert snapshot.count(query) == read(snapshot, query).num_rows == ACCOUNTS
        assert read(snapshot, whole(snapshot, "other")).num_rows == ACCOUNTS
    assert read_table(server, "one").num_rows == 1


@pytest.mark.parametrize(
    ("attempts", "locked", "words"),
    [(0, True, "(WAL, writers held up for a moment)"), (0, False, "(WAL, through one connection: no lock was given)")],
)
def test_where_commits_never_pause_writers_are_held_up_or_one_connection_reads(
    attempts: int,
    locked: bool,
    words: str,
    accounts: Connection,
    path: Path,
    direct: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sqlite_pool, "_ATTEMPTS", attempts)
    if not locked:
        accounts.execute("BEGIN IMMEDIATE")
    with open_server(path, timeout=1, direct=direct).open_snapshot() as snapshot:
        assert snapshot.facts["isolation"] == f"all reads see one state {words}"
        if not locked:
            accounts.execute("COMMIT")
        move(accounts, 1)
        queries = [whole(snapshot, "one"), whole(snapshot, "other")]
        assert len(snapshot.split(queries[0], 5)) == (5 if locked else 1)
        begun = [snapshot.read(query) for query in queries for _ in range(12)]
        firsts = [next(batches) for batches in begun]
        assert {sum(batch["balance"].to_pylist()) for batch in firsts} == {0}
        assert snapshot.count(queries[0]) == ACCOUNTS
        move(accounts, 2)


def test_without_wal_each_read_is_for_itself_and_writers_are_free_between(path: Path, serve: Serve) -> None:
    with closing(connect(path, isolation_level=None, timeout=0)) as source:
        source.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
        source.execute("INSERT INTO t VALUES (1), (2)")
        with serve().open_snapshot() as snapshot:
            query = whole(snapshot, "t")
            assert snapshot.facts["journal_mode"] == "delete"
            assert "reads one after the other may see different ones" in snapshot.facts["isolation"]
            assert list(snapshot.split(query, 4)) == [query]
            assert read(snapshot, query).num_rows == 2
            source.execute("INSERT INTO t VALUES (3)")
            assert read(snapshot, query).num_rows == snapshot.count(query) == 3
            source.execute("DROP TABLE t")
            with pytest.raises(NotFound, match=r"no table 't' in database 'shop', schema 'main'\. It has: none"):
                read(snapshot, query)


def test_reading_changes_nothing(accounts: Connection, path: Path, serve: Serve) -> None:
    files = [path, path.with_name(f"{path.name}-wal")]
    before = [hashlib.sha256(file.read_bytes()).digest() for file in files]
    accounts.close()
    with closing(connect(path)) as keeper:
        keeper.execute("SELECT 1 FROM one").fetchone()
        before = [hashlib.sha256(file.read_bytes()).digest() for file in files if file.exists()]
        with serve().open_snapshot() as snapshot:
            read(snapshot, whole(snapshot, "one"))
        assert [hashlib.sha256(file.read_bytes()).digest() for file in files if file.exists()] == before


def test_a_reader_that_is_the_last_to_close_leaves_the_journal_to_the_application(path: Path, serve: Serve) -> None:
    script = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA journal_mode = WAL');"
        "c.execute('CREATE TABLE t (v INT)'); c.execute('INSERT INTO t VALUES (5)'); c.commit(); os._exit(1)"
    )
    import subprocess
    import sys

    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    files = [path, path.with_name(f"{path.name}-wal")]
    before = [file.read_bytes() for file in files]
    assert read_table(serve(), "t")["v"].to_pylist() == [5]
    assert [file.read_bytes() for file in files] == before


def test_a_closed_snapshot_reads_no_more(source: Connection, serve: Serve) -> None:
    source.execute("CREATE TABLE t (v TEXT)")
    source.executemany("INSERT INTO t VALUES (?)", [("x" * 1_000_000,)] * 20)
    with serve().open_snapshot() as snapshot:
        query = whole(snapshot, "t")
        begun = snapshot.read(query)
        next(begun)
    with pytest.raises(Refused, match=r"closed"):
        list(begun)


def test_a_locked_file_is_worth_another_try(path: Path, direct: bool) -> None:
    with closing(connect(path, isolation_level=None)) as source:
        source.execute("CREATE TABLE t (v INT)")
        source.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConnectionLost, match=r"Database 'shop' at sqlite:.*locked.*another process"):
            read_table(open_server(path, timeout=1, direct=direct), "t")


def test_a_file_that_is_no_database_or_a_damaged_one_is_refused(path: Path, serve: Serve) -> None:
    path.write_bytes(b"no database at all, but a file" * 100)
    with pytest.raises(Refused, match=r"file is not a database.*ADFML_SHOP_URL"), serve().open_snapshot():
        pass
    path.unlink()
    with closing(connect(path)) as source:
        source.execute("CREATE TABLE t (v TEXT)")
        source.executemany("INSERT INTO t VALUES (?)", [("x" * 500,)] * 1000)
        source.commit()
    data = bytearray(path.read_bytes())
    data[3 * 4096 : 60 * 4096] = b"\xee" * (57 * 4096)
    path.write_bytes(data)
    with pytest.raises(Refused, match=r"malformed.*restore a damaged one"):
        read_table(serve(), "t")


def test_a_database_that_is_not_there_is_not_made(path: Path, serve: Serve) -> None:
    with pytest.raises(Unreachable, match=r"the file does not exist"), serve().open_snapshot():
        pass
    with pytest.raises(Unreachable, match=r"the file does not exist"):
        serve().list_tables()
    assert not path.exists()
    for address in ("sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"):
        with pytest.raises(SettingInvalid, match="a database in memory"):
            open_server(address).list_tables()


def test_an_address_may_be_a_uri_and_a_path_may_have_any_character(tmp_path: Path, direct: bool) -> None:
    odd = tmp_path / "a b%20?#é'&.db"
    with closing(connect(odd)) as source:
        source.execute("CREATE TABLE t (v INT)")
        source.commit()
    from sqlalchemy import URL, create_engine

    from resources.servers.sqlite import SqliteServer
    from tests.servers.sqlite.conftest import SHOP

    engine = create_engine(URL.create("sqlite", database=str(odd)))
    assert SqliteServer(engine, "shop", SHOP, direct=direct).list_tables() == [TableName("main", "t")]
    plain = odd.rename(tmp_path / "plain.db")
    address = f"sqlite:///file:{plain}?mode=rwc&cache=shared&uri=true"
    assert open_server(address, direct=direct).list_tables() == [TableName("main", "t")]
    engine.dispose()


def test_a_connection_can_only_read(source: Connection, serve: Serve) -> None:
    connection = serve().connect("ro")
    with pytest.raises(SqliteFailure, match="readonly database"):
        connection.fetch("CREATE TABLE t (v)")
    connection.close()
