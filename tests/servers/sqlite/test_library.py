"""SQLite is the one copy that Python has; where that cannot be called, Python reads."""

import sqlite3
from contextlib import closing
from sqlite3 import Connection

import pytest

from resources.servers import sqlite_library
from resources.servers.sqlite_direct import DirectConnection
from resources.servers.sqlite_fallback import PythonConnection
from resources.servers.sqlite_library import find_library
from tests.servers.sqlite.conftest import Serve, open_server, read_table


def test_the_library_is_pythons_own(source: Connection, path: str) -> None:
    library = find_library()
    assert library is not None
    with closing(sqlite3.connect(":memory:")) as plain:
        ((source_id,),) = plain.execute("SELECT sqlite_source_id()")
    assert library.sourceid().decode() == source_id
    connection = open_server(path).connect("ro")
    assert isinstance(connection, DirectConnection)
    connection.close()


def test_two_connections_of_one_process_respect_each_others_locks(path: str, serve: Serve) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as source:
        source.execute("CREATE TABLE t (v TEXT)")
        source.executemany("INSERT INTO t VALUES (?)", [("x" * 1_000_000,)] * 20)
        with serve().open_snapshot() as snapshot:
            from tests.servers.sqlite.conftest import whole

            batches = snapshot.read(whole(snapshot, "t"))
            next(batches)
            with pytest.raises(sqlite3.OperationalError, match="database is locked"):
                source.execute("DELETE FROM t")
            assert sum(batch.num_rows for batch in batches) > 0
            source.execute("DELETE FROM t")


def test_a_library_that_hides_its_functions_is_not_needed(
    source: Connection, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.execute("CREATE TABLE t (v INT)")
    source.execute("INSERT INTO t VALUES (5)")
    monkeypatch.setattr(sqlite_library, "_open_handles", lambda: iter([]))
    find_library.cache_clear()
    sqlite_library.load_kernels.cache_clear()
    try:
        server = open_server(path)
        connection = server.connect("ro")
        assert isinstance(connection, PythonConnection)
        connection.close()
        assert read_table(server, "t")["v"].to_pylist() == [5]
    finally:
        find_library.cache_clear()
        sqlite_library.load_kernels.cache_clear()
