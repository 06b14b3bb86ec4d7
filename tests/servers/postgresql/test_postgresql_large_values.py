"""Rows of any size: a batch holds about BATCH_BYTES, a larger row is a batch of its own."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from resources.errors import Refused
from resources.servers import postgresql_copying
from resources.servers.base import BATCH_BYTES
from resources.servers.postgresql import PostgresqlServer
from tests.postgresql_reading import query_of, read_table

Writer = psycopg.Connection[Any]


def test_batches_stay_near_their_size_whatever_the_rows(
    writer: Writer, server: PostgresqlServer, fetching: str
) -> None:
    writer.execute("CREATE TABLE t (id int, body text)")
    writer.execute("ALTER TABLE t ALTER body SET STORAGE EXTERNAL")
    sizes = [10, 1 << 20, 1 << 20, BATCH_BYTES - 18, BATCH_BYTES, 3 * BATCH_BYTES, 0, 1 << 20, 3 * BATCH_BYTES, 5]
    for index, size in enumerate(sizes):
        writer.execute("INSERT INTO t VALUES (%s, repeat(chr(97 + %s), %s))", (index, index, size))
    with server.open_snapshot() as snapshot:
        batches = list(snapshot.read(query_of(snapshot, "t")))
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert [row["id"] for row in rows] == list(range(len(sizes)))
    assert all(row["body"] == chr(97 + row["id"]) * sizes[row["id"]] for row in rows)
    assert all(batch.nbytes <= BATCH_BYTES or batch.num_rows == 1 for batch in batches)
    assert len(batches) < len(sizes)


def test_a_row_the_server_cannot_send_says_what_to_do(writer: Writer, server: PostgresqlServer) -> None:
    """PostgreSQL builds each row of COPY in at most 1 GB."""
    writer.execute("CREATE VIEW v AS SELECT a, a AS b FROM (SELECT repeat(repeat('x', 1000000), 540) AS a OFFSET 0) s")
    with server.open_snapshot() as snapshot, pytest.raises(Refused, match=r"1 GB; archive a view"):
        read_table(snapshot, query_of(snapshot, "v"))


def test_a_row_left_behind_is_freed(writer: Writer, server: PostgresqlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader stops while a row that did not fit is waiting in libpq's memory."""
    freed: list[int] = []
    close = postgresql_copying.Copy.close

    def close_and_look(copy: postgresql_copying.Copy) -> None:
        freed.append(int(copy._state[1]))
        close(copy)
        freed.append(int(copy._state[1]))

    monkeypatch.setattr(postgresql_copying.Copy, "close", close_and_look)
    writer.execute("CREATE TABLE t AS SELECT repeat('x', 5000000) AS body FROM generate_series(1, 4)")
    with server.open_snapshot() as snapshot:
        batches = snapshot.read(query_of(snapshot, "t"))
        assert next(batches).num_rows == 1
        batches.close()  # type: ignore[attr-defined]
    assert freed[0] != 0
    assert freed[1] == 0
