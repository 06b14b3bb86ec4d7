"""A snapshot sees one state of the database, whatever is written, dropped or truncated while it is read."""

from __future__ import annotations

import datetime as dt
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from resources.errors import ConnectionLost, NotFound, Unreachable
from resources.servers import TableName, postgresql_sessions
from resources.servers.postgresql import PostgresqlServer
from tests.postgresql_reading import Read, query_of, read_table

Writer = psycopg.Connection[Any]


def count_connections(writer: Writer) -> int:
    """Client connections to the test's database, besides this one."""
    row = writer.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND backend_type = 'client backend' AND application_name <> 'pool'"
    ).fetchone()
    assert row is not None
    return int(row[0])


def test_all_tables_and_parts_see_one_state_while_a_writer_commits(
    writer: Writer, server: PostgresqlServer, fetching: str
) -> None:
    """Money is moved between accounts and logged: sums and logs agree only within one state."""
    writer.execute(
        "CREATE TABLE account AS SELECT i id, 100 AS amount, repeat('x', 200) AS padding"
        " FROM generate_series(1, 40000) i"
    )
    writer.execute("CREATE TABLE transfer (amount int)")
    stop, moved = threading.Event(), threading.Event()

    def move() -> None:
        with psycopg.connect(writer.info.dsn, autocommit=True) as other:
            while not stop.is_set():
                with other.transaction():
                    other.execute(
                        "UPDATE account SET amount = amount - 1 WHERE id = (SELECT 1 + (random() * 39000)::int)"
                    )
                    other.execute("INSERT INTO transfer VALUES (1)")
                moved.set()

    thread = threading.Thread(target=move)
    thread.start()
    try:
        assert moved.wait(30)
        with server.open_snapshot() as snapshot:
            account = query_of(snapshot, "account")
            parts = snapshot.split(account, 4)
            assert len(parts) == 4
            with ThreadPoolExecutor(5) as pool:
                futures = [pool.submit(read_table, snapshot, query) for query in parts]
                logged = pool.submit(read_table, snapshot, query_of(snapshot, "transfer"))
                whole = pa.concat_tables([future.result() for future in futures])
            assert sorted(whole["id"].to_pylist()) == list(range(1, 40001))
            transfers = logged.result().num_rows
            assert sum(whole["amount"].to_pylist()) == 40000 * 100 - transfers
            assert snapshot.count(query_of(snapshot, "transfer")) == transfers > 0
            assert sum(snapshot.count(part) for part in parts) == 40000
    finally:
        stop.set()
        thread.join()


def test_what_is_committed_later_is_not_seen_and_is_in_the_next(writer: Writer, server: PostgresqlServer) -> None:
    writer.execute("CREATE TABLE t AS SELECT 1 AS id")
    with server.open_snapshot() as snapshot:
        writer.execute("INSERT INTO t VALUES (2)")
        assert read_table(snapshot, query_of(snapshot, "t"))["id"].to_pylist() == [1]
    with server.open_snapshot() as snapshot:
        assert read_table(snapshot, query_of(snapshot, "t"))["id"].to_pylist() == [1, 2]


def test_facts_name_the_snapshot(writer: Writer, server: PostgresqlServer) -> None:
    before = writer.execute("SELECT clock_timestamp()").fetchone()
    with server.open_snapshot() as snapshot:
        facts = snapshot.facts
    after = writer.execute("SELECT clock_timestamp()").fetchone()
    assert before is not None
    assert after is not None
    taken_at = dt.datetime.fromisoformat(facts["taken_at"])
    assert taken_at.utcoffset() == dt.timedelta(0)
    assert before[0] <= taken_at <= after[0]
    assert "exported snapshot" in facts["isolation"]
    assert facts["id"]
    assert "/" in facts["lsn"]
    assert facts["server_version"].startswith("18")


@pytest.mark.parametrize(
    "statement", ["TRUNCATE t", "ALTER TABLE t ALTER id TYPE bigint", "DROP TABLE t; CREATE TABLE t (id int)"]
)
def test_a_table_emptied_after_the_snapshot_is_not_read_as_empty(
    writer: Writer, server: PostgresqlServer, statement: str
) -> None:
    writer.execute("CREATE TABLE t AS SELECT 1 AS id")
    with server.open_snapshot() as snapshot:
        query = query_of(snapshot, "t")
        writer.execute(statement.encode())
        for read in (read_table, lambda s, q: s.count(q)):
            with pytest.raises(ConnectionLost, match=r"public\.t was dropped, truncated or rewritten"):
                read(snapshot, query)
    with server.open_snapshot() as snapshot:
        read_table(snapshot, query_of(snapshot, "t"))


def test_a_truncated_partition_is_noticed(writer: Writer, server: PostgresqlServer) -> None:
    writer.execute("CREATE TABLE t (id int) PARTITION BY RANGE (id)")
    writer.execute("CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10)")
    writer.execute("INSERT INTO t VALUES (1)")
    with server.open_snapshot() as snapshot:
        query = query_of(snapshot, "t")
        writer.execute("TRUNCATE t1")
        with pytest.raises(ConnectionLost, match="truncated"):
            read_table(snapshot, query)


def test_a_column_of_another_type_than_described_is_noticed(writer: Writer, server: PostgresqlServer) -> None:
    writer.execute("CREATE TABLE base AS SELECT 1 AS id, 'a'::text AS word")
    writer.execute("CREATE VIEW v AS SELECT id, word FROM base")
    with server.open_snapshot() as snapshot:
        query = query_of(snapshot, "v")
        writer.execute("DROP VIEW v")
        writer.execute("CREATE VIEW v AS SELECT id::text AS id, word FROM base")
        with pytest.raises(ConnectionLost, match="after the snapshot"):
            read_table(snapshot, query)


def test_a_dropped_table_is_not_found(writer: Writer, server: PostgresqlServer) -> None:
    writer.execute("CREATE TABLE t AS SELECT 1 AS id")
    writer.execute("CREATE TABLE t2 AS SELECT 1 AS id")
    with server.open_snapshot() as snapshot:
        query = query_of(snapshot, "t")
        writer.execute("DROP TABLE t")
        with pytest.raises(NotFound, match=r"no table 'public\.t'.*public\.t2"):
            read_table(snapshot, query)


def test_without_a_shared_snapshot_each_read_is_consistent_and_the_facts_say_so(
    writer: Writer, server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a pooler whose connections go to several servers: a second connection cannot join."""
    begin = postgresql_sessions.begin

    def begin_elsewhere(connection: psycopg.Connection[Any], snapshot: str | None = None) -> None:
        begin(connection, snapshot and "00000FFF-00000001-1")

    monkeypatch.setattr(postgresql_sessions, "begin", begin_elsewhere)
    writer.execute("CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 300000) i")
    with server.open_snapshot() as snapshot:
        assert "each read" in snapshot.facts["isolation"]
        assert "id" not in snapshot.facts
        query = query_of(snapshot, "t")
        assert list(snapshot.split(query, 4)) == [query]
        assert read_table(snapshot, query).num_rows == 300000
        writer.execute("INSERT INTO t VALUES (0)")
        assert read_table(snapshot, query).num_rows == 300001


def test_the_end_of_the_block_closes_every_connection(writer: Writer, server: PostgresqlServer) -> None:
    writer.execute("CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 10) i")
    with server.open_snapshot() as snapshot:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda _: read_table(snapshot, query_of(snapshot, "t")), range(6)))
        assert count_connections(writer) >= 2
    for _ in range(100):
        if count_connections(writer) == 0:
            break
        writer.execute("SELECT pg_sleep(0.05)")
    assert count_connections(writer) == 0


def test_a_read_that_is_left_early_leaves_nothing_behind(
    writer: Writer, server: PostgresqlServer, fetching: str
) -> None:
    writer.execute("CREATE TABLE t AS SELECT i AS id, repeat('x', 1000) AS padding FROM generate_series(1, 40000) i")
    with server.open_snapshot() as snapshot:
        query = query_of(snapshot, "t")
        for _ in range(3):
            batches = snapshot.read(query)
            assert next(batches).num_rows > 0
            batches.close()  # type: ignore[attr-defined]
        assert read_table(snapshot, query)["id"].to_pylist() == list(range(1, 40001))
        assert snapshot.describe(TableName("public", "t")) == query.table


@pytest.mark.parametrize("when", ["reading", "between reads", "holder"])
def test_a_killed_connection_is_lost_and_another_snapshot_works(
    writer: Writer, server: PostgresqlServer, fetching: str, when: str, read: Read
) -> None:
    writer.execute("CREATE TABLE t AS SELECT i AS id, repeat('x', 1000) AS padding FROM generate_series(1, 60000) i")
    others = "datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    with server.open_snapshot() as snapshot:
        query = query_of(snapshot, "t")
        batches = snapshot.read(query)
        if when != "between reads":
            next(batches)
        # The oldest connection holds the snapshot; those that have joined go on without it, others cannot join.
        limit = " ORDER BY backend_start LIMIT 1" if when == "holder" else ""
        writer.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM"
            f" (SELECT pid FROM pg_stat_activity WHERE {others} AND backend_xmin IS NOT NULL{limit}) s".encode()
        )
        with pytest.raises(ConnectionLost):
            _ = snapshot.count(query) if when == "holder" else list(batches)
    assert read("t").num_rows == 60000


def test_an_address_where_no_server_is_says_what_to_check(server: PostgresqlServer, open_at: Any, url: Any) -> None:
    nowhere = open_at(url.set(password="hunter2").update_query_dict({"host": "/nowhere"}))
    for attempt in (nowhere.list_tables, lambda: nowhere.open_snapshot().__enter__()):
        with pytest.raises(Unreachable, match="ADFML_SHOP_URL") as caught:
            attempt()
        assert "hunter2" not in str(caught.value)


def test_the_end_of_the_block_ends_what_other_threads_still_read(
    writer: Writer, server: PostgresqlServer, fetching: str
) -> None:
    writer.execute("CREATE TABLE t AS SELECT 1 AS id")
    with ThreadPoolExecutor(1) as pool:
        with server.open_snapshot() as snapshot:
            reading = pool.submit(read_table, snapshot, query_of(snapshot, "t", where="pg_sleep(600) IS NOT NULL"))
            for _ in range(200):
                row = writer.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'").fetchone()
                if row == (1,):
                    break
                writer.execute("SELECT pg_stat_clear_snapshot()")
        with pytest.raises(ConnectionLost):
            reading.result(60)


def test_a_connection_that_breaks_without_a_word_is_lost(
    writer: Writer, server: PostgresqlServer, fetching: str
) -> None:
    writer.execute("CREATE TABLE t AS SELECT i AS id, repeat('x', 1000) AS padding FROM generate_series(1, 60000) i")
    with server.open_snapshot() as snapshot:
        batches = snapshot.read(query_of(snapshot, "t"))
        next(batches)
        for connection in snapshot._sessions._busy:
            with socket.socket(fileno=os.dup(connection.fileno())) as link:
                link.shutdown(socket.SHUT_RDWR)
        with pytest.raises(ConnectionLost, match="closed the connection unexpectedly"):
            list(batches)
