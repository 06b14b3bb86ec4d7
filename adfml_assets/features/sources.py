"""The archived partitions that a day's features are made of: where they lie, and what columns and times they have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from adfml_assets import lake_layout
from adfml_assets.archived_partitions import parse_reference, require_partition
from adfml_assets.asset_keys import archive_key, current_key
from adfml_assets.features.definition import FeatureSetSpec, TableRef
from adfml_assets.features.errors import WrongType
from adfml_assets.features.expressions import require_columns
from resources.errors import NotFound
from resources.lake import Lake
from resources.manifest import Manifest, list_data_paths

if TYPE_CHECKING:
    import dagster as dg
    import pyarrow as pa

Partitions = Mapping[str, tuple[str, Manifest]]
"""Name in the definition -> folder in the lake and manifest."""


@dataclass(frozen=True)
class Source:
    """A table of a definition, as it is in the lake.

    Attributes:
        name: in the definition.
        folder, manifest: of its partition.
        schema: of its files.
        timestamp: the column that says when a row happened, UTC; None: rows have no time.
    """

    name: str
    folder: str
    manifest: Manifest
    schema: pa.Schema
    timestamp: str | None

    @property
    def paths(self) -> list[str]:
        """Its files in the lake: only those that the manifest names."""
        return list_data_paths(self.folder, self.manifest)


def source_key(table: TableRef) -> dg.AssetKey:
    """The asset whose partitions a table's rows are read from."""
    names = parse_reference(table.reference)
    return current_key(*names) if table.state == "current" else archive_key(*names)


def find_partitions(lake: Lake, tables: Mapping[str, TableRef], day: str) -> dict[str, tuple[str, Manifest]]:
    """Folder and manifest of each table's partition of a day, and of no other day.

    Raises:
        PartitionMissing: a table has none of that day.
    """
    found = {}
    for name, table in tables.items():
        build = lake_layout.current_folder if table.state == "current" else lake_layout.archive_folder
        folder = build(*parse_reference(table.reference), day)
        found[name] = require_partition(lake, folder, source_key(table).to_user_string(), day)
    return found


def open_sources(lake: Lake, spec: FeatureSetSpec, partitions: Partitions) -> dict[str, Source]:
    """A definition's tables with the schemas of their files. Only footers are read.

    Raises:
        NotFound: a table has no partition here, or lacks a column that the declaration names.
        WrongType: a timestamp is no date or timestamp; the column of `partition_by` differs between tables.
    """
    sources = {}
    for name, table in spec.tables.items():
        if name not in partitions:
            raise NotFound("table", name, f"the tables of feature set {spec.name}", partitions)
        folder, manifest = partitions[name]
        source = Source(name, folder, manifest, _read_schema(lake, folder, manifest), table.timestamp)
        _check_timestamp(spec, source)
        sources[name] = source
    _check_named(spec, sources)
    return sources


def _read_schema(lake: Lake, folder: str, manifest: Manifest) -> pa.Schema:
    import pyarrow.parquet as pq

    with lake.open_file(list_data_paths(folder, manifest)[0]) as file:
        return pq.read_schema(file).remove_metadata()


def _check_timestamp(spec: FeatureSetSpec, source: Source) -> None:
    import pyarrow as pa

    if source.timestamp is None:
        return
    require_columns(f"archived table {source.name}", source.schema.names, [source.timestamp])
    found = source.schema.field(source.timestamp).type
    if not (pa.types.is_timestamp(found) or pa.types.is_date(found)):
        column = f"{source.name}.{source.timestamp}"
        raise WrongType(spec.name, column, "a timestamp", str(found), "a date or a timestamp")


def _check_named(spec: FeatureSetSpec, sources: Mapping[str, Source]) -> None:
    """The key comes from the tables, and so does the column by which they are split."""
    for column in filter(None, (spec.key, spec.partition_by)):
        having = [source for source in sources.values() if column in source.schema.names]
        if not having:
            existing = [name for source in sources.values() for name in source.schema.names]
            raise NotFound("column", column, f"archived table {' or '.join(sources)}", set(existing))
    if spec.partition_by:
        types = {
            source.name: source.schema.field(spec.partition_by).type
            for source in sources.values()
            if spec.partition_by in source.schema.names
        }
        if len({_as_hashed(found) for found in types.values()}) > 1:
            found = ", ".join(f"{found} in {name}" for name, found in types.items())
            raise WrongType(spec.name, spec.partition_by, "partition_by", found, "one type in all tables that have it")


def _as_hashed(found: pa.DataType) -> str:
    import pyarrow as pa

    return "integer" if pa.types.is_integer(found) else str(found).removeprefix("large_")


def find_period(lake: Lake, sources: Mapping[str, Source], before: datetime) -> tuple[datetime | None, datetime | None]:
    """When the first and the last thing happened before a moment, over all tables with a timestamp; None: nothing did.

    Only the timestamps are read, and of files with statistics only those parts that go beyond the moment.

    Args:
        before: with time zone UTC.

    Returns:
        Moments without time zone, UTC.
    """
    limits = [
        limit
        for source in sources.values()
        if source.timestamp
        for path in source.paths
        for limit in _find_limits(lake, path, source.timestamp, before.astimezone(UTC).replace(tzinfo=None))
    ]
    return min(limits, default=None), max(limits, default=None)


def _find_limits(lake: Lake, path: str, column: str, before: datetime) -> Iterator[datetime]:
    import pyarrow.parquet as pq

    with lake.open_file(path) as file:
        parquet = pq.ParquetFile(file, pre_buffer=False)
        index = parquet.schema_arrow.names.index(column)
        for group in range(parquet.num_row_groups):
            limits = _read_statistics(parquet, group, index)
            if limits is None or limits[1] >= before:
                yield from _read_limits(parquet, group, column, before)
            else:
                yield from limits


def _read_statistics(parquet: Any, group: int, index: int) -> tuple[datetime, datetime] | None:
    # The index is of leaf columns: with nested columns before it, it would be another's.
    described = parquet.metadata.row_group(group)
    if described.num_columns != len(parquet.schema_arrow.names):
        return None
    statistics = described.column(index).statistics
    if statistics is None or not statistics.has_min_max:
        return None
    least, most = _to_moment(statistics.min), _to_moment(statistics.max)
    return (least, most) if least is not None and most is not None else None


def _read_limits(parquet: Any, group: int, column: str, before: datetime) -> Iterator[datetime]:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = parquet.read_row_group(group, columns=[column]).column(0).drop_null()
    kind = values.type
    if pa.types.is_timestamp(kind):
        values = values.cast(pa.timestamp("us"), safe=False)
    else:
        values = values.cast(pa.timestamp("ms")).cast(pa.timestamp("us"))
    known = values.filter(pc.less(values, pa.scalar(before, pa.timestamp("us"))))
    if len(known):
        limits = pc.min_max(known).as_py()
        yield limits["min"]
        yield limits["max"]


def _to_moment(value: object) -> datetime | None:
    """A moment without time zone, UTC."""
    if isinstance(value, datetime):
        # pandas' own subclass where the file has nanoseconds.
        plain = datetime.combine(value.date(), value.time(), value.tzinfo)
        return plain.astimezone(UTC).replace(tzinfo=None) if plain.tzinfo else plain
    return datetime.combine(value, time()) if isinstance(value, date) else None


def choose_feature_dates(
    spec: FeatureSetSpec, day: date, first: datetime | None, last: datetime | None
) -> Sequence[date]:
    """The dates features are built for, oldest first; the last one is what is scored.

    Dates before the first event have no features and are left out; without any event there are none.

    Args:
        day: the partition's.
        first, last: when the first and the last thing up to that day happened, UTC.
    """
    if not spec.timestamped:
        return [day]
    if first is None or last is None:
        return []
    newest = min(day, last.date()) if spec.as_of == "last_transaction" else day
    dates = (newest - timedelta(days=step * spec.step_days) for step in range(spec.count + 1))
    return sorted(d for d in dates if d >= first.date())
