"""Watermark intervals of incremental extracts: recorded before the data is read, contiguous, never overlapping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resources.control import begin, utc_now
from resources.control_tables import watermark_intervals as table

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


@dataclass(frozen=True)
class Interval:
    """The rows with lower < watermark <= upper. Watermarks are text, as the database gave them.

    Attributes:
        lower: None for a table's first interval: it starts from nothing, not from ''.
        upper: None where the table had no watermark yet: the interval holds no row.
    """

    source: str
    partition: str
    lower: str | None
    upper: str | None
    sequence: int


class Intervals:
    """The intervals of every incremental table, one a partition."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, source: str, partition: str) -> Interval | None:
        """The interval recorded for a partition, or None."""
        import sqlalchemy as sa

        query = sa.select(table).where(table.c.source == source, table.c.partition == partition)
        with self._engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else _to_interval(dict(row))

    def find_last(self, source: str) -> Interval | None:
        """The latest interval of a table, or None before the first."""
        with self._engine.connect() as connection:
            return _select_last(connection, source)

    def record(self, source: str, partition: str, upper: str | None, run_id: str) -> Interval:
        """Record the next interval, up to `upper`, for a partition; one that is recorded already is returned as it is.

        The lower end is the last interval's upper end, read in the same transaction: two runs cannot both take it.
        """
        with begin(self._engine) as connection:
            import sqlalchemy as sa

            query = sa.select(table).where(table.c.source == source, table.c.partition == partition)
            existing = connection.execute(query).mappings().first()
            if existing is not None:
                return _to_interval(dict(existing))
            last = _select_last(connection, source)
            interval = Interval(
                source=source,
                partition=partition,
                lower=None if last is None else last.upper,
                upper=upper if upper is not None or last is None else last.upper,
                sequence=0 if last is None else last.sequence + 1,
            )
            connection.execute(
                table.insert().values(
                    source=source,
                    partition=partition,
                    lower=interval.lower,
                    upper=interval.upper,
                    sequence=interval.sequence,
                    recorded_at=utc_now(),
                    run_id=run_id,
                )
            )
            return interval


def _select_last(connection: Connection, source: str) -> Interval | None:
    import sqlalchemy as sa

    query = sa.select(table).where(table.c.source == source).order_by(table.c.sequence.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return None if row is None else _to_interval(dict(row))


def _to_interval(row: dict[str, object]) -> Interval:
    lower, upper = row["lower"], row["upper"]
    return Interval(
        source=str(row["source"]),
        partition=str(row["partition"]),
        lower=None if lower is None else str(lower),
        upper=None if upper is None else str(upper),
        sequence=int(str(row["sequence"])),
    )
