"""Rows to train on from a table or view of a source database, label and all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING

from adfml_assets.archive.partitions_in_lake import find_personal_columns
from adfml_assets.archive.tables import SourceTable
from adfml_assets.archived_partitions import parse_reference
from adfml_assets.asset_keys import table_key
from adfml_assets.duckdb_sql import quote
from adfml_assets.origins import copy_columns
from adfml_assets.source_query import count_null, join_conditions, read_rows, within_days
from adfml_assets.training.choice import Choice, name_source, require_whole_windows
from adfml_assets.training.columns import (
    check_features,
    is_numeric,
    require_numeric,
    require_other_names,
    require_rows,
)
from adfml_assets.training.errors import TimesMissing, WrongFeatureType
from adfml_assets.training.spec import LabelSpec, Period, QuerySource
from adfml_assets.training.splits import list_left_out, split_dates
from adfml_assets.training.workspace import ROWS, Staged, fetch_row
from resources.database import Databases
from resources.errors import NotFound
from resources.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection
    from ibis.backends.duckdb import Backend

_READ, _STAGED = "adfml_read", "adfml_query"
_EXAMPLES = 3


def stage_query(
    lake: Lake,
    databases: Databases,
    backend: Backend,
    model: str,
    source: QuerySource,
    label: LabelSpec,
    choice: Choice,
    today: date,
) -> Staged:
    """Put the rows of all splits into a workspace's table ROWS, as they are in the database now.

    Rows whose label looks past `today`, or past the last day that was chosen, are not used: it cannot be whole.

    Args:
        lake: is asked which of the table's columns are personal data.
        today: UTC.

    Raises:
        NotFound: the table or a column is not there; the baseline is no feature.
        WrongFeatureType: a feature or the label is no number, or the time column says no time.
        NamesTaken: a column would be there twice.
        LabelWindowPastData: of an end date that was asked for.
        TimesMissing: rows without a date.
        NothingToTrainOn: a split would be empty.
        Unreachable, NotPermitted, UnsupportedColumn, UnexpectedValue, ConnectionLost, Refused: the database's.
    """
    import pyarrow as pa

    last_day = min(choice.last_day or today, today)
    require_whole_windows(model, choice, label.days, last_day)
    address = parse_reference(source.table)
    asset = table_key(*address).to_user_string()
    existing, _ = read_rows(databases, *address, None, None)
    features = _choose_features(source, label, existing)
    # What comes after the last day cannot be used, and is not read.
    period = Period(choice.period.start, choice.period.end or last_day)
    days = within_days(databases, address[0], source.time, period.start, period.end)
    if pa.types.is_string(existing.field(source.time).type):
        days = None  # texts of several forms have no order that is time's: they are read first
    columns = [source.key, source.time, *features, label.name]
    schema, batches = read_rows(databases, *address, join_conditions(source.where, days), columns)
    connection = backend.con
    _copy(connection, schema, batches, source)
    _require_times(connection, source)
    sql = f"SELECT DISTINCT CAST({quote(source.time)} AS DATE) FROM {_STAGED} ORDER BY ALL"  # noqa: S608 - quoted
    dates = [row[0] for row in connection.execute(sql).fetchall() if row[0] in period]
    splits = split_dates(
        dates,
        last_day,
        label.days,
        validation_dates=source.validation_dates,
        test_dates=source.test_dates,
    )
    require_rows(model, {split: len(chosen) for split, chosen in splits.items()}, dates, label.days)
    used = [day for chosen in splits.values() for day in chosen]
    labelled = f"* REPLACE (CAST({quote(label.name)} AS DOUBLE) AS {quote(label.name)})"
    connection.execute(
        f"CREATE TABLE {ROWS} AS SELECT {labelled} FROM {_STAGED} "  # noqa: S608 - quoted
        f"WHERE CAST({quote(source.time)} AS DATE) IN (SELECT unnest(?::DATE[]))",
        [used],
    )
    connection.execute(f"DROP TABLE {_STAGED}")
    return Staged(
        key=source.key,
        time=source.time,
        features=tuple(features),
        categories=(),
        splits=splits,
        left_out=list_left_out(dates, last_day, label.days, splits),
        dates=tuple(dates),
        definition_sha256="",
        snapshot_date=None,
        source={
            "kind": "query",
            "of": name_source(source),
            "table": source.table,
            "where": source.where,
            "time": source.time,
            "last_day": last_day.isoformat(),
            "rows_without_time": count_null(databases, *address, source.time, source.where) if days else 0,
        },
        read_from={"table": source.table, "where": source.where},
        origins=copy_columns(asset, columns),
        personal={asset: find_personal_columns(lake, SourceTable(*address))},
    )


def _choose_features(source: QuerySource, label: LabelSpec, existing: pa.Schema) -> list[str]:
    """The columns to learn from, all columns checked.

    Raises:
        NotFound, WrongFeatureType, NamesTaken: see `stage_query`.
    """
    others = [source.key, source.time, label.name]
    for name in others:
        if name not in existing.names:
            raise NotFound("column", name, source.table, existing.names)
    require_other_names(source.table, [*others, *(source.features or ())])
    require_numeric(source.table, existing.field(label.name))
    _require_moment(source, existing.field(source.time))
    if source.features is not None:
        features = list(source.features)
    else:
        features = [f.name for f in existing if f.name not in others and is_numeric(f.type)]
    if check_features(source.table, existing, features, label.baseline):
        raise AssertionError("no server has category columns")
    return features


def _require_moment(source: QuerySource, field: pa.Field) -> None:
    import pyarrow as pa

    kind = field.type
    # Texts, since SQLite has no other type for what an expression of a view gives.
    if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_string(kind)):
        advice = "Name the column that says when the features were true."
        raise WrongFeatureType(source.table, {field.name: str(kind)}, "a date, a timestamp or text in ISO 8601", advice)


def _copy(
    connection: DuckDBPyConnection, schema: pa.Schema, batches: Iterator[pa.RecordBatch], source: QuerySource
) -> None:
    """Stream rows into the workspace. Times in texts become timestamps; where one is none it is NULL."""
    import duckdb
    import pyarrow as pa

    listed = ", ".join(map(quote, schema.names))
    if pa.types.is_string(schema.field(source.time).type):
        moment = f"CAST(TRY_CAST({quote(source.time)} AS TIMESTAMPTZ) AS TIMESTAMP) AS {quote(source.time)}"
        listed = f"* REPLACE ({moment})"
    failures: list[BaseException] = []
    connection.register(_READ, pa.RecordBatchReader.from_batches(schema, _remember(batches, failures)))
    try:
        connection.execute(f"CREATE TABLE {_STAGED} AS SELECT {listed} FROM {_READ}")  # noqa: S608 - quoted
    except duckdb.Error:
        # DuckDB tells of what the database said as text only.
        if failures:
            raise failures[0] from None
        raise
    finally:
        connection.unregister(_READ)


def _remember(batches: Iterator[pa.RecordBatch], failures: list[BaseException]) -> Iterator[pa.RecordBatch]:
    try:
        yield from batches
    except Exception as error:
        failures.append(error)
        raise


def _require_times(connection: DuckDBPyConnection, source: QuerySource) -> None:
    name = quote(source.time)
    (missing,) = fetch_row(connection, f"SELECT count(*) FROM {_STAGED} WHERE {name} IS NULL")  # noqa: S608 - quoted
    if not missing:
        return
    sql = f"SELECT {quote(source.key)} FROM {_STAGED} WHERE {name} IS NULL ORDER BY ALL LIMIT {_EXAMPLES}"  # noqa: S608
    keys = [f"{source.key} {row[0]}" for row in connection.execute(sql).fetchall()]
    raise TimesMissing(source.table, source.time, missing, keys)
