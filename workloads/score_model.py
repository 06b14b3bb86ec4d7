"""Scoring job: read rows in Arrow batches, score them with a verified model, write predictions in the same order.

Run it as a file:

    python score_model.py --input-path …/scoring_input.parquet --output-path … --model-path … --model-name … \
        --model-version … [--model-alias …] [--submission-key …] [--staging-path …] [--model-sha256 …] \
        [--feature-snapshot 2025-03-31]
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
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
    "model_sha256": "hash of the model's file, as recorded when it was registered",
    "feature_snapshot": "snapshot date of the features, noted on every score",
}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stamp:
    """What is noted on every score beside the model and its version.

    Attributes:
        alias: The alias the version was found by; "" without one.
        feature_snapshot: The snapshot date of the features; None where it is not known.
    """

    alias: str
    feature_snapshot: date | None


def main(arguments: Sequence[str] | None = None) -> None:
    """Score a file as the command line says.

    Writes `<output_path>/predictions.parquet`, whole or not at all: RecordId as in the input, score (float64, in the
    label's unit), model, version, alias (strings), scored_at (timestamp[us, UTC], one for the whole file) and
    feature_snapshot (date32; NULL where it is not given).

    Args:
        arguments: Command line without the program, `sys.argv[1:]` by default.

    Raises:
        ScoringError: Anything about the arguments, the input or the model.
    """
    with raise_as(ScoringError):
        options = parse_arguments("score_model.py", _REQUIRED, _OPTIONAL, arguments)
        snapshot = parse_snapshot(options["feature_snapshot"], "--feature-snapshot")
        with FileArea(options["staging_path"]) as area:
            _score(area, options, Stamp(options["model_alias"], snapshot))


def parse_snapshot(text: str, given_as: str) -> date | None:
    """Read the snapshot date of the features; None for an empty text.

    Args:
        text: YYYY-MM-DD.
        given_as: What the user gave it as, for the error.

    Raises:
        ScoringError: It is no such date.
    """
    if not text:
        return None
    try:
        found = datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError as error:
        raise ScoringError(f"{given_as} must be a date as YYYY-MM-DD, not {text!r}") from error
    return found


def _score(area: FileArea, options: dict[str, str], stamp: Stamp) -> None:
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
        estimator = load_model(area, model_path, record, options["model_sha256"])
        with area.write(options["output_path"].rstrip("/"), PREDICTIONS_FILE) as path:
            rows = write_predictions(file, path, estimator, record, stamp, input_path)
    _log.info(
        "scored %d rows with %s version %s, submission key %s",
        rows,
        record.model,
        record.version,
        options["submission_key"] or "none",
    )


def check_input(file: parquet.ParquetFile, record: ModelRecord, shown_as: str) -> None:
    """Make sure that a scoring input has record ids, each once, and the model's features as numbers in its order.

    Other columns may be there, anywhere.

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
    in_order = tuple(name for name in present if name in record.features)
    if in_order != record.features:
        raise ScoringError(
            f"{shown_as} has the model's features in another order: {record.model} version {record.version} takes "
            f"[{', '.join(record.features)}], the input has [{', '.join(in_order)}]: it was built for another model; "
            "build it for this one",
            model=record.features,
            input=in_order,
        )
    require_numbers(schema, record.features, shown_as)
    check_record_ids(file, shown_as)


def write_predictions(
    file: parquet.ParquetFile, path: Path, estimator: Any, record: ModelRecord, stamp: Stamp, shown_as: str
) -> int:
    """Score a file in batches and write the predictions, in the same order. Returns the rows written.

    Args:
        file: the scoring input.
        path: where the predictions are written.
        estimator: the model.
        record: what is known of it.
        stamp: noted on every score.
        shown_as: how messages name the input.

    Raises:
        ScoringError: they are not as many as the file has.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = _predictions_schema(file.schema_arrow.field(RECORD_ID).type)
    scored_at = pa.scalar(datetime.now(UTC), schema.field("scored_at").type)
    snapshot = pa.scalar(stamp.feature_snapshot, schema.field("feature_snapshot").type)
    constants = (record.model, record.version, stamp.alias, scored_at, snapshot)
    rows = infinite = 0
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=[RECORD_ID, *record.features]):
            if not batch.num_rows:
                continue
            matrix, found = to_matrix(batch, record.features)
            infinite += found
            score = predict(estimator, matrix, record.features)
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
            pa.field("feature_snapshot", pa.date32()),
        ]
    )


if __name__ == "__main__":
    run_script(main, ScoringError)
