"""What a batch endpoint's job left in its own folder: checked while it is brought to where the result belongs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from adfml_assets import lake_layout
from adfml_assets.errors import WrongResult
from adfml_assets.scoring.scores import FEATURE_SNAPSHOT, build_scores_schema, replace_scores
from adfml_assets.scoring.scoring_input import FILE as INPUT_FILE
from adfml_assets.scoring.scoring_input import RECORD_ID
from adfml_assets.training.trained import METADATA
from resources.azure_ml_uris import find_output
from resources.lake import Lake
from resources.remote_jobs import RemoteJob

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = (RECORD_ID, "score", "model", "version", "scored_at")


def collect_scores(lake: Lake, model: str, day: str, job: RemoteJob, expected: Mapping[str, str]) -> None:
    """Write a job's scores as the day's `predictions.parquet`, which they become only if all of them are right.

    The job's output is any number of Parquet files in any order, with RecordId, score, model, version and scored_at.
    Alias and feature snapshot are those that were asked for: a deployment does not know them.

    Args:
        expected: what every row has to say: `model`, `version`, `alias`, `feature_snapshot`.

    Raises:
        WrongResult: no files, columns that are missing, rows that are missing, doubled or too many, scores that are not
            finite, or another version. The day's scores stay what they were.
    """
    folder = find_output(lake_layout.batch_output_folder(model, day), job)
    paths = [path for path in lake.list_files(folder) if path.endswith(".parquet")]
    records = lake.read_table(f"{lake_layout.scoring_input_folder(model, day)}/{INPUT_FILE}", [RECORD_ID])
    if not paths:
        names = ", ".join(path.removeprefix(f"{folder}/") for path in lake.list_files(folder)) or "nothing"
        raise WrongResult(folder, "the scores as Parquet files", names)
    schema = build_scores_schema(records.schema.field(RECORD_ID).type)
    _check_files(lake, folder, paths, records.num_rows)
    ids = []
    with replace_scores(lake, model, day, schema) as sink:
        for batch in _read_scores(lake, paths, schema, expected):
            _check_batch(folder, batch, expected)
            ids.append(batch.column(RECORD_ID))
            sink.write(batch)
        _check_ids(folder, records[RECORD_ID], ids)


def collect_model(lake: Lake, model: str, version: str, job: RemoteJob) -> None:
    """Bring a job's model to the version's folder, metadata.json last, once it is known to be whole and its own.

    Raises:
        WrongResult: no model, another job's, or a file that is not what its hash says. The version's folder stays what
            it was.
    """
    folder = find_output(lake_layout.batch_output_folder(model, f"version={version}"), job)
    names = [path.removeprefix(f"{folder}/") for path in lake.list_files(folder)]
    if METADATA not in names:
        raise WrongResult(folder, f"a model with {METADATA}", ", ".join(names) or "nothing")
    content = lake.read_bytes(f"{folder}/{METADATA}")
    try:
        metadata: dict[str, Any] = json.loads(content)
        key, file, digest = (str(metadata[name]) for name in ("submission_key", "model_file", "model_sha256"))
    except (ValueError, KeyError, TypeError) as error:
        raise WrongResult(f"{folder}/{METADATA}", "a model's metadata", f"{type(error).__name__}: {error}") from None
    if key != job.remote_key:
        raise WrongResult(f"{folder}/{METADATA}: submission_key", repr(job.remote_key), repr(key))
    if file not in names:
        raise WrongResult(f"{folder}/{file}", "the model file", ", ".join(names))
    data = lake.read_bytes(f"{folder}/{file}")
    found = hashlib.sha256(data).hexdigest()
    if found != digest:
        raise WrongResult(f"{folder}/{file}", f"sha256 {digest}", found)
    target = lake_layout.model_folder(model, version)
    # An older model's metadata must not vouch for the new file.
    lake.delete(f"{target}/{METADATA}")
    lake.write_bytes(f"{target}/{file}", data)
    lake.write_bytes(f"{target}/{METADATA}", content)


def _read_scores(
    lake: Lake, paths: list[str], schema: pa.Schema, expected: Mapping[str, str]
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    asked = {
        "alias": pa.scalar(expected["alias"]),
        FEATURE_SNAPSHOT: pa.scalar(date.fromisoformat(expected[FEATURE_SNAPSHOT])),
    }
    for path in paths:
        for batch in lake.iter_batches(path, _COLUMNS):
            columns = []
            for field in schema:
                if field.name in asked:
                    columns.append(pa.repeat(asked[field.name], batch.num_rows))
                    continue
                try:
                    columns.append(batch.column(field.name).cast(field.type))
                except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                    found = f"{batch.column(field.name).type} ({error})"
                    raise WrongResult(f"{path}: {field.name}", str(field.type), found) from None
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _check_files(lake: Lake, folder: str, paths: list[str], records: int) -> None:
    """By the files' footers: are all columns there, and as many rows as the input has."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 0
    for path in paths:
        with lake.open_file(path) as file:
            try:
                footer = pq.ParquetFile(file)
            except pa.ArrowInvalid as error:
                raise WrongResult(path, "a Parquet file", str(error).splitlines()[0]) from None
            missing = [name for name in _COLUMNS if name not in footer.schema_arrow.names]
            rows += footer.metadata.num_rows
        if missing:
            raise WrongResult(path, f"the columns {', '.join(_COLUMNS)}", f"none named {', '.join(missing)}")
    if rows != records:
        raise WrongResult(folder, f"{records} scores, one a record of the input", f"{rows}")


def _check_batch(folder: str, batch: pa.RecordBatch, expected: Mapping[str, str]) -> None:
    import pyarrow.compute as pc

    if not pc.all(pc.is_finite(batch.column("score")), skip_nulls=False, min_count=0).as_py():
        raise WrongResult(folder, "a finite score in every row", "NULL, NaN or infinite ones")
    for column in ("model", "version"):
        found = pc.unique(batch.column(column)).to_pylist()
        if batch.num_rows and found != [expected[column]]:
            raise WrongResult(f"{folder}: {column}", repr(expected[column]), ", ".join(map(repr, found[:5])))


def _check_ids(folder: str, records: pa.ChunkedArray, scored: list[pa.Array]) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    lacking = pc.sum(pc.invert(pc.is_in(records, value_set=pa.chunked_array(scored, type=records.type)))).as_py() or 0
    if lacking:
        raise WrongResult(folder, "a score for every record of the input", f"none for {lacking} of them")
