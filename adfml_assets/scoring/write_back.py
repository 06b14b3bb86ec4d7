"""A day's scores written back to SQL (the pipeline's LoadScoresBackToSql): which columns they have there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from adfml_assets.scoring.scores import FEATURE_SNAPSHOT
from adfml_assets.scoring.scoring_input import RECORD_ID
from adfml_assets.write_back.progress import Partition
from adfml_assets.write_back.run import Rows, write_partition
from adfml_assets.write_back.scored_rows import ScoredRows
from adfml_assets.write_back.target import Target
from adfml_assets.write_back.written import Written
from resources.database import Databases

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa

SNAPSHOT_DATE = "SnapshotDate"

COLUMNS = {
    RECORD_ID: RECORD_ID,
    "Score": "score",
    "ModelName": "model",
    "ModelVersion": "version",
    "ModelAlias": "alias",
    "ScoredAt": "scored_at",
    "FeatureSnapshot": FEATURE_SNAPSHOT,
}


TEXTS = {
    RECORD_ID: "Which record was scored.",
    "Score": "What the model says of it.",
    "ModelName": "The model that scored it.",
    "ModelVersion": "Its version.",
    "ModelAlias": "The alias that the version was found by; empty where the version itself was asked for.",
    "ScoredAt": "When it was scored, UTC.",
    "FeatureSnapshot": "The snapshot of the features that were scored.",
}
"""What the columns are, in words."""


def describe_target(
    database: str,
    schema: str | None,
    table: str,
    keys: Sequence[str],
    *,
    batch_rows: int | None = None,
    overwrite_newer: bool = False,
) -> Target:
    """A table of scores, made where it does not exist; an older day never overwrites a newer one unless told.

    It has RecordId, Score, ModelName, ModelVersion, ModelAlias, ScoredAt (UTC), FeatureSnapshot and SnapshotDate.
    """
    import sqlalchemy as sa

    lengths = {"ModelName": 200, "ModelVersion": 60, "ModelAlias": 60}
    types: dict[str, sa.types.TypeEngine[Any]] = {name: sa.String(length) for name, length in lengths.items()}
    return Target(
        database,
        schema,
        table,
        tuple(keys),
        newer=SNAPSHOT_DATE,
        overwrite_newer=overwrite_newer,
        types={**types, "FeatureSnapshot": sa.Date()},
        # Tables made by an older adfml do not have it.
        optional=frozenset({"FeatureSnapshot"}),
        batch_rows=batch_rows,
    )


def write_scores(
    databases: Databases,
    target: Target,
    schema: pa.Schema,
    read: Callable[[list[str]], Iterator[pa.RecordBatch]],
    day: str,
    *,
    said: Mapping[str, str] | None = None,
    of: Partition | None = None,
    mark: ScoredRows | None = None,
) -> Written:
    """Upsert a day's scores; see `adfml_assets.write_back.run.write_partition`, whose errors it raises.

    Args:
        schema: of `predictions.parquet`, in which older ones have no feature_snapshot.
        read: gives these columns of it, in batches.
        day: the scores' partition.
        said: what every row says: `model`, `version`, `alias`, `feature_snapshot`. It is taken from here, once.
        of, mark: see `write_partition`.
    """
    import pyarrow as pa

    columns: dict[str, str] = {}
    constants: dict[str, Any] = {}
    for name, source in COLUMNS.items():
        value = (said or {}).get(source)
        if value is not None:
            constants[name] = date.fromisoformat(value) if source == FEATURE_SNAPSHOT else value
        elif source in schema.names or source != FEATURE_SNAPSHOT:
            columns[name] = source
        else:
            constants[name] = None
    constants[SNAPSHOT_DATE] = date.fromisoformat(day)
    needed = list(dict.fromkeys([*columns.values(), *([mark.key_from, mark.date_from] if mark else [])]))
    given = pa.schema([schema.field(name) for name in needed if name in schema.names])
    return write_partition(databases, target, Rows(given, read(needed), columns, constants), of=of, mark=mark)
