"""Noting rows as scored where they came from: what waits to be scored is what has no date yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from adfml_assets.scoring.errors import ScoredDateInvalid
from adfml_assets.scoring.scoring_input import RECORD_ID
from adfml_assets.scoring.source_rows import SourceSpec
from adfml_assets.scoring.update_rows import reflect_table
from adfml_assets.write_back.scored_rows import ScoredRows, mark_rows
from resources.database import Databases
from resources.errors import NotFound

if TYPE_CHECKING:
    import pyarrow as pa

SCORED_AT = "scored_at"


def describe_rows(databases: Databases, spec: SourceSpec) -> ScoredRows | None:
    """The rows that get `scored_date` with their scores; None: none do.

    A row that has a date already keeps it where that is not earlier: written twice nothing changes, and an older day's
    scores take nothing from a newer one's. The date is the row's scored_at (UTC; in a date column its day).

    Raises:
        NotFound: there is no such table or column.
        ScoredDateInvalid: the column cannot hold a date.
    """
    import sqlalchemy as sa

    if spec.scored_date is None:
        return None
    with databases.connect(spec.database) as connection:
        target = reflect_table(connection, spec.database, spec.schema, spec.table)
    for name in (spec.key, spec.scored_date):
        if name not in target.columns:
            raise NotFound("column", name, f"table {target.fullname}", target.columns.keys())
    column = target.c[spec.scored_date]
    if not isinstance(column.type, (sa.Date, sa.DateTime)):
        raise ScoredDateInvalid(spec.full_name, spec.scored_date, str(column.type))
    return ScoredRows(spec.schema, spec.table, spec.key, spec.scored_date, RECORD_ID, SCORED_AT)


def mark_scored(
    databases: Databases, spec: SourceSpec, rows: ScoredRows, schema: pa.Schema, batches: Iterator[pa.RecordBatch]
) -> int:
    """Set the dates of rows in another database than their scores. Returns how many rows were changed.

    Args:
        batches: scores; RecordId is the source's key.
    """
    return mark_rows(databases, spec.database, rows, schema, batches)
