"""The shipped control table is the one the project uses, in every dialect; its procedure for SQL Server is T-SQL."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import pytest
import sqlglot
from sqlglot import exp

from resources.control_tables import archive_watermark

FOLDER = Path(__file__).resolve().parents[3] / "resources" / "sql"
TABLES = {
    "archive_watermark_sqlite.sql": "sqlite",
    "archive_watermark_postgresql.sql": "postgres",
    "archive_watermark_duckdb.sql": "duckdb",
    "archive_watermark_mssql.sql": "tsql",
}


def read_statements(file: str) -> list[str]:
    """The file's statements, split at its GO lines."""
    return re.split(r"(?m)^(?:-- )?GO$", (FOLDER / file).read_text())


def find_table(file: str, dialect: str) -> exp.Create:
    (tree,) = [tree for tree in sqlglot.parse(read_statements(file)[0], read=dialect) if tree is not None]
    table = tree if isinstance(tree, exp.Create) else tree.find(exp.Create)
    assert table is not None
    return table


@pytest.mark.parametrize(("file", "dialect"), TABLES.items())
def test_the_table_has_the_projects_columns_in_order(file: str, dialect: str) -> None:
    columns = list(find_table(file, dialect).this.find_all(exp.ColumnDef))
    assert [column.name for column in columns] == [column.name for column in archive_watermark.columns]
    refused = [
        column.name
        for column in columns
        if any(
            isinstance(c.kind, exp.NotNullColumnConstraint) and not c.kind.args.get("allow_null")
            for c in column.constraints
        )
    ]
    assert refused == [column.name for column in archive_watermark.columns if not column.nullable]


@pytest.mark.parametrize(("file", "dialect"), TABLES.items())
def test_a_partition_and_a_number_are_there_once(file: str, dialect: str) -> None:
    text = re.sub(r"[\"\s]+", " ", find_table(file, dialect).sql(dialect))
    assert re.search(r"PRIMARY KEY \( ?TableName ?, PartitionKey ?\)", text)
    assert re.search(r"CONSTRAINT UQ_ArchiveWatermark_Sequence UNIQUE \( ?TableName ?, SequenceNumber ?\)", text)


def write_intervals(connection: sqlite3.Connection | duckdb.DuckDBPyConnection, refused: type[Exception]) -> None:
    """A row as the project writes it, and that neither its partition nor its number is taken a second time."""
    insert = (
        'INSERT INTO "ArchiveWatermark" '
        '("TableName", "PartitionKey", "SequenceNumber", "UpperWatermark", "RecordedAt", "RunId") '
        "VALUES ('shop.dbo.Orders', ?, ?, '2026-03-10 09:30:00.1234567', '2026-03-10 09:30:00', 'run')"
    )
    connection.execute(insert, ("2026-03-10", 0))
    for partition, number in (("2026-03-11", 0), ("2026-03-10", 1)):
        with pytest.raises(refused, match=r"UNIQUE|Duplicate key"):
            connection.execute(insert, (partition, number))
    select = 'SELECT "WatermarkKind", "UpperWatermark", "LowerWatermark" FROM "ArchiveWatermark"'
    assert connection.execute(select).fetchall() == [("datetime", "2026-03-10 09:30:00.1234567", None)]


def test_the_sqlite_table_can_be_made_twice_and_holds_what_the_project_writes() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in read_statements("archive_watermark_sqlite.sql") * 2:
            connection.execute(statement)
        write_intervals(connection, sqlite3.IntegrityError)


def test_the_duckdb_table_can_be_made_twice_and_holds_what_the_project_writes() -> None:
    with duckdb.connect() as connection:
        for statement in read_statements("archive_watermark_duckdb.sql") * 2:
            connection.execute(statement)
        write_intervals(connection, duckdb.ConstraintException)
        for statement in read_statements("archive_watermark_duckdb.sql"):
            connection.execute(statement)
        assert connection.execute('SELECT count(*) FROM "ArchiveWatermark"').fetchall() == [(1,)]


def parse_procedure() -> exp.Create:
    # The parser does not know THROW; a statement of the same place in the grammar stands for it.
    text, thrown = re.subn(
        r"THROW \d{5}, @Message, 1;", "PRINT @Message;", (FOLDER / "usp_UpdateWatermark.sql").read_text()
    )
    assert thrown == 4
    (tree,) = [tree for tree in sqlglot.parse(text, read="tsql") if tree is not None]
    assert isinstance(tree, exp.Create)
    return tree


def test_the_procedure_takes_what_adf_pipelines_pass() -> None:
    head = parse_procedure().sql("tsql")
    assert re.search(
        r"CREATE OR ALTER PROCEDURE dbo\.usp_UpdateWatermark @TableName NVARCHAR\(300\), @NewWatermark DATETIME2\(7\), "
        r"@RunId VARCHAR\(64\) = 'azure-data-factory' AS BEGIN",
        head,
    )


def test_the_procedure_reads_and_appends_in_one_transaction_with_the_range_locked() -> None:
    tree = parse_procedure()
    kinds = [type(node) for node in tree.walk(bfs=False) if isinstance(node, exp.Transaction | exp.Insert | exp.Commit)]
    assert kinds == [exp.Transaction, exp.Insert, exp.Commit]
    assert "FROM dbo.ArchiveWatermark WITH (UPDLOCK, HOLDLOCK)" in tree.sql("tsql")
    insert = tree.find(exp.Insert)
    assert insert is not None
    names = [name.name for name in insert.this.expressions]
    assert names == [column.name for column in archive_watermark.columns if column.name in names]
    assert len(names) == len(insert.expression.expressions[0].expressions) == len(archive_watermark.columns)


def test_the_procedure_of_postgresql_is_a_statement_of_its_own() -> None:
    _, procedure = read_statements("archive_watermark_postgresql.sql")
    (tree,) = [tree for tree in sqlglot.parse(procedure, read="postgres") if tree is not None]
    assert isinstance(tree, exp.Create)
    assert tree.kind == "PROCEDURE"
    assert tree.this.this.name == "usp_UpdateWatermark"
