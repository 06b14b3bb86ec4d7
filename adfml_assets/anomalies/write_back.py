"""Writing what was found back to SQL: a partition's rows take the place of what an earlier one said of its window."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Literal

from adfml_assets.anomalies.errors import DetectionError
from adfml_assets.anomalies.results import FILE, TIMESTAMP, build_interpretation
from adfml_assets.scoring.write_back import BATCH_ROWS, WrittenBack, make_staging
from resources.database import Databases
from resources.errors import NotFound
from resources.lake import Lake
from resources.manifest import Manifest

if TYPE_CHECKING:
    import sqlalchemy as sa
    from sqlalchemy import Connection

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
    "SnapshotDate",
)
"""The columns besides the timestamp and `by`, which have their own names."""


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
) -> WrittenBack:
    """Put a partition's rows in place of those of its window; writing it twice changes nothing.

    The table is made where it does not exist: Detector, the `by` and timestamp columns under their own names,
    IsAnomaly, Severity, Score, Threshold, Contributors (JSON, as the service's `interpretation`), ModelVersion,
    DetectedAt (UTC) and SnapshotDate. Where partitions overlap, a row of a newer one stays. One transaction: all of
    it, or nothing.

    Args:
        folder, manifest: of the partition.
        which: all rows, or only anomalies.

    Returns:
        The rows of the partition that are to be written, and those that were left as a newer partition has them.

    Raises:
        NotFound: the table lacks a column.
        OtherKey: its primary key is another one.
    """
    import sqlalchemy as sa

    facts = manifest.facts
    detector, moment, by = str(facts["detector"]), str(facts["timestamp"]), facts["by"]
    day = date.fromisoformat(manifest.partition)
    begin, end = (_at_midnight(str(facts[name])) for name in ("checked_from", "checked_before"))
    with databases.connect(database) as connection, connection.begin():
        target = _open_target(connection, schema, table, moment, by, manifest)
        own = sa.and_(target.c.Detector == detector, target.c[moment] >= begin, target.c[moment] < end)
        connection.execute(target.delete().where(own, target.c.SnapshotDate <= day))
        keys = [name for name in ("Detector", by, moment) if name]
        names = list(_columns(moment, by, manifest))
        staging = make_staging(connection, target, names)
        rows = 0
        for records in _to_records(lake, f"{folder}/{FILE}", manifest, which):
            connection.execute(staging.insert(), records)
            rows += len(records)
        match = sa.and_(*(target.c[key] == staging.c[key] for key in keys))
        kept = connection.execute(staging.delete().where(sa.exists().where(match))).rowcount
        connection.execute(target.insert().from_select(names, sa.select(staging)))
        staging.drop(connection)
    return WrittenBack(rows, kept)


def _open_target(
    connection: Connection, schema: str | None, table: str, moment: str, by: str | None, manifest: Manifest
) -> sa.Table:
    import sqlalchemy as sa

    columns = _columns(moment, by, manifest)
    keys = tuple(name for name in ("Detector", by, moment) if name)
    if not sa.inspect(connection).has_table(table, schema=schema):
        made = [
            sa.Column(name, kind, primary_key=name in keys, autoincrement=False, nullable=name == "Contributors")
            for name, kind in columns.items()
        ]
        sa.Table(table, sa.MetaData(), *made, schema=schema).create(connection)
    target = sa.Table(table, sa.MetaData(), schema=schema, autoload_with=connection, resolve_fks=False)
    for name in columns:
        if name not in target.columns:
            raise NotFound("column", name, f"table {target.fullname}", target.columns.keys())
    found = tuple(column.name for column in target.primary_key)
    if set(found) != set(keys):
        raise OtherKey(target.fullname, keys, found)
    return target


def _columns(moment: str, by: str | None, manifest: Manifest) -> dict[str, sa.types.TypeEngine[Any]]:
    import sqlalchemy as sa
    from sqlalchemy.dialects.mssql import DATETIME2

    types = {column.name: column.type for column in manifest.columns}
    # SQL Server's plain DATETIME has 3 milliseconds: two readings would become one.
    exact = sa.DateTime().with_variant(DATETIME2(6), "mssql")  # type: ignore[no-untyped-call]
    group: sa.types.TypeEngine[Any] = sa.BigInteger() if by and "int" in types[by] else sa.Unicode(200)
    return {
        "Detector": sa.Unicode(100),
        **({by: group} if by else {}),
        moment: exact,
        "IsAnomaly": sa.Boolean(),
        "Severity": sa.Float(53),
        "Score": sa.Float(53),
        "Threshold": sa.Float(53),
        "Contributors": sa.UnicodeText(),
        "ModelVersion": sa.Unicode(60),
        "DetectedAt": exact,
        "SnapshotDate": sa.Date(),
    }


def _to_records(lake: Lake, path: str, manifest: Manifest, which: WhichRows) -> Iterator[list[dict[str, Any]]]:
    import pyarrow.compute as pc

    day = date.fromisoformat(manifest.partition)
    detected_at = manifest.written_at.astimezone(UTC).replace(tzinfo=None)
    moment, by = str(manifest.facts["timestamp"]), manifest.facts["by"]
    for batch in lake.iter_batches(path, batch_rows=BATCH_ROWS):
        chosen = batch.filter(pc.field("is_anomaly")) if which == "anomalies" else batch
        if chosen.num_rows:
            yield [
                {
                    "Detector": str(manifest.facts["detector"]),
                    **({by: row[by]} if by else {}),
                    moment: row[TIMESTAMP].replace(tzinfo=None),
                    "IsAnomaly": row["is_anomaly"],
                    "Severity": row["severity"],
                    "Score": row["score"],
                    "Threshold": row["threshold"],
                    "Contributors": _to_json(row["contributors"]),
                    "ModelVersion": row["model_version"],
                    "DetectedAt": detected_at,
                    "SnapshotDate": day,
                }
                for row in chosen.to_pylist()
            ]


def _to_json(contributors: list[dict[str, Any]]) -> str | None:
    return json.dumps(build_interpretation(contributors), ensure_ascii=False) if contributors else None


def _at_midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), datetime.min.time())
