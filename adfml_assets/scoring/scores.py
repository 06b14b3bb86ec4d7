"""A day's scores as the scoring job left them: verified before they count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from adfml_assets import lake_layout
from adfml_assets.errors import WrongResult
from adfml_assets.origins import ORIGINS, PERSONAL, copy_columns, list_personal
from adfml_assets.scoring.scoring_input import FILE as INPUT_FILE
from adfml_assets.scoring.scoring_input import RECORD_ID
from resources.errors import NotFound
from resources.lake import Lake, ParquetSink
from resources.manifest import FILE_NAME as MANIFEST_FILE
from resources.manifest import Manifest, build_manifest, commit_manifest, read_manifest

if TYPE_CHECKING:
    import pyarrow as pa

FILE = "predictions.parquet"
FEATURE_SNAPSHOT = "feature_snapshot"


def build_scores_schema(record_id_type: pa.DataType) -> pa.Schema:
    """The columns of a day's scores: RecordId, score, model, version, alias, scored_at (UTC) and feature_snapshot.

    `alias` is the alias that the version was found by, empty where the version itself was asked for;
    `feature_snapshot` is the snapshot date of the features.
    """
    import pyarrow as pa

    fields = [(RECORD_ID, record_id_type), ("score", pa.float64())]
    fields += [(name, pa.string()) for name in ("model", "version", "alias")]
    return pa.schema([*fields, ("scored_at", pa.timestamp("us", tz="UTC")), (FEATURE_SNAPSHOT, pa.date32())])


def build_expected(said: Mapping[str, Any], model: str) -> dict[str, str]:
    """What every row of a day's scores has to say, and the facts of their manifest.

    Args:
        said: `model_version`, `model_alias` and `feature_snapshot`: a scoring input's facts, or a job's parameters.
    """
    return {
        "model": model,
        "version": str(said["model_version"]),
        "alias": str(said["model_alias"]),
        FEATURE_SNAPSHOT: str(said[FEATURE_SNAPSHOT]),
    }


def verify_scores(
    lake: Lake,
    model: str,
    day: str,
    expected: Mapping[str, str],
    *,
    asset: str,
    now: datetime,
    run_id: str,
    source: Mapping[str, Any],
) -> tuple[Manifest, pa.Table]:
    """Make sure each record of the input has one finite score, by the version asked for; then make them visible.

    Args:
        expected: what every row has to say: `model`, `version`, `alias`, `feature_snapshot`.

    Raises:
        WrongResult: rows or columns are missing, rows are doubled, of another version, or without a score.
    """
    import pyarrow.compute as pc

    folder = lake_layout.scores_folder(model, day)
    path = f"{folder}/{FILE}"
    records = lake.read_table(f"{lake_layout.scoring_input_folder(model, day)}/{INPUT_FILE}", [RECORD_ID])
    try:
        scores = lake.read_table(path)
    except NotFound:
        raise WrongResult(path, f"{records.num_rows} scores", "no file") from None
    _require_columns(path, scores)
    if scores.num_rows != records.num_rows:
        raise WrongResult(path, f"{records.num_rows} scores, one a record of the input", f"{scores.num_rows}")
    missing = pc.sum(pc.invert(pc.is_in(records[RECORD_ID], value_set=scores[RECORD_ID]))).as_py() or 0
    if missing:
        raise WrongResult(path, "a score for every record of the input", f"none for {missing} of them")
    if scores.num_rows and not pc.all(pc.is_finite(scores["score"]), skip_nulls=False).as_py():
        raise WrongResult(path, "a finite score in every row", "NULL, NaN or infinite ones")
    for column, value in expected.items():
        found = [None if one is None else str(one) for one in pc.unique(scores[column]).to_pylist()]
        if scores.num_rows and found != [value]:
            raise WrongResult(f"{path}: {column}", repr(value), ", ".join(map(repr, found[:5])))
    manifest = build_manifest(
        asset=asset,
        partition=day,
        files=[lake.describe_file(path)],
        schema=scores.schema,
        written_at=now,
        run_id=run_id,
        source=dict(source),
        facts={**expected, **_describe_origins(lake, model, day)},
    )
    commit_manifest(lake, folder, manifest)
    return manifest, scores


def _describe_origins(lake: Lake, model: str, day: str) -> dict[str, Any]:
    """A score is made of all that the model takes."""
    records = read_manifest(lake, lake_layout.scoring_input_folder(model, day))
    if records is None:
        return {}
    taken = [(records.asset, column.name) for column in records.columns if column.name != RECORD_ID]
    origins = {**copy_columns(records.asset, [RECORD_ID]), "score": taken}
    personal = [RECORD_ID] if RECORD_ID in list_personal(records) else []
    return {ORIGINS: {name: [list(one) for one in found] for name, found in origins.items()}} | (
        {PERSONAL: personal} if personal else {}
    )


def _require_columns(path: str, scores: pa.Table) -> None:
    wanted = build_scores_schema(scores.schema.types[0]).names
    missing = [name for name in wanted if name not in scores.column_names]
    if missing:
        raise WrongResult(path, f"the columns {', '.join(wanted)}", f"none named {', '.join(missing)}")


def write_no_scores(lake: Lake, model: str, day: str) -> None:
    """An empty predictions file, where there was nothing to score and so no job."""
    records = lake.read_table(f"{lake_layout.scoring_input_folder(model, day)}/{INPUT_FILE}", [RECORD_ID])
    schema = build_scores_schema(records.schema.field(RECORD_ID).type)
    with replace_scores(lake, model, day, schema):
        pass


@contextmanager
def replace_scores(lake: Lake, model: str, day: str, schema: pa.Schema) -> Iterator[ParquetSink]:
    """Write a day's scores anew; where the block raises, those that were there stay.

    No manifest vouches for the new ones before `verify_scores` has seen them.
    """
    folder = lake_layout.scores_folder(model, day)
    with lake.write_parquet(f"{folder}/{FILE}", schema) as sink:
        yield sink
        lake.delete(f"{folder}/{MANIFEST_FILE}")
