"""A day's scores in the table they go to, and the rows they are of noted as scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from adfml_assets.metadata import describe_speed, describe_written
from adfml_assets.scoring.scored_dates import describe_rows, mark_scored
from adfml_assets.scoring.scores import FILE
from adfml_assets.scoring.source_rows import SourceSpec
from adfml_assets.scoring.write_back import COLUMNS, TEXTS, describe_target, write_scores
from adfml_assets.write_back.progress import Partition
from adfml_assets.write_back.written import Written
from resources.database import Databases
from resources.lake import Lake
from resources.manifest import Manifest


@dataclass(frozen=True)
class Target:
    """Where scores go.

    Attributes:
        database, schema, table: the table; made where it does not exist.
        keys: the columns that identify a row.
        batch_rows: rows of a transaction at most; None: all in one.
        overwrite_newer: whether an older day's scores overwrite those of a newer one.
    """

    database: str
    schema: str
    table: str
    keys: tuple[str, ...]
    batch_rows: int | None = None
    overwrite_newer: bool = False


def write_predictions(
    lake: Lake, databases: Databases, target: Target, source: SourceSpec | None, folder: str, manifest: Manifest
) -> dict[str, Any]:
    """Write a day's scores back, and set the date they were scored on in the rows they are of. Returns asset metadata.

    In one database that is one transaction (or one a batch). In two the scores come first: whatever happens between
    the two steps, writing the day again sets the dates that are missing, and until then these rows only wait to be
    scored again.

    Args:
        source: the table the records were read from; None: features, whose rows nobody waits with.

    Raises:
        ScoredDateInvalid: see `describe_rows`. Others: see `write_partition`.
    """
    import pyarrow.parquet as pq

    path = f"{folder}/{FILE}"
    with lake.open_file(path) as file:
        schema = pq.read_schema(file)
    waits = describe_rows(databases, source) if source is not None else None
    one_database = source is not None and source.database == target.database
    written = write_scores(
        databases,
        describe_target(
            target.database,
            target.schema,
            target.table,
            target.keys,
            batch_rows=target.batch_rows,
            overwrite_newer=target.overwrite_newer,
        ),
        schema,
        lambda columns: lake.iter_batches(path, columns),
        manifest.partition,
        said=manifest.facts,
        of=Partition(manifest.asset, manifest.partition, " ".join(file.sha256 for file in manifest.files)),
        mark=waits if one_database else None,
    )
    shown = {**_describe(target, written), **_show(lake, folder, manifest, written)}
    if source is None or waits is None:
        return shown
    marked = written.marked
    if not one_database:
        columns = [waits.key_from, waits.date_from]
        marked = mark_scored(databases, source, waits, schema, lake.iter_batches(path, columns))
    return {**shown, f"{waits.table}.{waits.column}": f"{marked} rows set"}


def _show(lake: Lake, folder: str, manifest: Manifest, written: Written) -> dict[str, Any]:
    columns = {name: source for name, source in COLUMNS.items() if name not in written.left_out}
    return {**describe_written(lake, folder, manifest, columns, TEXTS), **describe_speed(written.rows, written.seconds)}


def _describe(target: Target, written: Written) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "dagster/row_count": written.rows,
        "inserted": written.inserted,
        "updated": written.updated,
        "unchanged": written.unchanged,
        "kept_newer": written.kept_newer,
        "keys": ", ".join(target.keys),
    }
    if written.resumed:
        shown["resumed"] = f"{written.resumed} rows had been written by a run that ended before"
    if written.left_out:
        missing = ", ".join(written.left_out)
        shown["not_written"] = f"{missing}: {target.table} was there before and has no such column"
    return shown
