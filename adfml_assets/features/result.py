"""What an engine gives back: brought to the result's schema, counted, and looked through for rows that cannot be."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adfml_assets.features.definition import FeatureSetSpec
from adfml_assets.features.duckdb_engine import open_duckdb
from adfml_assets.features.errors import DuplicateFeatures, EngineFailed, KeyMissing, WrongDate
from adfml_assets.features.quoting import quote
from adfml_assets.features.result_schema import list_category_columns

if TYPE_CHECKING:
    import pyarrow as pa
    from duckdb import DuckDBPyConnection

_KEYS_MEMORY = "150MB"
_MOST_BITS = 400_000_000
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

    def __init__(self, spec: FeatureSetSpec, schema: pa.Schema, latest: datetime) -> None:
        """Begin with nothing.

        Args:
            latest: nothing may be of this moment or later; with time zone UTC.
        """
        self.rows = 0
        self.missing = dict.fromkeys(schema.names[2:], 0)
        self.categories: dict[str, Counter[str]] = {name: Counter() for name in list_category_columns(schema)}
        self._spec = spec
        self._latest = latest

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
        if not batch.num_rows:
            return
        newest: Any = pc.max(times)
        zone = getattr(times.type, "tz", None)
        limit = pa.scalar(self._latest if zone else self._latest.astimezone(UTC).replace(tzinfo=None))
        if pa.types.is_date(times.type):
            newest, limit = newest.cast(pa.timestamp("us")), limit.cast(pa.timestamp("us"))
        if newest.as_py() >= limit.as_py():
            raise WrongDate(self._spec.name, self._spec.time, str(pc.max(times).as_py()), str(limit.as_py()))

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


class KeyRegister:
    """Finds rows that repeat another row's key, in bounded memory: what does not fit goes to the disk."""

    def __init__(self, spec: FeatureSetSpec, connection: DuckDBPyConnection, schema: pa.Schema) -> None:
        self._spec = spec
        self._connection = connection
        self._columns = ", ".join(map(quote, spec.identity))
        self._are_integers = len(spec.identity) == 1 and str(schema.field(spec.key).type) in ("int16", "int32", "int64")
        self._duplicates = 0
        empty = self._select(schema.empty_table())
        connection.register("adfml_batch", empty)
        connection.execute("CREATE TABLE adfml_keys AS SELECT * FROM adfml_batch")

    def add(self, batch: pa.RecordBatch) -> None:
        """Take note of a batch's keys."""
        self._connection.register("adfml_batch", self._select(batch))
        self._connection.execute("INSERT INTO adfml_keys SELECT * FROM adfml_batch")

    def end_part(self) -> None:
        """No row that follows has a key of those before: they need not be kept."""
        if self._spec.partition_by == self._spec.key:
            self._count()
            self._connection.execute("TRUNCATE adfml_keys")

    def check(self) -> None:
        """Say whether there were any, when all rows went by.

        Raises:
            DuplicateFeatures: with how many rows there are too many.
        """
        self._count()
        if self._duplicates:
            raise DuplicateFeatures(self._spec.name, self._spec.identity, self._duplicates)

    def _select(self, rows: Any) -> Any:
        return rows.select(list(self._spec.identity))

    def _count(self) -> None:
        if self._are_integers and self._are_close():
            repeated = f"SELECT count(*) - bit_count(bitstring_agg({self._columns}, $least, $most)) FROM adfml_keys"  # noqa: S608
            found = self._read(repeated, {"least": self._least, "most": self._most})
        else:
            groups = f"SELECT count(*) AS n FROM adfml_keys GROUP BY {self._columns} HAVING n > 1"  # noqa: S608
            found = self._read(f"SELECT coalesce(sum(n - 1), 0) FROM ({groups})")  # noqa: S608
        self._duplicates += int(found[0])

    def _are_close(self) -> bool:
        """Whether a bit for every number between the least and the largest is little: then bits are counted."""
        found = self._read(f"SELECT min({self._columns}), max({self._columns}) FROM adfml_keys")  # noqa: S608
        self._least, self._most = found
        return found[0] is not None and found[1] - found[0] < _MOST_BITS

    def _read(self, sql: str, values: dict[str, Any] | None = None) -> Any:
        return self._connection.execute(sql, values).fetchone()


@contextmanager
def open_register(spec: FeatureSetSpec, schema: pa.Schema) -> Iterator[KeyRegister]:
    """A register of a result's keys."""
    with tempfile.TemporaryDirectory(prefix="adfml-") as folder, open_duckdb(Path(folder)) as connection:
        connection.execute(f"SET memory_limit = '{_KEYS_MEMORY}'")
        yield KeyRegister(spec, connection, schema)


def list_features(schema: pa.Schema) -> list[str]:
    """The features of a result, in order: everything after key and time."""
    return list(schema.names[2:])
