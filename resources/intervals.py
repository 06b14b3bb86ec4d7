"""Watermark intervals of incremental extracts: recorded before the data is read, contiguous, never overlapping.

They are rows of the table ArchiveWatermark (the pattern's, with an interval a row), in the control database or, where
ADF pipelines go on beside this project, in the source (DDL in `resources/sql`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from resources.control import run_transaction, utc_now
from resources.control_tables import archive_watermark as table
from resources.errors import IntervalsDiffer
from resources.servers.base import compare_watermarks

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from resources.servers.base import WatermarkKind


@dataclass(frozen=True)
class Interval:
    """The rows with lower < watermark <= upper. Watermarks are text, as the database gave them.

    Attributes:
        source: the table, as `database.schema.table`.
        partition: the partition that holds the rows.
        lower: None for a table's first interval: it starts from nothing, not from ''.
        upper: None where the table had no watermark yet: the interval holds no row.
        sequence: 0 for the table's first, then one more each.
        run_id: the run that recorded it.
    """

    source: str
    partition: str
    lower: str | None
    upper: str | None
    sequence: int
    run_id: str


@dataclass(frozen=True)
class Gap:
    """Two intervals of a table that do not meet: rows between them are in no partition, or in two."""

    before: Interval
    after: Interval

    def describe(self) -> str:
        """The gap in one line."""
        return (
            f"{self.before.partition} ends at {self.before.upper} (number {self.before.sequence}), "
            f"{self.after.partition} begins at {self.after.lower} (number {self.after.sequence})"
        )


class Intervals:
    """The intervals of every incremental table, one a partition."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, source: str, partition: str) -> Interval | None:
        """The interval recorded for a partition, or None."""
        with self._engine.connect() as connection:
            return _select_one(connection, source, partition)

    def find_last(self, source: str) -> Interval | None:
        """The latest interval of a table, or None before the first."""
        with self._engine.connect() as connection:
            return _select_last(connection, source)

    def list_all(self, source: str) -> Sequence[Interval]:
        """All intervals of a table, in order."""
        import sqlalchemy as sa

        query = sa.select(table).where(table.c.TableName == source).order_by(table.c.SequenceNumber)
        with self._engine.connect() as connection:
            return [_to_interval(row) for row in connection.execute(query).mappings()]

    def find_gaps(self, source: str) -> Sequence[Gap]:
        """Neighbouring intervals that do not meet; empty where the intervals are contiguous."""
        return list(_pair_gaps(self.list_all(source)))

    def record(
        self, source: str, partition: str, upper: str | None, run_id: str, kind: WatermarkKind = "datetime"
    ) -> Interval:
        """Record the next interval, up to `upper`, for a partition; one that is recorded already is returned as it is.

        The lower end is the last interval's upper end, read in the same transaction: two runs cannot both take it.
        Where another run has recorded an interval that ends after `upper` meanwhile, this one is empty.
        """

        def record(connection: Connection) -> Interval:
            existing = _select_one(connection, source, partition)
            if existing is not None:
                return existing
            last = _select_last(connection, source)
            lower = None if last is None else last.upper
            behind = lower is not None and (upper is None or compare_watermarks(kind, upper, lower) < 0)
            interval = Interval(
                source=source,
                partition=partition,
                lower=lower,
                upper=lower if behind else upper,
                sequence=0 if last is None else last.sequence + 1,
                run_id=run_id,
            )
            _insert(connection, interval, kind, utc_now())
            return interval

        return run_transaction(self._engine, record)

    def restore(self, interval: Interval, recorded_at: datetime, kind: WatermarkKind = "datetime") -> bool:
        """Put an interval back as it was recorded, where the table of intervals was lost. False: it is there.

        Raises:
            IntervalsDiffer: another interval is recorded for its partition, or under its number.
        """
        import sqlalchemy as sa

        def restore(connection: Connection) -> bool:
            same = (table.c.PartitionKey == interval.partition) | (table.c.SequenceNumber == interval.sequence)
            query = sa.select(table).where(table.c.TableName == interval.source, same)
            known = [_to_interval(row) for row in connection.execute(query).mappings()]
            for found in known:
                if replace(found, run_id=interval.run_id) != interval:
                    raise IntervalsDiffer(interval.source, _describe(interval), _describe(found))
            if not known:
                _insert(connection, interval, kind, recorded_at)
            return not known

        return run_transaction(self._engine, restore)


def _describe(interval: Interval) -> str:
    return f"{interval.partition}: number {interval.sequence}, after {interval.lower} up to {interval.upper}"


def _insert(connection: Connection, interval: Interval, kind: WatermarkKind, recorded_at: datetime) -> None:
    connection.execute(
        table.insert().values(
            TableName=interval.source,
            PartitionKey=interval.partition,
            SequenceNumber=interval.sequence,
            LowerWatermark=interval.lower,
            UpperWatermark=interval.upper,
            WatermarkKind=kind,
            ArchiveTimestamp=_build_timestamp(connection, interval.upper, kind),
            RecordedAt=recorded_at,
            RunId=interval.run_id,
        )
    )


def _select_one(connection: Connection, source: str, partition: str) -> Interval | None:
    import sqlalchemy as sa

    query = sa.select(table).where(table.c.TableName == source, table.c.PartitionKey == partition)
    row = connection.execute(query).mappings().first()
    return None if row is None else _to_interval(row)


def _select_last(connection: Connection, source: str) -> Interval | None:
    import sqlalchemy as sa

    query = sa.select(table).where(table.c.TableName == source).order_by(table.c.SequenceNumber.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return None if row is None else _to_interval(row)


def _to_interval(row: Any) -> Interval:
    return Interval(
        source=row["TableName"],
        partition=row["PartitionKey"],
        lower=row["LowerWatermark"],
        upper=row["UpperWatermark"],
        sequence=row["SequenceNumber"],
        run_id=row["RunId"],
    )


def _pair_gaps(intervals: Sequence[Interval]) -> Iterator[Gap]:
    for before, after in pairwise(intervals):
        if after.lower != before.upper or after.sequence != before.sequence + 1:
            yield Gap(before, after)


def _build_timestamp(connection: Connection, watermark: str | None, kind: str) -> Any:
    """The value of ArchiveTimestamp: on SQL Server the server reads the text itself, with all seven digits."""
    import sqlalchemy as sa

    moment = _parse_timestamp(watermark, kind)
    if moment is None or connection.dialect.name != "mssql":
        return moment
    return sa.cast(sa.literal(watermark, sa.String(64)), table.c.ArchiveTimestamp.type)


def _parse_timestamp(watermark: str | None, kind: str) -> datetime | None:
    """A datetime watermark as a UTC datetime without zone; None for other kinds and for other text."""
    if watermark is None or kind != "datetime":
        return None
    try:
        moment = datetime.fromisoformat(watermark)
    except ValueError:
        # Informational only: the exact value is the text in UpperWatermark, whatever its form.
        return None
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
