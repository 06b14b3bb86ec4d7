"""Answers back into the table their texts are from: the declared columns, by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adfml_assets.archived_partitions import parse_reference
from adfml_assets.scoring.update_rows import update_rows
from adfml_assets.text.results import PREDICTIONS, REJECTS
from resources.database import Databases
from resources.lake import Lake

if TYPE_CHECKING:
    import pyarrow as pa

    from adfml_assets.components.scored_text import TextWriteBack


@dataclass(frozen=True)
class WrittenText:
    """Rows of the table that were set: with an answer, and marked as rejected for good."""

    answered: int
    rejected: int


def write_answers(
    lake: Lake, databases: Databases, wanted: TextWriteBack, key: Sequence[str], folder: str
) -> WrittenText:
    """Set the columns of every row that has an answer, and the marks of those that were rejected for good.

    Args:
        key: the columns of the result that identify a row.
        folder: where the result lies.

    Raises:
        NotFound: the table has no such column. DuplicateKeys, Unreachable: see `update_rows`.
    """
    database, schema, table = parse_reference(wanted.table)
    keys = list(wanted.keys or key)
    answers = lake.read_table(f"{folder}/{PREDICTIONS}", [*key, *wanted.columns])
    columns = {name: answers[found] for name, found in zip(keys, key, strict=True)}
    columns |= {column: answers[field] for field, column in wanted.columns.items()}
    answered = update_rows(databases, database, schema, table, keys, _mark(columns, wanted.mark))
    rejected = 0
    if wanted.mark_rejected:
        rejects = lake.read_table(f"{folder}/{REJECTS}", [*key, "final"])
        rejects = rejects.filter(rejects["final"])
        columns = {name: rejects[found] for name, found in zip(keys, key, strict=True)}
        rejected = update_rows(databases, database, schema, table, keys, _mark(columns, wanted.mark_rejected))
    return WrittenText(answered, rejected)


def _mark(columns: Mapping[str, Any], marks: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    rows = pa.table(dict(columns))
    for name, value in marks.items():
        rows = rows.append_column(name, pa.repeat(pa.scalar(value), rows.num_rows))
    return rows
