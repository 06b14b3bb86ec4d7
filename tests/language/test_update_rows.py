"""Rows are updated by key in one set: all of them or none, and never one that is not theirs."""

from __future__ import annotations

import re
import sqlite3
import uuid
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
import sqlglot
from sqlalchemy.dialects import mssql
from sqlglot import exp

from adfml_assets.scoring.update_rows import update_rows
from adfml_assets.write_back.errors import DuplicateKeys
from resources.database import Databases
from resources.errors import NotFound, Unreachable
from tests.language.conftest import Shop

PROCEDURE = Path(__file__).resolve().parents[2] / "resources" / "sql" / "usp_UpdateSentiment.sql"


@pytest.fixture
def table(shop: Shop) -> sa.Table:
    made = shop.create(
        sa.Column("Id", sa.Integer, primary_key=True),
        sa.Column("Region", sa.String(10), primary_key=True),
        sa.Column("Label", sa.String(20)),
        name="Things",
    )
    shop.add(made, [{"Id": n, "Region": r, "Label": "old"} for n in range(3) for r in ("a", "b")])
    return made


def update(shop: Shop, databases: Databases, rows: dict[str, Any], **more: Any) -> int:
    return update_rows(databases, "shop", shop.schema, "Things", ("Id", "Region"), pa.table(rows), **more)


def labels(shop: Shop, table: sa.Table) -> list[Any]:
    return [row.Label for row in shop.read(table)]


def test_only_the_rows_and_columns_that_are_given_change(shop: Shop, databases: Databases, table: sa.Table) -> None:
    rows = {"Id": [0, 2, 9], "Region": ["b", "a", "a"], "Label": ["new", None, "nowhere"]}
    assert update(shop, databases, rows) == 2
    assert labels(shop, table) == ["old", "new", "old", "old", None, "old"]
    assert {row.scored for row in shop.read(table)} == {0}


def test_a_row_that_changed_meanwhile_stays(shop: Shop, databases: Databases, table: sa.Table) -> None:
    rows = {"Id": [0, 1], "Region": ["a", "a"], "Label": ["new", "new"], "scored": [1, 1]}
    shop.execute(table.update().where(table.c.Id == 1).values(scored=1, Label="theirs"))
    assert update(shop, databases, rows, only={"scored": 0}) == 1
    assert update(shop, databases, rows, only={"scored": 0}) == 0
    assert labels(shop, table) == ["new", "old", "theirs", "theirs", "old", "old"]


def test_two_rows_of_one_key_change_nothing(shop: Shop, databases: Databases, table: sa.Table) -> None:
    rows = {"Id": [0, 1, 1], "Region": ["a", "a", "a"], "Label": ["x", "y", "z"]}
    with pytest.raises(DuplicateKeys, match=r"one key \(Id, Region\): \(1, 'a'\). Nothing was written"):
        update(shop, databases, rows)
    assert labels(shop, table) == ["old"] * 6
    # The connection that failed is used again.
    assert update(shop, databases, {"Id": [0], "Region": ["a"], "Label": ["new"]}) == 1


def test_a_row_that_has_a_newer_value_stays(shop: Shop, databases: Databases) -> None:
    table = shop.create(
        sa.Column("Id", sa.Integer, primary_key=True),
        sa.Column("Region", sa.String(10), primary_key=True),
        sa.Column("Label", sa.String(20)),
        sa.Column("At", sa.DateTime),
        name="Things",
    )
    days = [datetime(2026, 3, day, 12) for day in (9, 10, 11)]
    shop.add(table, [{"Id": n, "Region": "a", "Label": "old", "At": at} for n, at in enumerate([*days, None])])
    at = pa.array([days[1].replace(tzinfo=UTC)] * 4, pa.timestamp("us", "UTC"))
    rows = {"Id": [0, 1, 2, 3], "Region": ["a"] * 4, "Label": ["new"] * 4, "At": at}
    assert update(shop, databases, rows, newer="At") == 3
    assert labels(shop, table) == ["new", "new", "old", "new"]
    assert update(shop, databases, rows) == 4


def test_nobody_writes_to_sqlite_between_what_is_read_and_written(
    shop: Shop, databases: Databases, table: sa.Table
) -> None:
    if shop.engine.dialect.name != "sqlite":
        return
    path = str(shop.engine.url.database)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    others: list[str] = []

    def write(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("UPDATE"):
            with closing(sqlite3.connect(path, timeout=0)) as other:
                try:
                    other.execute("UPDATE Things SET Label = 'theirs'").connection.commit()
                except sqlite3.OperationalError as error:
                    others.append(str(error))

    sa.event.listen(databases.engine("shop"), "before_cursor_execute", write)
    assert update(shop, databases, {"Id": [0], "Region": ["a"], "Label": ["new"]}) == 1
    assert others == ["database is locked"]


def test_a_value_that_does_not_fit_changes_nothing(shop: Shop, databases: Databases, table: sa.Table) -> None:
    rows = {"Id": [0, 1], "Region": ["a", "a"], "Label": ["x", "y"], "scored": [5, None]}
    with pytest.raises(sa.exc.IntegrityError):
        update(shop, databases, rows)
    assert labels(shop, table) == ["old"] * 6


def test_many_rows_are_one_transaction(shop: Shop, databases: Databases, table: sa.Table) -> None:
    shop.add(table, [{"Id": n, "Region": "c"} for n in range(25_000)])
    ids = pa.array(range(25_000), pa.int64())
    rows = {"Id": ids, "Region": pa.array(["c"] * len(ids)), "Label": ids.cast(pa.string())}
    assert update(shop, databases, rows) == 25_000
    assert all(row.Label == str(row.Id) for row in shop.read(table) if row.Region == "c")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"Id": [1], "Label": ["x"]}, r"no column 'Region' in the rows to update .*Things with. It has: Id, Label"),
        ({"Id": [1], "Region": ["a"], "Lable": ["x"]}, r"no column 'Lable' in table .*Things.*Did you mean 'Label'"),
    ],
)
def test_a_wrong_column_is_named(
    rows: dict[str, Any], message: str, shop: Shop, databases: Databases, table: sa.Table
) -> None:
    with pytest.raises(NotFound, match=message):
        update(shop, databases, rows)
    assert labels(shop, table) == ["old"] * 6


def test_a_wrong_table_or_database_is_named(
    shop: Shop, databases: Databases, monkeypatch: pytest.MonkeyPatch, table: sa.Table
) -> None:
    with pytest.raises(NotFound, match=r"no table 'Thing' in database 'shop'.*Did you mean 'Things'"):
        update_rows(databases, "shop", shop.schema, "Thing", ("Id",), pa.table({"Id": [1], "Label": ["x"]}))
    monkeypatch.setenv("ADFML_LOST_URL", "sqlite:////nowhere/lost.sqlite")
    with pytest.raises(Unreachable, match="the file does not exist"):
        update_rows(databases, "lost", None, "T", ("Id",), pa.table({"Id": [1], "Label": ["x"]}))


def test_no_rows_are_no_work(shop: Shop, databases: Databases, table: sa.Table) -> None:
    empty = {"Id": pa.array([], pa.int64()), "Region": pa.array([], pa.string()), "Label": pa.array([], pa.string())}
    assert update(shop, databases, empty) == 0
    assert update(shop, databases, {"Id": [1], "Region": ["a"]}) == 0


def test_keys_that_parquet_holds_as_text_are_found(shop: Shop, databases: Databases) -> None:
    ids = [uuid.UUID(int=n) for n in range(3)]
    table = shop.create(
        sa.Column("Id", sa.Uuid, primary_key=True),
        sa.Column("Price", sa.Numeric(20, 4), primary_key=True),
        sa.Column("Label", sa.String(20)),
        name="Things",
    )
    shop.add(table, [{"Id": id, "Price": Decimal("1.2500"), "Label": "old"} for id in ids])
    rows = {"Id": [str(ids[0])], "Price": ["1.25"], "Label": ["new"]}
    if shop.engine.dialect.name == "sqlite":
        # SQLite has no UUIDs: its driver gives and takes text.
        rows["Id"] = [ids[0].hex]
    assert update_rows(databases, "shop", shop.schema, "Things", ("Id", "Price"), pa.table(rows)) == 1


def test_on_sql_server_the_update_is_one_statement_that_t_sql_knows() -> None:
    metadata = sa.MetaData()
    target = sa.Table("T", metadata, sa.Column("Id", sa.Integer), sa.Column("Label", sa.String(9)), schema="dbo")
    staging = sa.Table("#adfml_updated_rows", metadata, sa.Column("Id", sa.Integer), sa.Column("Label", sa.String(9)))
    update = target.update().values(Label=staging.c.Label).where(target.c.Id == staging.c.Id)
    text = str(update.compile(dialect=mssql.dialect()))
    tree = sqlglot.parse_one(text, read="tsql")
    assert isinstance(tree, exp.Update)
    assert {table.name for table in tree.find_all(exp.Table)} == {"T", "adfml_updated_rows"}
    assert "#adfml_updated_rows" in tree.sql("tsql")


def read_batches() -> list[str]:
    return re.split(r"(?m)^GO$", PROCEDURE.read_text())


def test_the_procedure_updates_a_set_of_rows_that_are_still_unscored() -> None:
    _, text = read_batches()
    (tree,) = [tree for tree in sqlglot.parse(text, read="tsql") if tree is not None]
    assert isinstance(tree, exp.Create)
    assert tree.kind == "PROCEDURE"
    (update,) = tree.find_all(exp.Update)
    columns = [equal.this.name for equal in update.expressions]
    assert columns == ["Sentiment", "ConfidencePositive", "ConfidenceNeutral", "ConfidenceNegative", "scored"]
    assert update.args["where"].sql("tsql") == "WHERE records.scored = 0"
    assert "@Scores AS scores ON scores.RecordId = records.id" in update.sql("tsql")
    assert "@Scores AS dbo.SentimentScores READONLY" in tree.sql("tsql") or "READONLY" in text


def test_the_procedures_type_holds_a_row_a_key() -> None:
    text, _ = read_batches()
    columns = re.findall(r"(?m)^    (\w+) (bigint|nvarchar\(20\)|float) NOT NULL", text)
    assert [name for name, _ in columns] == [
        "RecordId",
        "Sentiment",
        "ConfidencePositive",
        "ConfidenceNeutral",
        "ConfidenceNegative",
    ]
    assert "RecordId bigint NOT NULL PRIMARY KEY" in text
