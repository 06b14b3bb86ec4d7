"""Scoring job: read rows in Arrow batches, score them with a verified model, write predictions in the same order.

Run it as a file:

    python score_model.py --input-path …/scoring_input.parquet --output-path … --model-path … --model-name … \
        --model-version … [--model-alias …] [--submission-key …] [--staging-path …]
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if not __package__:
    # Started as a file, from whatever folder a bundle was synced to: that folder is the package `workloads`.
    from importlib.util import module_from_spec, spec_from_file_location

    _folder = Path(globals().get("__file__") or sys._getframe().f_code.co_filename).resolve().parent
    _spec = spec_from_file_location("workloads", _folder / "__init__.py", submodule_search_locations=[str(_folder)])
    if _spec is None or _spec.loader is None:
        raise ImportError(f"no package in {_folder}")
    sys.modules["workloads"] = module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["workloads"])

from workloads.columns import open_parquet, require_columns, require_numbers, to_matrix
from workloads.command_line import parse_arguments, run_script
from workloads.errors import ScoringError, raise_as
from workloads.model_files import ModelRecord, load_model, read_record
from workloads.paths import FileArea, split_path
from workloads.record_ids import RECORD_ID, check_record_ids
from workloads.regression import predict

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow import parquet

PREDICTIONS_FILE = "predictions.parquet"
"""File name of the scores."""

_BATCH_ROWS = 65_536
_REQUIRED = {
    "input_path": "the scoring input, a Parquet file",
    "output_path": "folder the predictions are written to",
    "model_path": "folder of the model",
    "model_name": "name of the model",
    "model_version": "version of the model",
}
_OPTIONAL = {
    "model_alias": "alias the version was found by, noted on every score",
    "submission_key": "key of the submission, for the log",
    "staging_path": "folder of a volume that abfss files are copied through",
}
_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Score a file as the command line says.

    Writes `<output_path>/predictions.parquet`, whole or not at all: RecordId as in the input, score (float64, in the
    label's unit), model, version, alias (strings) and scored_at (timestamp[us, UTC], one for the whole file).

    Args:
        arguments: Command line without the program, `sys.argv[1:]` by default.

    Raises:
        ScoringError: Anything about the arguments, the input or the model.
    """
    with raise_as(ScoringError):
        options = parse_arguments("score_model.py", _REQUIRED, _OPTIONAL, arguments)
        with FileArea(options["staging_path"]) as area:
            _score(area, options)


def _score(area: FileArea, options: dict[str, str]) -> None:
    model_path, input_path = options["model_path"].rstrip("/"), options["input_path"]
    record = read_record(area, model_path)
    asked = (options["model_name"], options["model_version"])
    if (record.model, record.version) != asked:
        raise ScoringError(
            f"{model_path} holds {record.model} version {record.version}, asked for was {asked[0]} version {asked[1]}"
        )
    with open_parquet(str(area.read(*split_path(input_path))), input_path) as file:
        # The input is checked before the model is loaded: reading a schema costs nothing, loading costs seconds.
        check_input(file, record, input_path)
        estimator = load_model(area, model_path, record)
        with area.write(options["output_path"].rstrip("/"), PREDICTIONS_FILE) as path:
            rows = write_predictions(file, path, estimator, record, options["model_alias"], input_path)
    _log.info(
        "scored %d rows with %s version %s, submission key %s",
        rows,
        record.model,
        record.version,
        options["submission_key"] or "none",
    )


def check_input(file: parquet.ParquetFile, record: ModelRecord, shown_as: str) -> None:
    """Make sure that a scoring input has record ids, each once, and the model's features as numbers.

    Args:
        shown_as: how messages name the file.

    Raises:
        ScoringError: it has not.
    """
    schema = file.schema_arrow
    require_columns(schema, [RECORD_ID], shown_as)
    present = [name for name in schema.names if name != RECORD_ID]
    missing = [name for name in record.features if name not in present]
    if missing:
        raise ScoringError(
            f"{shown_as} does not have the model's features: {record.model} version {record.version} takes "
            f"[{', '.join(record.features)}], the input has [{', '.join(present)}], missing are "
            f"[{', '.join(missing)}]: build the input from the model's feature set, or train a new version",
            model=record.features,
            input=present,
            missing=missing,
        )
    require_numbers(schema, record.features, shown_as)
    check_record_ids(file, shown_as)


def write_predictions(
    file: parquet.ParquetFile, path: Path, estimator: Any, record: ModelRecord, alias: str, shown_as: str
) -> int:
    """Score a file in batches and write the predictions, in the same order. Returns the rows written.

    Args:
        file: the scoring input.
        path: where the predictions are written.
        estimator: the model.
        record: what is known of it.
        alias: noted on every score.
        shown_as: how messages name the input.

    Raises:
        ScoringError: they are not as many as the file has.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = _predictions_schema(file.schema_arrow.field(RECORD_ID).type)
    scored_at = pa.scalar(datetime.now(UTC), schema.field("scored_at").type)
    rows = infinite = 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[RECORD_ID, *record.features]):
            if not batch.num_rows:
                continue
            matrix, found = to_matrix(batch, record.features)
            infinite += found
            score = predict(estimator, matrix, record.features)
            constants = (record.model, record.version, alias, scored_at)
            columns = [batch.column(RECORD_ID), pa.array(score)]
            columns += [pa.repeat(value, batch.num_rows) for value in constants]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
            rows += batch.num_rows
    if infinite:
        _log.info("%d infinite feature values were taken for missing", infinite)
    if rows != file.metadata.num_rows:
        raise ScoringError(f"{rows} scores for {file.metadata.num_rows} rows of {shown_as}; nothing written")
    return rows


def _predictions_schema(record_id_type: pa.DataType) -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field(RECORD_ID, record_id_type),
            pa.field("score", pa.float64()),
            pa.field("model", pa.string()),
            pa.field("version", pa.string()),
            pa.field("alias", pa.string()),
            pa.field("scored_at", pa.timestamp("us", tz="UTC")),
        ]
    )


if __name__ == "__main__":
    run_script(main, ScoringError)
