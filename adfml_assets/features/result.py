"""What an engine gives back: brought to the result's schema, counted, and looked through for rows that cannot be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from adfml_assets.features.definition import FeatureSetSpec
from adfml_assets.features.errors import EngineFailed, KeyMissing, WrongDate
from adfml_assets.features.result_schema import list_category_columns

if TYPE_CHECKING:
    import pyarrow as pa

MOST_CATEGORIES = 20
"""How many categories of a column the manifest names."""


def conform(spec: FeatureSetSpec, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch with the schema's columns, in its order and of its types.

    Raises:
        EngineFailed: a value does not fit its type.
    """
    import pyarrow as pa

    try:
        # Decimals that an engine gives more digits than the type has are rounded by SQL already; nothing is cut here.
        return batch.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise EngineFailed(spec.name, f"the result of {spec.engine}", reason, "the definition's types") from error


class Summary:
    """What is known of a result once all its batches went by.

    Attributes:
        rows: how many.
        missing: feature -> rows without a value (NULL, or not a number).
        categories: category column -> category -> count of all rows.
    """

    def __init__(self, spec: FeatureSetSpec, schema: pa.Schema, latest: datetime, dates: Sequence[date] | None) -> None:
        """Begin with nothing.

        Args:
            latest: no event may be of this moment or later; with time zone UTC.
            dates: the feature dates that were asked for; None: rows are events.
        """
        self.rows = 0
        self.missing = dict.fromkeys(schema.names[2:], 0)
        self.categories: dict[str, Counter[str]] = {name: Counter() for name in list_category_columns(schema)}
        self._spec = spec
        self._latest = latest
        self._dates = dates

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch of the schema.

        Raises:
            KeyMissing: a row has no key or no time.
            WrongDate: a row's time is later than it may be.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        for column in (self._spec.key, self._spec.time):
            if batch.column(column).null_count:
                raise KeyMissing(self._spec.name, column, batch.column(column).null_count)
        self._check_times(batch)
        self.rows += batch.num_rows
        for name in self.missing:
            column = batch.column(name)
            self.missing[name] += column.null_count
            if pa.types.is_floating(column.type):
                self.missing[name] += pc.sum(pc.is_nan(column)).as_py() or 0
        for name, counts in self.categories.items():
            _count_categories(batch.column(name), counts)

    def _check_times(self, batch: pa.RecordBatch) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        times = batch.column(self._spec.time)
        if self._dates is not None:
            wrong = times.filter(pc.invert(pc.is_in(times, pa.array(self._dates, times.type))))
            expected = f"one of {', '.join(map(str, self._dates))}"
        else:
            zone = getattr(times.type, "tz", None)
            limit = self._latest if zone else self._latest.astimezone(UTC).replace(tzinfo=None)
            wrong = times.filter(pc.greater_equal(times, pa.scalar(limit, times.type)))
            expected = f"before {limit}"
        if len(wrong):
            raise WrongDate(self._spec.name, self._spec.time, str(pc.max(wrong).as_py()), expected)

    @property
    def facts(self) -> dict[str, Any]:
        """For the manifest: rows without a value, and of each category column how many there are and the largest."""
        categories = {
            name: {"distinct": len(counts), "largest": dict(counts.most_common(MOST_CATEGORIES))}
            for name, counts in self.categories.items()
        }
        return {"missing": self.missing, "categories": categories}


def _count_categories(column: Any, counts: Counter[str]) -> None:
    import pyarrow as pa

    pairs = column.flatten()
    if not len(pairs):
        return
    names, values = pairs.field("name"), pairs.field("count")
    sums = pa.table({"name": names, "count": values}).group_by("name").aggregate([("count", "sum")])
    for name, count in zip(sums["name"].to_pylist(), sums["count_sum"].to_pylist(), strict=True):
        counts["" if name is None else name] += count or 0


def list_features(schema: pa.Schema) -> list[str]:
    """The features of a result, in order: everything after key and time."""
    return list(schema.names[2:])
