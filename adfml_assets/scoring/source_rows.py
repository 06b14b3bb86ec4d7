"""The rows of a table that wait to be scored, kept as they were read: a day's rows grow, and none of them is lost.

What is read is gone from the source's own list once it is scored (`ScoredDate IS NULL`). So the day keeps its rows in
a file of its own; its scoring input is made of them, for whatever version scores, also when the day has passed.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from adfml_assets import lake_layout
from adfml_assets.archive.current import open_duckdb
from adfml_assets.asset_keys import table_key
from adfml_assets.duckdb_sql import build_scan, quote
from adfml_assets.scoring.errors import PastRecords, ScoredDateInvalid, WrongRecords
from adfml_assets.source_query import read_rows
from resources.database import Databases
from resources.errors import NotFound
from resources.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

_EXAMPLES = 5
_BATCH_ROWS = 20_000


@dataclass(frozen=True)
class SourceSpec:
    """Which rows of which table wait to be scored.

    Attributes:
        database, schema, table: the table or view.
        key: the column that identifies a row; it becomes RecordId.
        where: a SQL condition in the server's own words; None: all rows.
        scored_date: the column that is set once a row is scored; None: none is.
    """

    database: str
    schema: str
    table: str
    key: str
    where: str | None
    scored_date: str | None

    @property
    def full_name(self) -> str:
        """database.schema.table, as messages name it."""
        return f"{self.database}.{self.schema}.{self.table}"

    @property
    def asset_key(self) -> dg.AssetKey:
        """The table as an asset; where no component makes it, an external one."""
        return table_key(self.database, self.schema, self.table)


@dataclass(frozen=True)
class SourceRows:
    """A day's rows.

    Attributes:
        path: the lake's file with all of them, every column as the source has it.
        read: rows that were read now; 0 for a past day.
        kept: rows that were read earlier that day and do not wait any more.
    """

    path: str
    read: int
    kept: int


def build_path(model: str, day: str) -> str:
    """Where a day's rows lie: below its scoring input, of which they are no part."""
    return f"{lake_layout.scoring_input_folder(model, day)}/source/rows.parquet"


def gather_rows(lake: Lake, databases: Databases, spec: SourceSpec, model: str, day: str, today: str) -> SourceRows:
    """Read what waits now and add it to the day's rows: a row that was read before is replaced by what it is now.

    Memory stays the same whatever the number of rows. A run that is killed leaves the day's rows as they were.

    Args:
        day: the partition; a day that is not `today` is taken from what was read that day.

    Raises:
        PastRecords: nothing was read that day, and it is not today.
        NotFound: the table, its key or `scored_date` does not exist.
        ScoredDateInvalid: `scored_date` cannot hold a date.
        WrongRecords: a key is NULL, or several rows have it.
    """
    path = build_path(model, day)
    there = path in lake.list_files(path.rpartition("/")[0])
    if day != today:
        if not there:
            raise PastRecords(spec.full_name, day, today)
        return SourceRows(path, 0, lake.describe_rows(path))
    with ExitStack() as stack:
        local = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="adfml-"))) / "waiting.parquet"
        read = _load_waiting(databases, spec, local)
        connection = stack.enter_context(open_duckdb())
        _create_view(connection, "waiting", local)
        _check_keys(connection, spec)
        query = "SELECT * FROM waiting"
        if there:
            _create_view(connection, "earlier", stack.enter_context(lake.local_copy(path)))
            scored = f"SELECT * FROM earlier ANTI JOIN waiting USING ({quote(spec.key)})"  # noqa: S608 - quoted
            query = f"({scored}) UNION ALL BY NAME ({query})"
        reader = connection.execute(query).to_arrow_reader(_BATCH_ROWS)
        sink = stack.enter_context(lake.write_parquet(path, reader.schema))
        for batch in reader:
            sink.write(batch)
    return SourceRows(path, read, sink.rows - read)


def _load_waiting(databases: Databases, spec: SourceSpec, local: Path) -> int:
    """What waits now, into a file of this machine. Returns its rows."""
    import pyarrow.parquet as pq

    schema, batches = read_rows(databases, spec.database, spec.schema, spec.table, spec.where, None)
    _check_columns(schema, spec)
    rows = 0
    with pq.ParquetWriter(local, schema, version="2.6") as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _check_columns(schema: pa.Schema, spec: SourceSpec) -> None:
    import pyarrow as pa

    for name in (spec.key, spec.scored_date):
        if name is not None and name not in schema.names:
            raise NotFound("column", name, spec.full_name, schema.names)
    if spec.scored_date is not None:
        kind = schema.field(spec.scored_date).type
        if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
            raise ScoredDateInvalid(spec.full_name, spec.scored_date, str(kind))


def _create_view(connection: DuckDBPyConnection, name: str, file: Path) -> None:
    connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {build_scan([str(file)])}")  # noqa: S608 - quoted


def _check_keys(connection: DuckDBPyConnection, spec: SourceSpec) -> None:
    key = quote(spec.key)
    unset = connection.execute(f"SELECT count(*) FROM waiting WHERE {key} IS NULL").fetchall()[0][0]  # noqa: S608
    if unset:
        raise WrongRecords(spec.full_name, f"{spec.key} is NULL in {unset} rows")
    doubled = connection.execute(
        f"SELECT {key} FROM waiting GROUP BY {key} HAVING count(*) > 1 ORDER BY {key} LIMIT {_EXAMPLES}"  # noqa: S608
    ).fetchall()
    if doubled:
        shown = ", ".join(str(row[0]) for row in doubled)
        raise WrongRecords(spec.full_name, f"several rows have the same {spec.key}, for example {shown}")
