"""SQL Server, of which there is none here: what is asked of it is parsed, and a stand-in logs in what order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
import sqlglot
from sqlalchemy.dialects import mssql
from sqlglot import exp

from adfml_assets.write_back import progress
from adfml_assets.write_back.arrow_types import build_type
from adfml_assets.write_back.errors import ValueInvalid
from adfml_assets.write_back.progress import Partition
from adfml_assets.write_back.scored_rows import Marking
from adfml_assets.write_back.sqlserver_merge import build_merge
from adfml_assets.write_back.staged_columns import StagedColumn, build_constant, conform, plan_column
from adfml_assets.write_back.staging import open_staging
from adfml_assets.write_back.upsert import Upsert, count_missing, require_keys, require_unique, run_upsert
from tests.write_back.conftest import DAY

TARGET = sa.Table(
    "Predictions",
    sa.MetaData(),
    sa.Column("RecordId", sa.BigInteger, primary_key=True),
    sa.Column("ModelName", mssql.VARCHAR(200), primary_key=True),
    sa.Column("Odd ] name", sa.Float(53)),
    sa.Column("Run", mssql.UNIQUEIDENTIFIER),
    sa.Column("SnapshotDate", sa.Date),
    schema="dbo",
)
KEYS = ("RecordId", "ModelName")
SCHEMA = pa.schema([("RecordId", pa.int64()), ("score", pa.float64()), ("run", pa.string())])
RUN = "0b6f6f0e-6f0e-4f0e-8f0e-0f0e0f0e0f0e"


@dataclass
class Server:
    """A stand-in for the driver: answers statements by patterns; statements, copies and ends are in `log`."""

    answers: dict[str, Sequence[Sequence[Any]] | Exception] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    copied: list[tuple[str, pa.Table, dict[str, Any]]] = field(default_factory=list)

    def engine(self) -> sa.Engine:
        engine = sa.create_engine(
            "mssql+mssqlpython://u:p@host/shop", creator=lambda: Connection(self), _initialize=False
        )
        # What it would read of the server when it first connects.
        engine.dialect.server_version_info, engine.dialect.deprecate_large_types = (16, 0), True
        return engine

    @property
    def words(self) -> list[str]:
        """The log, the first two words of each entry."""
        return [" ".join(entry.split()[:2]).rstrip(";") for entry in self.log]


class Connection:
    """One of its connections."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def cursor(self) -> Cursor:
        return Cursor(self.server)

    def commit(self) -> None:
        self.server.log.append("COMMIT")

    def rollback(self) -> None:
        # SQLAlchemy resets a connection that goes back to its pool, too.
        if self.server.log[-1:] not in (["ROLLBACK"], ["COMMIT"]):
            self.server.log.append("ROLLBACK")

    def close(self) -> None:
        """Nothing is open."""


class Cursor:
    """A cursor, which can copy in bulk."""

    rowcount = 1

    def __init__(self, server: Server) -> None:
        self.server = server
        self.rows: Sequence[Sequence[Any]] = []
        self.description: list[Any] | None = None

    def execute(self, statement: str, parameters: Any = None) -> None:
        self.server.log.append(statement)
        answer = next((found for part, found in self.server.answers.items() if re.search(part, statement)), [])
        if isinstance(answer, Exception):
            raise answer
        self.rows = answer
        is_query = statement.startswith(("SELECT", "SET NOCOUNT"))
        self.description = [(f"c{i}", None) for i in range(len(answer[0]) if answer else 1)] if is_query else None

    def fetchall(self) -> Sequence[Sequence[Any]]:
        return self.rows

    def fetchone(self) -> Sequence[Any] | None:
        row, self.rows = (self.rows[0], self.rows[1:]) if self.rows else (None, [])
        return row

    def fetchmany(self, size: int = 1) -> Sequence[Sequence[Any]]:
        rows, self.rows = self.rows[:size], self.rows[size:]
        return rows

    def bulkcopy_arrow(self, table_name: str, source: Any, **options: Any) -> dict[str, Any]:
        self.server.log.append(f"BULK COPY {table_name}")
        try:
            self.server.copied.append((table_name, source.read_all(), options))
        except Exception as error:
            # The driver is no Python: what its source raises becomes an error of its own.
            raise RuntimeError(str(error)) from None
        return {}

    def close(self) -> None:
        """Nothing is open."""


def plan() -> list[StagedColumn]:
    names = {"RecordId": "RecordId", "Odd ] name": "score", "Run": "run"}
    return [plan_column(name, SCHEMA.field(source), TARGET.c[name], "mssql") for name, source in names.items()]


def build_upsert(staging: sa.Table, guard: str | None = "SnapshotDate") -> Upsert:
    values: dict[str, sa.ColumnElement[Any]] = {}
    for column in plan():
        staged = staging.c[column.name]
        values[column.name] = sa.cast(staged, column.cast) if column.cast is not None else staged
    for name, value in {"ModelName": "it's m", "SnapshotDate": DAY}.items():
        values[name] = build_constant(name, value, TARGET.c[name], "Predictions", "mssql")
    return Upsert(TARGET, staging, KEYS, values, guard, ordered=True)


def batches(scores: Sequence[float | None] = (0.5, None)) -> Iterator[pa.RecordBatch]:
    arrays = [pa.array(range(len(scores)), pa.int64()), pa.array(scores, pa.float64()), pa.array([RUN] * len(scores))]
    yield pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def parse(statement: str) -> list[exp.Expression]:
    """The statements of a batch as T-SQL; parameters of any style count as variables."""
    text = re.sub(r"%\((\w+)\)s", r"@\1", statement).replace("?", "@p")
    parsed = [one for one in sqlglot.parse(text, read="tsql") if one is not None]
    assert not any(isinstance(one, exp.Command) for one in parsed), statement
    return parsed


def write(server: Server, rows: Iterator[pa.RecordBatch]) -> Any:
    columns = plan()
    with server.engine().connect() as connection:
        converted = conform(rows, columns, "Predictions", ["RecordId"])
        with open_staging(connection, columns, converted, "dbo") as staging:
            return run_upsert(connection, build_upsert(staging), 2)


def test_rows_are_copied_into_a_committed_table_and_merged_in_one_transaction() -> None:
    server = Server({"MERGE": [(1, 1)]})
    written = write(server, batches())
    assert (written.inserted, written.updated, written.unchanged) == (1, 1, 0)
    assert server.words == [
        "SELECT t.name",
        "COMMIT",
        "CREATE TABLE",
        "COMMIT",
        "BULK COPY",
        "SET NOCOUNT",
        "COMMIT",
        "DROP TABLE",
        "COMMIT",
    ]
    ((name, table, options),) = server.copied
    assert re.fullmatch(r"dbo\.adfml_staging_[0-9a-f]{32}", name)
    assert all(name in server.log[place] for place in (2, 5, 7))
    assert table.column_names == options["column_mappings"] == ["RecordId", "Odd ] name", "Run"]
    assert table.to_pydict() == {"RecordId": [0, 1], "Odd ] name": [0.5, None], "Run": [RUN, RUN]}
    assert (options["timeout"], options["keep_nulls"]) == (0, True)


def test_every_run_has_a_staging_table_of_its_own() -> None:
    server = Server({"MERGE": [(2, 0)]})
    for _ in range(2):
        write(server, batches())
    assert len({name for name, _, _ in server.copied}) == 2


@pytest.mark.parametrize("fails", ["MERGE", "BULK"])
def test_what_fails_leaves_no_staging_table(fails: str) -> None:
    server = Server({"MERGE": ZeroDivisionError()})
    rows = batches((0.5, 0.5)) if fails == "MERGE" else broken()
    with pytest.raises(ZeroDivisionError if fails == "MERGE" else ValueInvalid):
        write(server, rows)
    middle = ["SET NOCOUNT", "ROLLBACK"] if fails == "MERGE" else []
    assert server.words[4:] == ["BULK COPY", *middle, "DROP TABLE", "COMMIT"]


def broken() -> Iterator[pa.RecordBatch]:
    raise ValueInvalid("Predictions", "Odd ] name", "a number", "none", {})
    yield


def test_what_killed_runs_left_is_removed_a_day_later() -> None:
    server = Server({"MERGE": [(2, 0)], "sys.tables": [("adfml_staging_0a",), ("adfml_staging_0b",)]})
    write(server, batches())
    assert server.words[:4] == ["SELECT t.name", "DROP TABLE", "DROP TABLE", "COMMIT"]
    assert server.log[1] == "DROP TABLE IF EXISTS dbo.adfml_staging_0a"
    assert len(parse(server.log[0])) == 1
    assert "t.name LIKE ? AND t.create_date < DATEADD(HOUR, ?, GETDATE())" in server.log[0]


def test_the_merge_is_t_sql() -> None:
    server = Server()
    engine = server.engine()
    staging = sa.Table("adfml_staging_1", sa.MetaData(), *(sa.Column(c.name, c.type) for c in plan()), schema="dbo")
    statement, parameters = build_merge(build_upsert(staging), engine.dialect)
    assert sorted(parameters.values(), key=str) == [DAY, "it's m"]  # type: ignore[union-attr]
    settings, table, merge, counts, again = parse(statement)
    assert isinstance(merge, exp.Merge)
    assert (settings.sql("tsql"), again.sql("tsql")) == ("SET NOCOUNT ON", "SET NOCOUNT OFF")
    assert isinstance(table, exp.Declare)
    assert isinstance(counts, exp.Select)
    text = re.sub(r"\s+", " ", statement)
    assert "MERGE INTO dbo.[Predictions] WITH (HOLDLOCK) AS t USING (SELECT" in text
    assert "ON t.[RecordId] = s.[RecordId] AND t.[ModelName] = s.[ModelName] WHEN MATCHED" in text
    assert (
        "WHEN MATCHED AND (t.[SnapshotDate] IS NULL OR t.[SnapshotDate] <= s.[SnapshotDate]) AND EXISTS (SELECT" in text
    )
    assert "EXISTS (SELECT s.[Odd ]] name], s.[Run], s.[SnapshotDate] EXCEPT SELECT t.[Odd ]] name]" in text
    # A text that stands for an identifier is cast, and what all rows have is of the column's type.
    for cast in ("[Run] AS UNIQUEIDENTIFIER)", "AS VARCHAR(200)) AS [ModelName]", "AS DATE) AS [SnapshotDate]"):
        assert cast in text
    always, _ = build_merge(build_upsert(staging, guard=None), engine.dialect)
    assert "WHEN MATCHED AND EXISTS" in always


def test_a_table_of_nothing_but_keys_is_only_inserted_into() -> None:
    staging = sa.Table("s", sa.MetaData(), sa.Column("RecordId", sa.BigInteger))
    keys = sa.Table("Seen", sa.MetaData(), sa.Column("RecordId", sa.BigInteger, primary_key=True))
    upsert = Upsert(keys, staging, ("RecordId",), {"RecordId": staging.c.RecordId})
    statement, _ = build_merge(upsert, Server().engine().dialect)
    assert "WHEN MATCHED" not in statement
    assert len(parse(statement)) == 5


def test_every_other_statement_is_t_sql() -> None:
    server = Server({r"^SELECT count\(\*\)": [(0,)], "sys": [(1,)]})
    source = sa.Table("Features", sa.MetaData(), sa.Column("Id", sa.Integer), sa.Column("Scored", mssql.DATETIME2))
    marked = (
        plan_column("adfml_source_key", SCHEMA.field("RecordId"), source.c.Id, "mssql"),
        plan_column("adfml_scored", pa.field("at", pa.timestamp("us", "UTC")), source.c.Scored, "mssql"),
    )
    columns = [*plan(), *marked]
    staging = sa.Table("adfml_staging_1", sa.MetaData(), *(sa.Column(c.name, c.type) for c in columns), schema="dbo")
    upsert = build_upsert(staging)
    of = Partition("scores", "2026-03-10", "d")
    with server.engine().connect() as connection, connection.begin():
        keys = {key: upsert.values[key] for key in KEYS}
        require_keys(connection, staging, keys, "Predictions")
        require_unique(connection, staging, keys, TARGET)
        Marking(source, "Id", "Scored", marked).run(connection, staging)
        server.answers["MERGE"] = [(0, 0)]
        assert run_upsert(connection, upsert, 2).unchanged == 2
        assert count_missing(connection, upsert, 1) == 1
        staging.create(connection, checkfirst=False)
        progress.build_table("dbo").create(connection, checkfirst=False)
        assert progress.claim(connection, "dbo", of, 0, 10)
        progress.end(connection, "dbo", of)
    statements = [entry for entry in server.log if entry not in ("COMMIT", "ROLLBACK")]
    assert len(statements) >= 9
    for statement in statements:
        assert parse(statement)


def test_a_table_that_is_made_keeps_moments_exactly() -> None:
    kinds = {
        "Text": pa.string(),
        "Moment": pa.timestamp("us", "UTC"),
        "Flag": pa.bool_(),
        "Exact": pa.decimal128(12, 3),
        "Bytes": pa.binary(),
        "Day": pa.date32(),
    }
    made = {name: build_type(kind, is_key=False) for name, kind in kinds.items()}
    columns = [sa.Column(name, kind) for name, kind in made.items()]
    key = sa.Column("Key", build_type(pa.string(), is_key=True), primary_key=True)
    table = sa.Table("T", sa.MetaData(), key, *columns)
    dialect = Server().engine().dialect
    text = str(sa.schema.CreateTable(table).compile(dialect=dialect))
    for expected in ("[Key] NVARCHAR(200) NOT NULL", "[Text] NVARCHAR(max)", "[Moment] DATETIME2(6)", "[Flag] BIT"):
        assert expected in text
    assert parse(text)


def test_values_go_in_the_types_of_their_columns() -> None:
    def find_wire(kind: pa.DataType, column: sa.types.TypeEngine[Any]) -> pa.DataType:
        return plan_column("c", pa.field("c", kind), sa.Column("c", column), "mssql").wire

    moment = pa.timestamp("us", "UTC")
    assert find_wire(moment, mssql.DATETIMEOFFSET()) == moment
    assert find_wire(moment, mssql.DATETIME2()) == pa.timestamp("us")
    assert find_wire(pa.int64(), mssql.TINYINT()) == pa.uint8()
    assert find_wire(pa.int64(), sa.SmallInteger()) == pa.int16()
    assert find_wire(pa.float64(), mssql.REAL()) == pa.float32()
    assert find_wire(pa.float64(), sa.Numeric(12, 2)) == pa.decimal128(12, 2)
    assert find_wire(pa.string(), mssql.UNIQUEIDENTIFIER()) == pa.string()
    assert find_wire(pa.date32(), sa.Date()) == pa.date32()
