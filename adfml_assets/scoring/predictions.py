"""A day's scores in the table they go to, and the rows they are of noted as scored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from adfml_assets.scoring.scored_dates import mark_scored
from adfml_assets.scoring.scores import FILE
from adfml_assets.scoring.source_rows import SourceSpec
from adfml_assets.scoring.write_back import WrittenBack, write_back
from resources.database import Databases
from resources.lake import Lake
from resources.manifest import Manifest


@dataclass(frozen=True)
class Target:
    """Where scores go.

    Attributes:
        database, schema, table: the table; made where it does not exist.
        keys: the columns that identify a row.
    """

    database: str
    schema: str
    table: str
    keys: tuple[str, ...]


def write_predictions(
    lake: Lake, databases: Databases, target: Target, source: SourceSpec | None, folder: str, manifest: Manifest
) -> dict[str, Any]:
    """Write a day's scores back, and set the date they were scored on in the rows they are of. Returns asset metadata.

    In one database that is one transaction. In two the scores come first: whatever happens between the two steps,
    writing the day again sets the dates that are missing, and until then these rows only wait to be scored again.

    Args:
        source: the table the records were read from; None: features, whose rows nobody waits with.

    Raises:
        NotFound, DuplicateKeys: see `write_back`.
        ScoredDateInvalid: see `mark_scored`.
    """
    scores = lake.read_table(f"{folder}/{FILE}")
    waits = source if source is not None and source.scored_date is not None else None
    one_database = waits is not None and waits.database == target.database
    written = write_back(
        databases,
        target.database,
        target.schema,
        target.table,
        target.keys,
        scores,
        manifest.partition,
        mark=partial(mark_scored, spec=waits, scores=scores) if waits and one_database else None,
    )
    shown = _describe(target, written)
    if waits is None:
        return shown
    marked = written.marked
    if not one_database:
        with databases.connect(waits.database) as connection, connection.begin():
            marked = mark_scored(connection, waits, scores)
    return {**shown, f"{waits.table}.{waits.scored_date}": f"{marked} rows set"}


def _describe(target: Target, written: WrittenBack) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "dagster/row_count": written.rows,
        "kept_newer": written.kept_newer,
        "keys": ", ".join(target.keys),
    }
    if written.left_out:
        missing = ", ".join(written.left_out)
        shown["not_written"] = f"{missing}: {target.table} was there before and has no such column"
    return shown
