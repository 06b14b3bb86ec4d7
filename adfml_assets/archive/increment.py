"""Incremental extracts (PL_IncrementalArchive): the rows of (last, current] by watermark, each row exactly once."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from adfml_assets import lake_layout
from adfml_assets.archive.copying import Archived, SourceTable, Target, copy_rows
from adfml_assets.archive.reading import reflect_table
from adfml_assets.errors import MissedIncrement, WatermarkWentBack
from resources.database import Databases
from resources.errors import NotFound
from resources.intervals import Interval, Intervals
from resources.lake import Lake
from resources.manifest import commit_manifest

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy import Connection


def take_increment(
    lake: Lake,
    databases: Databases,
    intervals: Intervals,
    source: SourceTable,
    watermark: str,
    day: str,
    *,
    asset: str,
    now: datetime,
    run_id: str,
) -> Archived:
    """Copy the rows of a day's interval. The interval is recorded before the data is read.

    A day whose interval is recorded reads that interval again. Otherwise the day has to be today: the interval goes
    from where the last one ended to the largest watermark there is now. Days that were missed are in it.

    Raises:
        MissedIncrement: the day is not today (UTC) and has no interval.
        WatermarkWentBack: the source's largest watermark is smaller than what is archived.
        NotFound: the table or the watermark column does not exist.
    """
    folder = lake_layout.incremental_folder(source.database, source.schema, source.table, day)
    interval = intervals.find(source.full_name, day)
    today = now.strftime("%Y-%m-%d")
    if interval is None and day != today:
        raise MissedIncrement(source.full_name, day, today)
    with databases.connect(source.database) as connection:
        table = reflect_table(connection, source.database, source.schema, source.table)
        if watermark not in table.columns:
            raise NotFound("column", watermark, source.full_name, table.columns.keys())
        column = table.columns[watermark]
        if interval is None:
            upper = _find_largest(connection, column)
            _require_forward(source, watermark, intervals.find_last(source.full_name), upper)
            interval = intervals.record(source.full_name, day, upper, run_id)
        path = f"{folder}/{lake_layout.increment_file(source.table, now)}"
        facts = {
            "watermark": watermark,
            "lower": interval.lower,
            "upper": interval.upper,
            "sequence": interval.sequence,
            "rows_without_watermark": _count_nulls(connection, column),
        }
        target = Target(path, asset, day, now, run_id)
        query = _select_interval(connection, table, column, interval)
        manifest = copy_rows(lake, connection, table, query, source, target, facts)
    commit_manifest(lake, folder, manifest)
    return Archived(folder, manifest, existing=False)


def _find_largest(connection: Connection, column: sa.Column[Any]) -> str | None:
    """The largest watermark as text, exactly as the database has it."""
    import sqlalchemy as sa

    largest = sa.func.max(column)
    exact = sa.type_coerce(largest, sa.Text) if _is_sqlite(connection) else sa.cast(largest, sa.Text)
    value = connection.execute(sa.select(exact)).scalar()
    return None if value is None else str(value)


def _select_interval(
    connection: Connection, table: sa.Table, column: sa.Column[Any], interval: Interval
) -> sa.Select[Any]:
    import sqlalchemy as sa

    query = table.select().order_by(column)
    if interval.upper is None:
        return query.where(sa.false())
    query = query.where(_compare(connection, column) <= _bind(connection, column, interval.upper))
    if interval.lower is not None:
        query = query.where(_compare(connection, column) > _bind(connection, column, interval.lower))
    return query


def _compare(connection: Connection, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    import sqlalchemy as sa

    # SQLite compares stored values; a Python datetime in between could not hold every text that is in there.
    return sa.type_coerce(column, sa.Text) if _is_sqlite(connection) and _is_text(column) else column


def _bind(connection: Connection, column: sa.Column[Any], watermark: str) -> sa.ColumnElement[Any]:
    import sqlalchemy as sa

    if _is_sqlite(connection):
        return sa.literal(watermark, sa.Text) if _is_text(column) else sa.literal(int(watermark), sa.BigInteger)
    return sa.cast(sa.literal(watermark, sa.Text), column.type)


def _is_sqlite(connection: Connection) -> bool:
    return connection.dialect.name == "sqlite"


def _is_text(column: sa.Column[Any]) -> bool:
    import sqlalchemy as sa

    return not isinstance(column.type, sa.Integer)


def _count_nulls(connection: Connection, column: sa.Column[Any]) -> int:
    import sqlalchemy as sa

    query = sa.select(sa.func.count()).select_from(column.table).where(column.is_(None))
    return int(connection.execute(query).scalar_one())


def _require_forward(source: SourceTable, watermark: str, last: Interval | None, upper: str | None) -> None:
    if last is None or last.upper is None:
        return
    if upper is None or _order(upper) < _order(last.upper):
        raise WatermarkWentBack(source.full_name, watermark, last.upper, upper or "nothing")


def _order(watermark: str) -> tuple[int, int, str]:
    # Integers by value, everything else as the uniform text a database gives of one column.
    return (0, int(watermark), "") if watermark.lstrip("-").isdigit() else (1, 0, watermark)
