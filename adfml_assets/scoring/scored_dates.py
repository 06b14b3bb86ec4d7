"""Noting rows as scored where they came from: what waits to be scored is what has no date yet."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from adfml_assets.scoring.errors import ScoredDateInvalid
from adfml_assets.scoring.scoring_input import RECORD_ID
from adfml_assets.scoring.source_rows import SourceSpec
from adfml_assets.scoring.update_rows import reflect_table
from adfml_assets.scoring.write_back import BATCH_ROWS, make_staging
from resources.errors import NotFound

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from sqlalchemy import Connection


def mark_scored(connection: Connection, spec: SourceSpec, scores: pa.Table) -> int:
    """Set `scored_date` of the rows that were scored, within the caller's transaction.

    A row that has a date already keeps it where that is not earlier: a second call changes nothing, and an older day's
    scores take nothing from a newer one's.

    Args:
        scores: RecordId is the source's key, scored_at what it is set to (UTC; in a date column its day).

    Returns:
        How many rows of the table were changed.

    Raises:
        NotFound: there is no such table or column.
        ScoredDateInvalid: the column cannot hold a date.
    """
    import sqlalchemy as sa

    if spec.scored_date is None or scores.num_rows == 0:
        return 0
    target = reflect_table(connection, spec.database, spec.schema, spec.table)
    for name in (spec.key, spec.scored_date):
        if name not in target.columns:
            raise NotFound("column", name, f"table {target.fullname}", target.columns.keys())
    date_column = target.c[spec.scored_date]
    if not isinstance(date_column.type, (sa.Date, sa.DateTime)):
        raise ScoredDateInvalid(spec.full_name, spec.scored_date, str(date_column.type))
    staging = make_staging(connection, target, [spec.key, spec.scored_date])
    for rows in _to_rows(scores, spec.key, date_column):
        connection.execute(staging.insert(), rows)
    new = staging.c[spec.scored_date]
    older = sa.or_(date_column.is_(None), date_column < new)
    update = target.update().values({spec.scored_date: new}).where(target.c[spec.key] == staging.c[spec.key], older)
    count = connection.execute(update).rowcount
    staging.drop(connection)
    return count


def _to_rows(scores: pa.Table, key: str, column: sa.Column[Any]) -> Iterator[list[dict[str, Any]]]:
    import sqlalchemy as sa

    is_day = isinstance(column.type, sa.Date)
    has_zone = isinstance(column.type, sa.DateTime) and column.type.timezone

    def convert(moment: datetime) -> Any:
        moment = moment.astimezone(UTC)
        return moment.date() if is_day else moment if has_zone else moment.replace(tzinfo=None)

    for batch in scores.select([RECORD_ID, "scored_at"]).to_batches(max_chunksize=BATCH_ROWS):
        yield [{key: row[RECORD_ID], str(column.name): convert(row["scored_at"])} for row in batch.to_pylist()]
