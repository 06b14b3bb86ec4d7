"""Which tables there are, who may read them, and tables of every shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from resources.errors import NotFound, NotPermitted, Refused, SettingInvalid, UnexpectedValue
from resources.servers import TableName, TableQuery
from resources.servers.postgresql import PostgresqlServer
from tests.postgresql_reading import Open, Read, query_of, read_table
from tests.postgresql_server import RunningPostgresql, quote

Writer = psycopg.Connection[Any]


def run(writer: Writer, *statements: str) -> None:
    for statement in statements:
        writer.execute(statement.encode())


def test_tables_are_listed_without_views_partitions_and_the_systems_own(
    writer: Writer, server: PostgresqlServer
) -> None:
    run(
        writer,
        "CREATE SCHEMA b",
        "CREATE TABLE b.z (id int)",
        "CREATE TABLE a (id int)",
        "CREATE TABLE parted (id int) PARTITION BY RANGE (id)",
        "CREATE TABLE part1 PARTITION OF parted FOR VALUES FROM (0) TO (10)",
        "CREATE VIEW v AS SELECT 1 AS x",
        "CREATE MATERIALIZED VIEW m AS SELECT 1 AS x",
        "CREATE TEMP TABLE temporary (id int)",
        "CREATE UNLOGGED TABLE u (id int)",
    )
    assert server.list_tables() == [
        TableName("b", "z"),
        TableName("public", "a"),
        TableName("public", "parted"),
        TableName("public", "u"),
    ]


def test_a_description_has_keys_types_and_what_may_be_null(writer: Writer, server: PostgresqlServer) -> None:
    run(
        writer,
        "CREATE TABLE t (gone int, b text NOT NULL, a numeric(9,2), c bigint GENERATED ALWAYS AS IDENTITY, "
        "d int GENERATED ALWAYS AS (7) STORED, e int GENERATED ALWAYS AS (8) VIRTUAL, PRIMARY KEY (c, b))",
        "ALTER TABLE t DROP COLUMN gone",
        "INSERT INTO t (b, a) VALUES ('x', 1)",
        "ALTER TABLE t ADD f int",
        "ALTER TABLE t ADD CONSTRAINT f_filled NOT NULL f NOT VALID",
    )
    with server.open_snapshot() as snapshot:
        table = snapshot.describe(TableName("public", "t"))
        assert [(c.name, c.source_type, c.nullable) for c in table.columns] == [
            ("b", "text", False),
            ("a", "numeric(9,2)", True),
            ("c", "bigint", False),
            ("d", "integer", True),
            ("e", "integer", True),
            ("f", "integer", True),
        ]
        assert table.primary_key == ("c", "b")
        assert table.estimated_bytes is not None
        assert table.estimated_bytes >= 8192
        rows = read_table(snapshot, query_of(snapshot, "t"))
        assert [tuple(row.values())[2:] for row in rows.to_pylist()] == [(1, 7, 8, None)]
        field = snapshot.schema_of(query_of(snapshot, "t")).field("a")
        assert field.metadata == {b"source_type": b"numeric(9,2)"}


def test_columns_come_in_the_order_they_are_asked_for(writer: Writer, read: Read) -> None:
    run(writer, "CREATE TABLE t AS SELECT 1 AS a, 2 AS b, 3 AS c")
    assert read("t", columns=("c", "a")).to_pylist() == [{"c": 3, "a": 1}]
    with pytest.raises(NotFound, match="no column 'd'"):
        read("t", columns=("d",))


def test_names_are_taken_as_they_are(writer: Writer, read: Read, server: PostgresqlServer) -> None:
    names = [
        'a "quoted" name',
        "select",
        "grün 🌲",
        "100%s %(x)s",
        "{brace}",
        "it's",
        "back\\slash",
        " space ",
        "ctid2",
        "A",
    ]
    schema, table = 'sch"ema %', "ta'ble {0}"
    run(writer, f"CREATE SCHEMA {quote(schema)}")
    columns = ", ".join(f"{index} AS {quote(name)}" for index, name in enumerate(names))
    run(writer, f"CREATE TABLE {quote(schema)}.{quote(table)} AS SELECT {columns}")
    assert server.list_tables() == [TableName(schema, table)]
    assert read(table, schema).to_pylist() == [{name: index for index, name in enumerate(names)}]
    assert read(table, schema, where="\"100%s %(x)s\" = 3 AND '{' <> '}' -- a comment").num_rows == 1


def test_partitions_children_views_and_materialised_views_are_read(writer: Writer, read: Read) -> None:
    run(
        writer,
        "CREATE TABLE parted (id int) PARTITION BY RANGE (id)",
        "CREATE TABLE part1 PARTITION OF parted FOR VALUES FROM (0) TO (10)",
        "CREATE TABLE part2 PARTITION OF parted FOR VALUES FROM (10) TO (20)",
        "INSERT INTO parted VALUES (5), (15)",
        "CREATE TABLE parent (id int)",
        "CREATE TABLE child (extra int) INHERITS (parent)",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO child VALUES (2, 3)",
        "CREATE VIEW v AS SELECT id FROM parted",
        "CREATE MATERIALIZED VIEW m AS SELECT id FROM parted",
    )
    for name, ids in {
        "parted": [5, 15],
        "part2": [15],
        "parent": [1, 2],
        "child": [2],
        "v": [5, 15],
        "m": [5, 15],
    }.items():
        assert read(name)["id"].to_pylist() == ids


def test_only_ordinary_tables_are_split(writer: Writer, server: PostgresqlServer) -> None:
    run(
        writer,
        "CREATE TABLE t AS SELECT i AS id, repeat('x', 500) AS padding FROM generate_series(1, 20000) i",
        "DELETE FROM t WHERE id % 3 = 0",
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE TABLE tiny AS SELECT 1 AS id",
        "CREATE TABLE none (id int)",
    )
    with server.open_snapshot() as snapshot:
        for name in ("v", "tiny", "none"):
            query = query_of(snapshot, name)
            assert list(snapshot.split(query, 3)) == [query]
        query = query_of(snapshot, "t", where="id % 2 = 0")
        parts = snapshot.split(query, 3)
        assert [part.part and part.part.index for part in parts] == [0, 1, 2]
        whole = pa.concat_tables([read_table(snapshot, part) for part in parts])
        assert whole["id"].to_pylist() == [i for i in range(1, 20001) if i % 3 and i % 2 == 0]
        assert snapshot.split(parts[0], 3) == [parts[0]]
        # Rows that come after the split are not in the snapshot, rows of the last page are.
        assert sum(snapshot.count(part) for part in parts) == snapshot.count(query) == whole.num_rows


def test_the_most_columns_there_can_be(writer: Writer, read: Read, fetching: str) -> None:
    run(writer, f"CREATE TABLE t ({', '.join(f'c{index} int' for index in range(1600))})")
    run(writer, *[f"INSERT INTO t (c0, c{index}) VALUES ({index}, 7)" for index in (1, 800, 1599)])
    table = read("t")
    assert table.num_columns == 1600
    assert table["c0"].to_pylist() == [1, 800, 1599]
    assert table["c1599"].to_pylist() == [None, None, 7]
    assert sum(table.column(index).null_count for index in range(1600)) == 3 * 1600 - 6


def test_empty_tables_and_tables_without_columns(writer: Writer, server: PostgresqlServer, fetching: str) -> None:
    run(writer, "CREATE TABLE nothing (a int, b text)", "CREATE TABLE bare ()")
    run(writer, *["INSERT INTO bare DEFAULT VALUES"] * 3)
    with server.open_snapshot() as snapshot:
        nothing = query_of(snapshot, "nothing")
        assert list(snapshot.read(nothing)) == []
        assert snapshot.schema_of(nothing).names == ["a", "b"]
        assert snapshot.count(nothing) == 0
        bare = query_of(snapshot, "bare")
        assert sum(batch.num_rows for batch in snapshot.read(bare)) == snapshot.count(bare) == 3


def test_a_table_that_is_not_there_is_not_found_with_what_there_is(writer: Writer, server: PostgresqlServer) -> None:
    run(writer, "CREATE TABLE orders (id int)")
    with server.open_snapshot() as snapshot, pytest.raises(NotFound, match=r"Did you mean 'public\.orders'"):
        snapshot.describe(TableName("public", "order"))


def test_a_wrong_condition_says_what_the_server_said(writer: Writer, read: Read) -> None:
    run(writer, "CREATE TABLE t AS SELECT 1 AS id")
    with pytest.raises(Refused, match=r"column \"nope\" does not exist.*where"):
        read("t", where="nope = 1")
    with pytest.raises(Refused, match="division by zero"):
        read("t", where="1 / (id - 1) = 1")
    run(writer, "CREATE SEQUENCE s")
    with pytest.raises(Refused, match="read-only"):
        read("t", where="nextval('s') > 0")
    with pytest.raises(Refused, match="syntax error"):
        read("t", where="true) TO STDOUT; DROP TABLE t; --")
    assert read("t", where="true").num_rows == 1


def test_without_permission_the_grant_is_named(
    writer: Writer, postgresql: RunningPostgresql, url: Any, open_at: Open
) -> None:
    with postgresql.role() as role:
        run(
            writer,
            "CREATE TABLE t AS SELECT 1 AS open, 2 AS shut",
            "CREATE TABLE other AS SELECT 1 AS id",
            f"GRANT SELECT (open) ON t TO {role}",
        )
        server = open_at(url.set(username=role))
        assert TableName("public", "other") in server.list_tables()
        with server.open_snapshot() as snapshot:
            with pytest.raises(NotPermitted, match=r'GRANT SELECT ON "public"\."other" TO'):
                snapshot.describe(TableName("public", "other"))
            query = query_of(snapshot, "t")
            assert read_table(snapshot, replace(query, columns=("open",)))["open"].to_pylist() == [1]
            with pytest.raises(NotPermitted, match="GRANT SELECT"):
                read_table(snapshot, query)
        run(writer, f"DROP OWNED BY {role}")


def test_rows_hidden_by_a_policy_are_an_error_not_missing(
    writer: Writer, postgresql: RunningPostgresql, url: Any, open_at: Open
) -> None:
    with postgresql.role() as role:
        run(
            writer,
            "CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 3) i",
            "CREATE VIEW v WITH (security_invoker) AS SELECT id FROM t",
            f"GRANT SELECT ON t, v TO {role}",
            "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
            f"CREATE POLICY few ON t TO {role} USING (id = 1)",
        )
        server = open_at(url.set(username=role))
        with server.open_snapshot() as snapshot:
            with pytest.raises(NotPermitted, match="BYPASSRLS"):
                snapshot.describe(TableName("public", "t"))
            query = query_of(snapshot, "v")
            with pytest.raises(NotPermitted, match="BYPASSRLS"):
                read_table(snapshot, query)
        run(writer, f"DROP OWNED BY {role}")


def test_text_that_is_not_utf8_is_refused_where_the_server_does_not_look(
    postgresql: RunningPostgresql, open_at: Open
) -> None:
    from tests.postgresql_server import connect

    with postgresql.database("ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'") as url:
        with connect(url) as writer:
            run(
                writer,
                "CREATE TABLE good AS SELECT E'gr\\xc3\\xbcn' AS word",
                "CREATE TABLE bad AS SELECT E'gr\\xfcn' AS word",
            )
        with open_at(url).open_snapshot() as snapshot:
            assert read_table(snapshot, query_of(snapshot, "good"))["word"].to_pylist() == ["grün"]
            with pytest.raises(UnexpectedValue, match="text that is UTF-8"):
                read_table(snapshot, query_of(snapshot, "bad"))


def test_text_of_other_encodings_is_converted(postgresql: RunningPostgresql, open_at: Open) -> None:
    from tests.postgresql_server import connect

    with postgresql.database("ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'") as url:
        with connect(url) as writer:
            writer.execute("CREATE TABLE t AS SELECT 'grün' AS \"wört\"")
        with open_at(url).open_snapshot() as snapshot:
            assert read_table(snapshot, query_of(snapshot, "t")).to_pylist() == [{"wört": "grün"}]


def test_another_driver_is_no_address_for_the_archive(url: Any, open_at: Open) -> None:
    import sqlalchemy as sa

    from tests.postgresql_reading import SETTING

    engine = sa.create_mock_engine(url, lambda *_: None)
    engine.dialect.driver = "psycopg2"
    with pytest.raises(SettingInvalid, match=r"ADFML_SHOP_URL.*postgresql\+psycopg"):
        PostgresqlServer(engine, "shop", SETTING)  # type: ignore[arg-type]


def test_a_query_of_another_snapshot_is_described_anew(writer: Writer, server: PostgresqlServer) -> None:
    run(writer, "CREATE TABLE t AS SELECT 1 AS id")
    with server.open_snapshot() as snapshot:
        table = snapshot.describe(TableName("public", "t"))
    with server.open_snapshot() as snapshot:
        assert read_table(snapshot, TableQuery(table, ("id",)))["id"].to_pylist() == [1]
