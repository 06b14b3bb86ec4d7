"""Writing scores back to SQL: staged, then upserted by key in one transaction (the pipeline's LoadScoresBackToSql)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from adfml_assets.errors import AdfmlError
from resources.database import Databases
from resources.errors import NotFound

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy import Connection

BATCH_ROWS = 10_000
STAGING = "adfml_staging"

_COLUMNS = {
    "RecordId": "RecordId",
    "Score": "score",
    "ModelName": "model",
    "ModelVersion": "version",
    "ModelAlias": "alias",
    "ScoredAt": "scored_at",
    "FeatureSnapshot": "feature_snapshot",
    "SnapshotDate": "snapshot_date",
}
# Columns that tables made by an older adfml do not have.
_LATER = {"FeatureSnapshot"}


class DuplicateKeys(AdfmlError):
    """Several rows to be written have one key."""

    def __init__(self, table: str, keys: Sequence[str], examples: Sequence[Any]) -> None:
        self.table = table
        self.keys = tuple(keys)
        self.examples = tuple(examples)
        shown = ", ".join(map(str, self.examples))
        super().__init__(f"{table}: several rows have one key ({', '.join(keys)}): {shown}. Nothing was written.")


@dataclass(frozen=True)
class WrittenBack:
    """What a write-back did.

    Attributes:
        rows: given.
        kept_newer: rows left as they were because a newer snapshot's score is there.
        left_out: columns that were not written, because the table was there before and does not have them.
        marked: source rows that were noted as scored.
    """

    rows: int
    kept_newer: int
    left_out: tuple[str, ...] = ()
    marked: int = 0


def write_back(
    databases: Databases,
    database: str,
    schema: str | None,
    table: str,
    keys: Sequence[str],
    scores: pa.Table,
    day: str,
    *,
    mark: Callable[[Connection], int] | None = None,
) -> WrittenBack:
    """Upsert a day's scores; writing them twice changes nothing, and an older day never overwrites a newer one.

    The table is made where it does not exist: RecordId, Score, ModelName, ModelVersion, ModelAlias, ScoredAt (UTC),
    FeatureSnapshot, SnapshotDate. Everything happens in one transaction: all scores of the day are there, or none.

    Args:
        keys: columns that identify a row, for example RecordId and ModelName.
        scores: as a scoring job leaves them.
        day: the scores' partition.
        mark: what else belongs into the transaction: it notes the rows at their source as scored, and says how many.

    Raises:
        NotFound: a key is no column of the table.
        DuplicateKeys: two scores have one key.
    """
    import sqlalchemy as sa

    with databases.connect(database) as connection, connection.begin():
        target = _open_target(connection, schema, table, keys, scores)
        names = [name for name in _COLUMNS if name in target.columns]
        staging = make_staging(connection, target, names)
        for rows in _to_rows(scores, day, names):
            connection.execute(staging.insert(), rows)
        require_unique(connection, staging, keys, target.fullname)
        match = sa.and_(*(target.c[key] == staging.c[key] for key in keys))
        newer = sa.exists().where(match, target.c.SnapshotDate > staging.c.SnapshotDate)
        kept = connection.execute(staging.delete().where(newer)).rowcount
        connection.execute(target.delete().where(sa.exists().where(match)))
        connection.execute(target.insert().from_select(names, sa.select(staging)))
        staging.drop(connection)
        marked = mark(connection) if mark else 0
    return WrittenBack(scores.num_rows, kept, tuple(name for name in _COLUMNS if name not in names), marked)


def _open_target(
    connection: Connection, schema: str | None, table: str, keys: Sequence[str], scores: pa.Table
) -> sa.Table:
    import sqlalchemy as sa

    if not sa.inspect(connection).has_table(table, schema=schema):
        _build_table(table, schema, keys, scores).create(connection)
    # Also of one that was just made: its texts have the database's collation, the staging table's must be the same.
    target = sa.Table(table, sa.MetaData(), schema=schema, autoload_with=connection, resolve_fks=False)
    for column in (*_columns(scores), *keys):
        if column not in target.columns and (column not in _LATER or column in keys):
            raise NotFound("column", column, f"table {target.fullname}", target.columns.keys())
    return target


def _build_table(table: str, schema: str | None, keys: Sequence[str], scores: pa.Table) -> sa.Table:
    import sqlalchemy as sa

    types = _columns(scores)
    for key in keys:
        if key not in types:
            raise NotFound("column", key, f"the scores to be written to {table}", types)
    columns = [
        sa.Column(name, kind, primary_key=name in keys, autoincrement=False, nullable=name not in keys)
        for name, kind in types.items()
    ]
    return sa.Table(table, sa.MetaData(), *columns, schema=schema)


def _columns(scores: pa.Table) -> dict[str, sa.types.TypeEngine[Any]]:
    import pyarrow as pa
    import sqlalchemy as sa

    integer = pa.types.is_integer(scores.schema.field("RecordId").type)
    return {
        "RecordId": sa.BigInteger() if integer else sa.String(200),
        "Score": sa.Float(53),
        "ModelName": sa.String(200),
        "ModelVersion": sa.String(60),
        "ModelAlias": sa.String(60),
        "ScoredAt": sa.DateTime(),
        "FeatureSnapshot": sa.Date(),
        "SnapshotDate": sa.Date(),
    }


def make_staging(connection: Connection, target: sa.Table, names: Sequence[str]) -> sa.Table:
    """A temporary table of this connection with columns of the target, for what is to be set against it as a whole.

    Drop it at the end of the transaction; one that fails takes it with it.
    """
    import sqlalchemy as sa

    columns = [sa.Column(name, target.c[name].type, nullable=True) for name in names]
    on_mssql = connection.dialect.name == "mssql"
    # A name beginning with # is SQL Server's word for TEMPORARY.
    name, prefixes = (f"#{STAGING}", []) if on_mssql else (STAGING, ["TEMPORARY"])
    staging = sa.Table(name, sa.MetaData(), *columns, prefixes=prefixes)
    if connection.dialect.name == "sqlite":
        # Its driver begins transactions at the first row: a table made before that outlives one that failed.
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS temp.{STAGING}")
    staging.create(connection, checkfirst=False)
    return staging


def _to_rows(scores: pa.Table, day: str, names: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
    snapshot = date.fromisoformat(day)
    for batch in scores.to_batches(max_chunksize=BATCH_ROWS):
        for row in (rows := batch.to_pylist()):
            row["scored_at"] = row["scored_at"].replace(tzinfo=None)
            row["snapshot_date"] = snapshot
        # Scores of an older adfml have no feature_snapshot.
        yield [{name: row.get(_COLUMNS[name]) for name in names} for row in rows]


def require_unique(connection: Connection, staging: sa.Table, keys: Sequence[str], table: str) -> None:
    """Make sure no two staged rows have one key.

    Raises:
        DuplicateKeys: some have; with examples.
    """
    import sqlalchemy as sa

    columns = [staging.c[key] for key in keys]
    query = sa.select(*columns).group_by(*columns).having(sa.func.count() > 1).limit(5)
    doubled = [tuple(row) for row in connection.execute(query)]
    if doubled:
        raise DuplicateKeys(table, keys, doubled)
