"""The revisions as T-SQL: no SQL Server runs here, so each statement is parsed and looked at."""

from __future__ import annotations

import re

import sqlglot
from sqlglot import exp

from resources.control_tables import metadata
from resources.migrations import revisions
from resources.migrations.history import write_sql
from resources.migrations.upgrading import SQL_SERVER_LOCK


def parse(text: str) -> list[exp.Expression]:
    """The statements between the GO lines; none is of a kind the parser does not know."""
    trees = [tree for tree in sqlglot.parse(re.sub(r"(?m)^GO$", ";", text), read="tsql") if tree is not None]
    assert not [tree.sql() for tree in trees if isinstance(tree, exp.Command)]
    return trees


def test_every_table_is_made_as_it_is_declared() -> None:
    trees = parse(write_sql("mssql", None))
    made = {
        tree.find(exp.Table).name: [column.name for column in tree.find_all(exp.ColumnDef)]  # type: ignore[union-attr]
        for tree in trees
        if isinstance(tree, exp.Create) and tree.kind == "TABLE"
    }
    assert made.pop("adfml_schema_version") == ["version_num"]
    assert made == {name: [column.name for column in table.columns] for name, table in metadata.tables.items()}
    indexes = [tree for tree in trees if isinstance(tree, exp.Create) and tree.kind == "INDEX"]
    assert len(indexes) == sum(len(table.indexes) for table in metadata.tables.values())


def test_no_time_is_written_as_text_that_depends_on_the_language() -> None:
    rows = re.findall(r"INSERT INTO adfml_schema_changes .*", write_sql("mssql", revisions.FIRST))
    assert len(rows) == int(revisions.HEAD) - 1
    for number, row in enumerate(rows, 2):
        assert f"VALUES ('{number:04}', '0001', sysutcdatetime(), 'adfml " in row


def test_the_lock_is_taken_for_the_transaction_and_its_refusal_raised() -> None:
    known = re.sub(r"THROW \d{5}, N'[^']*', 1;", "SELECT 51000;", SQL_SERVER_LOCK)
    trees = [tree for tree in sqlglot.parse(known, read="tsql") if tree is not None]
    assert len(trees) >= 3
    assert "@LockOwner = N'Transaction'" in SQL_SERVER_LOCK
