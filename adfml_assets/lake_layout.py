"""Every path in the lake, in one place. A path is `container/folder/...`; days are UTC dates `YYYY-MM-DD`."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote


def encode_name(name: str) -> str:
    """A SQL identifier as one path segment: letters, digits, `_`, `-` and inner dots stay, the rest is %XX."""
    encoded = quote(name, safe="")
    return encoded.replace(".", "%2E") if set(encoded) <= {"."} else encoded


def format_timestamp(moment: datetime) -> str:
    """The `<ts>` of file names: yyyyMMddHHmmss, as the pipelines write it. Taken once a run."""
    return moment.strftime("%Y%m%d%H%M%S")


def archive_folder(database: str, schema: str, table: str, day: str) -> str:
    """Where a full snapshot of a table lies."""
    return f"archive/{_table_folder(database, schema, table)}/snapshot_date={day}"


def table_folder(database: str, schema: str, table: str) -> str:
    """Where all full snapshots of a table lie."""
    return f"archive/{_table_folder(database, schema, table)}"


def snapshot_file(table: str, moment: datetime, index: int = 0) -> str:
    """The name of a snapshot's file; those after the first are numbered."""
    return f"{encode_name(table)}_{format_timestamp(moment)}{_number(index)}.parquet"


def incremental_folder(database: str, schema: str, table: str, day: str) -> str:
    """Where an incremental extract lies."""
    return f"incremental/{_table_folder(database, schema, table)}/{_day_folders(day)}"


def increments_folder(database: str, schema: str, table: str) -> str:
    """Where all incremental extracts of a table lie."""
    return f"incremental/{_table_folder(database, schema, table)}"


def increment_file(table: str, moment: datetime, index: int = 0) -> str:
    """The name of an incremental extract's file; those after the first are numbered."""
    return f"{encode_name(table)}_incremental_{format_timestamp(moment)}{_number(index)}.parquet"


def current_folder(database: str, schema: str, table: str, day: str) -> str:
    """Where a table's current state as of a day lies, put together from snapshots and increments.

    No database may be called `current` (components refuse it), so that this is no table's folder.
    """
    return f"archive/current/{_table_folder(database, schema, table)}/snapshot_date={day}"


def feature_set_folder(feature_set: str) -> str:
    """Where all snapshots of a feature set lie."""
    return f"feature-store/{encode_name(feature_set)}"


def features_folder(feature_set: str, day: str) -> str:
    """Where the features of a snapshot lie."""
    return f"{feature_set_folder(feature_set)}/snapshot_date={day}"


def features_job_folder(feature_set: str, day: str) -> str:
    """Where the statement lies that a remote job is to build a snapshot's features by, a file a submission."""
    return f"{feature_set_folder(feature_set)}/_jobs/{day}"


def training_data_folder(model: str, version: str) -> str:
    """Where a version's training data lies: train, validation and test."""
    return f"ml/training-data/{encode_name(model)}/version={encode_name(version)}"


def model_folder(model: str, version: str) -> str:
    """Where a version's model and metadata.json lie."""
    return f"ml/models/{encode_name(model)}/version={encode_name(version)}"


def scoring_input_folder(model: str, day: str) -> str:
    """Where the records to be scored lie."""
    return f"ml/scoring-input/{encode_name(model)}/{_day_folders(day)}"


def scores_folder(model: str, day: str) -> str:
    """Where a day's predictions lie."""
    return f"ml/scores/{encode_name(model)}/{_day_folders(day)}"


def drift_folder(model: str, day: str) -> str:
    """Where it lies how far a day's records and scores are from the training data."""
    return f"ml/drift/{encode_name(model)}/{_day_folders(day)}"


def text_requests_folder(name: str, day: str) -> str:
    """Where the rows lie that a model is asked about, and below it the files that are sent and their answers."""
    return f"ml/text-requests/{encode_name(name)}/{_day_folders(day)}"


def text_scores_folder(name: str, day: str) -> str:
    """Where a day's answers lie: predictions and rejects."""
    return f"ml/text-scores/{encode_name(name)}/{_day_folders(day)}"


def anomalies_folder(detector: str, day: str) -> str:
    """Where what a detector found on a day lies."""
    return f"ml/anomalies/{encode_name(detector)}/{_day_folders(day)}"


def anomaly_model_folder(detector: str, version: str) -> str:
    """Where a version of a detector's models and its metadata.json lie; the version is the day after its fit window."""
    return f"ml/anomaly-models/{encode_name(detector)}/version={encode_name(version)}"


def batch_output_folder(model: str, partition: str) -> str:
    """Below it every job of a batch endpoint for a model's partition writes into a folder of its own.

    What lies there is no partition of anything: it stays as the record of what the service really answered.
    """
    return f"ml/batch-output/{encode_name(model)}/{encode_name(partition)}"


def _table_folder(database: str, schema: str, table: str) -> str:
    return "/".join(encode_name(name) for name in (database, schema, table))


def _number(index: int) -> str:
    return f"_{index:04d}" if index else ""


def _day_folders(day: str) -> str:
    return day.replace("-", "/")
