"""Answers back into the table their texts are from: the declared columns, by key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adfml_assets.archived_partitions import parse_reference
from adfml_assets.scoring.update_rows import begin_update, reflect_table, update_in
from adfml_assets.text.results import PREDICTIONS, REJECTS
from resources.database import Databases
from resources.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa

    from adfml_assets.components.scored_text import TextWriteBack

SCORED_AT = "scored_at"


@dataclass(frozen=True)
class WrittenText:
    """Rows of the table that were set: with an answer, and marked as rejected for good."""

    answered: int
    rejected: int


def write_answers(
    lake: Lake, databases: Databases, wanted: TextWriteBack, key: Sequence[str], folder: str
) -> WrittenText:
    """Set the columns of every row that has an answer, and the marks of those that were rejected for good.

    All in one transaction, batch by batch in constant memory.

    Args:
        key: the columns of the result that identify a row.
        folder: where the result lies.

    Raises:
        NotFound: the table has no such column. DuplicateKeys, Unreachable: see `update_rows`.
    """
    database, schema, table = parse_reference(wanted.table)
    keys = list(wanted.keys or key)
    named = dict(zip(key, keys, strict=True))
    # Where the table says when a row was answered, an older day takes nothing from a newer one.
    newer = wanted.columns.get(SCORED_AT)
    with begin_update(databases, database) as connection:
        target = reflect_table(connection, database, schema, table)
        answered = rejected = 0
        for answers in _read(lake, f"{folder}/{PREDICTIONS}", [*key, *wanted.columns]):
            rows = _mark(answers, {**named, **wanted.columns}, wanted.mark)
            answered += update_in(connection, target, keys, rows, newer=newer)
        if wanted.mark_rejected:
            for rejects in _read(lake, f"{folder}/{REJECTS}", [*key, "final"]):
                rows = _mark(rejects.filter(rejects["final"]), named, wanted.mark_rejected)
                rejected += update_in(connection, target, keys, rows)
    return WrittenText(answered, rejected)


def _read(lake: Lake, path: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    import pyarrow as pa

    for batch in lake.iter_batches(path, columns):
        yield pa.Table.from_batches([batch])


def _mark(found: pa.Table, columns: Mapping[str, str], marks: Mapping[str, Any]) -> pa.Table:
    """Columns under the names they have in the table, and the marks beside them."""
    import pyarrow as pa

    rows = pa.table({name: found[field] for field, name in columns.items()})
    for name, value in marks.items():
        rows = rows.append_column(name, pa.repeat(pa.scalar(value), rows.num_rows))
    return rows
