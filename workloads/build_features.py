"""Features job: run a feature set's statement on Spark over archived Parquet files, write one Parquet file.

Run it as a file:

    python build_features.py --statement-path …/statement.json --output-path … [--submission-key …] [--staging-path …]
"""

from __future__ import annotations

import base64
import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if not __package__:
    # Started as a file, from whatever folder a bundle was synced to: that folder is the package `workloads`.
    from importlib.util import module_from_spec, spec_from_file_location

    _folder = Path(globals().get("__file__") or sys._getframe().f_code.co_filename).resolve().parent
    _spec = spec_from_file_location("workloads", _folder / "__init__.py", submodule_search_locations=[str(_folder)])
    if _spec is None or _spec.loader is None:
        raise ImportError(f"no package in {_folder}")
    sys.modules["workloads"] = module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["workloads"])

from workloads.command_line import parse_arguments, run_script
from workloads.errors import FeaturesError, raise_as
from workloads.paths import FileArea, split_path

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

FEATURES_FILE = "features.parquet"
"""File name of the features."""

_PARTS_FOLDER = "_spark_parts"
_BATCH_ROWS = 65_536
_REQUIRED = {
    "statement_path": "the statement, a JSON file: `statement`, `tables` and `schema`",
    "output_path": "folder the features are written to",
}
_OPTIONAL = {
    "submission_key": "key of the submission, for the log",
    "staging_path": "folder of a volume that abfss files are copied through",
}
_SETTINGS = {"spark.sql.session.timeZone": "UTC", "spark.sql.ansi.enabled": "true"}
_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Build a feature set's partition as the command line says.

    Writes `<output_path>/features.parquet`, whole or not at all, with exactly the columns and types of the statement's
    `schema`. Spark writes its own files below the output path first, and they are removed again: so the driver never
    holds the result.

    Args:
        arguments: Command line without the program, `sys.argv[1:]` by default.

    Raises:
        FeaturesError: Anything about the arguments, the statement, the tables, or Spark.
    """
    with raise_as(FeaturesError):
        options = parse_arguments("build_features.py", _REQUIRED, _OPTIONAL, arguments)
        with FileArea(options["staging_path"]) as area:
            rows = _build(area, options["statement_path"], options["output_path"].rstrip("/"))
    _log.info("wrote %d rows of features, submission key %s", rows, options["submission_key"] or "none")


def _build(area: FileArea, statement_path: str, output_path: str) -> int:
    given = read_statement(area, statement_path)
    schema = _read_schema(given["schema"], statement_path)
    parts = f"{output_path}/{_PARTS_FOLDER}"
    with _explained():
        session = _open_session()
        register_tables(session, given["tables"])
    try:
        with _explained():
            session.sql(given["statement"]).write.mode("overwrite").parquet(parts)
            files = sorted(session.read.parquet(parts).inputFiles())
        with area.write(output_path, FEATURES_FILE) as path:
            return write_features(area, files, schema, path)
    finally:
        area.remove_folder(parts)


def read_statement(area: FileArea, path: str) -> dict[str, Any]:
    """Read a statement's file.

    Raises:
        FeaturesError: It is none.
    """
    try:
        given = json.loads(area.read(*split_path(path)).read_text(encoding="utf-8"))
    except ValueError as error:
        raise FeaturesError(f"{path} is no JSON ({error}): submit the features again", path=path) from error
    missing = [name for name in ("statement", "tables", "schema") if not isinstance(given, dict) or name not in given]
    if missing:
        raise FeaturesError(f"{path} has no {', '.join(missing)}: submit the features again", missing=missing)
    return dict(given)


def register_tables(session: SparkSession, tables: Mapping[str, Mapping[str, Any]]) -> None:
    """Let names stand for Parquet files, each without the rows that its condition cuts off.

    Args:
        session: Spark's.
        tables: Name -> `paths`, and `where`, a condition of Spark's SQL or None.
    """
    for name, table in tables.items():
        frame = session.read.parquet(*table["paths"])
        if table["where"]:
            frame = frame.where(table["where"])
        frame.createOrReplaceTempView(name)


def write_features(area: FileArea, files: Sequence[str], schema: pa.Schema, path: Path) -> int:
    """Write the rows of Spark's files into one, with a schema's columns and types. Returns the rows written.

    Raises:
        FeaturesError: A column is missing, or a value does not fit its type.
    """
    import pyarrow as pa
    from pyarrow import parquet

    rows = 0
    with parquet.ParquetWriter(path, schema, compression="snappy") as writer:
        for file in files:
            # Spark's older kind of timestamp has nanoseconds, which end in the year 2262.
            opened = parquet.ParquetFile(_to_local(area, file), coerce_int96_timestamp_unit="us")
            missing = [name for name in schema.names if name not in opened.schema_arrow.names]
            if missing:
                found = opened.schema_arrow.names
                raise FeaturesError(f"the statement gives no {', '.join(missing)}; it gives {', '.join(found)}")
            for batch in opened.iter_batches(_BATCH_ROWS):
                try:
                    writer.write_batch(batch.select(schema.names).cast(schema))
                except pa.ArrowInvalid as error:
                    raise FeaturesError(f"a value does not fit its column's type ({error})") from error
                rows += batch.num_rows
    return rows


def _to_local(area: FileArea, file: str) -> Path:
    parts = urlsplit(file)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else area.read(*split_path(file))


def _read_schema(text: str, path: str) -> pa.Schema:
    import pyarrow as pa

    try:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))
    except (ValueError, pa.ArrowInvalid) as error:
        raise FeaturesError(f"{path}: its schema cannot be read ({error}): submit the features again") from error


def _open_session() -> SparkSession:
    from pyspark.sql import SparkSession

    builder: Any = SparkSession.builder
    session: SparkSession = builder.getOrCreate()
    for name, value in _SETTINGS.items():
        session.conf.set(name, value)
    return session


@contextmanager
def _explained() -> Iterator[None]:
    from pyspark.errors import PySparkException

    try:
        yield
    except PySparkException as error:
        reason = str(error).partition("\n\n")[0].partition("JVM stacktrace")[0]
        raise FeaturesError(f"Spark could not build the features: {reason}") from error


if __name__ == "__main__":
    run_script(main, FeaturesError)
