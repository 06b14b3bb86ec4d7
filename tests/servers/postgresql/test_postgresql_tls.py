"""Over TLS the same rows arrive, rows of many TLS records too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pyarrow.compute as pc
from sqlalchemy.engine import URL

from tests.postgresql_reading import Open, query_of, read_table
from tests.tls_proxy import serve_tls


def test_rows_of_any_size_arrive_over_tls(
    writer: psycopg.Connection[Any], url: URL, open_at: Open, fetching: str, tmp_path: Path
) -> None:
    writer.execute(
        "CREATE TABLE t AS SELECT i AS id, repeat(md5(i::text), CASE WHEN i % 500 = 0 THEN 40000 ELSE 3 END) AS body"
        " FROM generate_series(1, 20000) i"
    )
    size = writer.execute("SELECT sum(length(body)) FROM t").fetchone()
    with serve_tls(Path(str(url.query["host"])) / ".s.PGSQL.5432", tmp_path) as port:
        secure = url.set(host="127.0.0.1", port=port, query={"sslmode": "require", "gssencmode": "disable"})
        with open_at(secure).open_snapshot() as snapshot:
            table = read_table(snapshot, query_of(snapshot, "t"))
    assert table["id"].to_pylist() == list(range(1, 20001))
    assert (pc.sum(pc.binary_length(table["body"])).as_py(),) == size
