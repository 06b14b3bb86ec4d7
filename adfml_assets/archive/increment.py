"""Incremental extracts (PL_IncrementalArchive): the rows of (last, current] by watermark, each row exactly once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from adfml_assets import lake_layout
from adfml_assets.archive.copying import Archived, Target, archive_rows, build_query
from adfml_assets.archive.run import ArchiveRun
from adfml_assets.archive.tables import SourceTable, TableRules
from adfml_assets.errors import MissedIncrement, WatermarkMissing, WatermarkWentBack, WrongWatermark
from resources.errors import NotFound
from resources.intervals import Interval
from resources.servers.base import Snapshot, TableQuery, Watermark, compare_watermarks

if TYPE_CHECKING:
    from resources.servers.base import TableSchema


def take_increment(run: ArchiveRun, source: SourceTable, rules: TableRules, day: str, *, asset: str) -> Archived:
    """Copy the rows of a day's interval. The interval is recorded before the data is read.

    A day whose interval is recorded reads that interval again. Otherwise the day has to be today: the interval goes
    from where the last one ended to the largest watermark there is now. Days that were missed are in it.

    Raises:
        MissedIncrement: the day is not today (UTC) and has no interval.
        WatermarkWentBack: the source's largest watermark is smaller than what is archived.
        WatermarkMissing: the rules name none.
        WrongWatermark: the column cannot be one of that kind.
        NotFound: the table or the watermark column does not exist.
    """
    if rules.watermark is None:
        raise WatermarkMissing(source.full_name)
    recorded = run.intervals.find(source.full_name, day)
    if recorded is None and day != run.today:
        raise MissedIncrement(source.full_name, day, run.today)
    folder = lake_layout.incremental_folder(source.database, source.schema, source.table, day)
    claim = run.claims.take(asset, day, run.now, run.run_id)
    target = Target(folder, lake_layout.increment_file, claim)
    extract = _Extract(run, source, rules, rules.watermark, target, day)
    # The run's snapshot may be older than an interval another run recorded, and would miss the rows since.
    return run.read(extract.begin) if recorded is None else run.read_anew(lambda s: extract.copy(s, recorded))


class _Extract:
    """One extract, over as many connections as it takes."""

    def __init__(
        self, run: ArchiveRun, source: SourceTable, rules: TableRules, watermark: Watermark, target: Target, day: str
    ) -> None:
        self._run = run
        self._source = source
        self._rules = rules
        self._watermark = watermark
        self._target = target
        self._day = day

    def begin(self, snapshot: Snapshot, *, anew: bool = False) -> Archived:
        """Record the day's interval up to the snapshot's largest watermark, and copy its rows.

        Args:
            snapshot: to read.
            anew: whether it was opened for this table; the run's own may be older than what other runs recorded.
        """
        query = self._build_query(snapshot)
        upper = snapshot.find_largest(query.table, self._watermark, self._rules.where)
        last = self._run.intervals.find_last(self._source.full_name)
        try:
            upper = self._require_forward(snapshot, query.table, last, upper)
        except WatermarkWentBack:
            if anew:
                raise
            # Only a snapshot that was opened after the last interval was recorded can tell.
            return self._run.read_anew(lambda s: self.begin(s, anew=True))
        interval = self._run.intervals.record(
            self._source.full_name, self._day, upper, self._run.run_id, self._watermark.kind
        )
        if interval.run_id != self._run.run_id:
            return self._run.read_anew(lambda s: self.copy(s, interval))
        return self.copy(snapshot, interval)

    def copy(self, snapshot: Snapshot, interval: Interval) -> Archived:
        """Copy the rows of an interval."""
        query = replace(self._build_query(snapshot), lower=interval.lower, upper=interval.upper)
        facts = {
            "watermark": self._watermark.column,
            "watermark_kind": self._watermark.kind,
            "lower": interval.lower,
            "upper": interval.upper,
            "sequence": interval.sequence,
            "rows_without_watermark": snapshot.count_null(query.table, self._watermark.column, self._rules.where),
        }
        return archive_rows(self._run, snapshot, query, self._source, self._rules, self._target, facts)

    def _build_query(self, snapshot: Snapshot) -> TableQuery:
        query = build_query(snapshot, self._source, self._rules)
        require_watermark(self._source, query.table, self._watermark)
        return replace(query, watermark=self._watermark)

    def _require_forward(
        self, snapshot: Snapshot, table: TableSchema, last: Interval | None, upper: str | None
    ) -> str | None:
        """The upper end of the next interval: never before the last one's.

        With a lag the largest watermark old enough may be before the last interval's end, when the lag was made longer:
        the interval is empty then. Without one the table itself went back.
        """
        if last is None or last.upper is None:
            return upper
        if upper is not None and compare_watermarks(self._watermark.kind, upper, last.upper) >= 0:
            return upper
        if self._watermark.lag_seconds:
            largest = snapshot.find_largest(table, replace(self._watermark, lag_seconds=0), self._rules.where)
            if largest is not None and compare_watermarks(self._watermark.kind, largest, last.upper) >= 0:
                return last.upper
        raise WatermarkWentBack(self._source.full_name, self._watermark.column, last.upper, upper or "nothing")


def require_watermark(source: SourceTable, table: TableSchema, watermark: Watermark) -> None:
    """Make sure a table has the watermark column, and of a type that can be one of its kind.

    Raises:
        NotFound: there is no such column; with those there are.
        WrongWatermark: it is of another type.
    """
    import pyarrow as pa

    column = table.column(watermark.column)
    if column is None:
        raise NotFound("column", watermark.column, source.full_name, [c.name for c in table.columns])
    arrow = column.arrow_type
    integer = pa.types.is_integer(arrow) or (pa.types.is_decimal(arrow) and arrow.scale == 0)
    fits = {"integer": integer, "rowversion": pa.types.is_fixed_size_binary(arrow) or pa.types.is_binary(arrow)}
    # What is archived as text (datetime2(7), say) is still a datetime at the server, which compares it there.
    textual = pa.types.is_string(arrow) and "date" in column.source_type.lower()
    if not fits.get(watermark.kind, pa.types.is_temporal(arrow) or textual):
        raise WrongWatermark(source.full_name, watermark.column, watermark.kind, column.source_type)
