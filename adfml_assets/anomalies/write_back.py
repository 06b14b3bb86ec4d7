"""Writing what was found back to SQL: a partition's rows take the place of what an earlier one said of its window."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from adfml_assets.anomalies.errors import DetectionError
from adfml_assets.anomalies.results import FILE, TIMESTAMP, build_interpretation
from adfml_assets.write_back.run import Rows, write_partition
from adfml_assets.write_back.target import Target
from adfml_assets.write_back.written import Written
from resources.database import Databases
from resources.lake import Lake
from resources.manifest import Manifest

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy import Connection

SNAPSHOT_DATE = "SnapshotDate"
WhichRows = Literal["all", "anomalies"]
RESERVED = (
    "Detector",
    "IsAnomaly",
    "Severity",
    "Score",
    "Threshold",
    "Contributors",
    "ModelVersion",
    "DetectedAt",
    SNAPSHOT_DATE,
)
"""The columns besides the timestamp and `by`, which have their own names."""

_BATCH_ROWS = 20_000


class OtherKey(DetectionError):
    """The table's key is not that of anomalies."""

    code = "OtherKey"

    def __init__(self, table: str, expected: tuple[str, ...], found: tuple[str, ...]) -> None:
        self.table = table
        self.expected = expected
        self.found = found
        super().__init__(
            f"{table} has the primary key ({', '.join(found)}), expected ({', '.join(expected)}): written twice, rows "
            "would be there twice or fail. Name another table; one that does not exist is made."
        )


def write_back_anomalies(
    lake: Lake,
    databases: Databases,
    database: str,
    schema: str | None,
    table: str,
    folder: str,
    manifest: Manifest,
    which: WhichRows,
) -> Written:
    """Put a partition's rows in place of those of its window; writing it twice changes nothing.

    The table is made where it does not exist: Detector, the `by` and timestamp columns under their own names,
    IsAnomaly, Severity, Score, Threshold, Contributors (JSON, as the service's `interpretation`), ModelVersion,
    DetectedAt (UTC) and SnapshotDate. Where partitions overlap, a row of a newer one stays. One transaction: all of
    it, or nothing.

    Args:
        folder, manifest: of the partition.
        which: all rows, or only anomalies.

    Returns:
        The rows of the partition that are to be written, and what became of them.

    Raises:
        TargetInvalid: the table lacks a column, or has one of another kind.
        OtherKey: its primary key is another one.
    """
    import sqlalchemy as sa

    moment, by = str(manifest.facts["timestamp"]), manifest.facts["by"]
    types: dict[str, sa.types.TypeEngine[Any]] = {"Detector": sa.Unicode(100), "ModelVersion": sa.Unicode(60)}
    target = Target(database, schema, table, _list_keys(moment, by), newer=SNAPSHOT_DATE, types=types)
    rows = _build_schema(moment, by, manifest)
    constants = {
        "Detector": str(manifest.facts["detector"]),
        "DetectedAt": manifest.written_at,
        SNAPSHOT_DATE: date.fromisoformat(manifest.partition),
    }
    batches = _to_batches(lake, f"{folder}/{FILE}", manifest, which, rows)
    given = Rows(rows, batches, {name: name for name in rows.names}, constants)
    return write_partition(databases, target, given, clear=partial(_clear_window, manifest=manifest))


def _clear_window(connection: Connection, target: sa.Table, staging: sa.Table, manifest: Manifest) -> None:
    """Take away what the window had and has no more: a row that is an anomaly no longer, or whose reading is gone."""
    import sqlalchemy as sa

    facts = manifest.facts
    moment, by = str(facts["timestamp"]), facts["by"]
    found = tuple(column.name for column in target.primary_key)
    if set(found) != set(_list_keys(moment, by)):
        raise OtherKey(target.fullname, _list_keys(moment, by), found)
    begin, end = (_at_midnight(str(facts[name])) for name in ("checked_from", "checked_before"))
    own = (target.c.Detector == str(facts["detector"]), target.c[moment] >= begin, target.c[moment] < end)
    day = date.fromisoformat(manifest.partition)
    there = sa.exists().where(*(target.c[name] == staging.c[name] for name in (by, moment) if name)).correlate(target)
    connection.execute(target.delete().where(*own, target.c[SNAPSHOT_DATE] <= day, ~there))


def _list_keys(moment: str, by: str | None) -> tuple[str, ...]:
    return tuple(name for name in ("Detector", by, moment) if name)


def _build_schema(moment: str, by: str | None, manifest: Manifest) -> pa.Schema:
    import pyarrow as pa

    given = {column.name: column.type for column in manifest.columns}
    fields = [(by, pa.int64() if "int" in given[by] else pa.string())] if by else []
    fields += [(moment, pa.timestamp("us", "UTC")), ("IsAnomaly", pa.bool_())]
    fields += [(name, pa.float64()) for name in ("Severity", "Score", "Threshold")]
    return pa.schema([*fields, ("Contributors", pa.string()), ("ModelVersion", pa.string())])


def _to_batches(
    lake: Lake, path: str, manifest: Manifest, which: WhichRows, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.compute as pc

    moment, by = str(manifest.facts["timestamp"]), manifest.facts["by"]
    sources = {name: source for name, source in list_columns(moment, by).items() if name != "Contributors"}
    for batch in lake.iter_batches(path, batch_rows=_BATCH_ROWS):
        chosen = batch.filter(pc.field("is_anomaly")) if which == "anomalies" else batch
        columns = {name: chosen.column(source) for name, source in sources.items()}
        columns["Contributors"] = pa.array(map(_to_json, chosen.column("contributors").to_pylist()), pa.string())
        arrays = [columns[field.name].cast(field.type) for field in schema]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def list_columns(moment: str, by: str | None) -> dict[str, str]:
    """Column of the table -> column of the result.

    Args:
        moment, by: the columns of the readings, which have their own names.
    """
    columns = {moment: TIMESTAMP, **({by: by} if by else {}), "IsAnomaly": "is_anomaly", "Severity": "severity"}
    columns |= {"Score": "score", "Threshold": "threshold", "Contributors": "contributors"}
    return {**columns, "ModelVersion": "model_version"}


def _to_json(contributors: list[dict[str, Any]]) -> str | None:
    return json.dumps(build_interpretation(contributors), ensure_ascii=False) if contributors else None


def _at_midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), datetime.min.time())
