"""Running a definition on Spark, in this process or over Spark Connect: the same statement over the same files.

Spark writes its result as files into the lake, from where they are read in batches: so neither the driver nor this
process ever holds it, and it does not matter whether Spark is in this process or elsewhere.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adfml_assets import lake_layout
from adfml_assets.features.definition import FeatureSetSpec
from adfml_assets.features.duckdb_engine import Stage
from adfml_assets.features.errors import EngineFailed
from adfml_assets.features.sources import Source
from adfml_assets.features.statement import Statement
from resources.lake import Lake
from resources.parquet_files import build_writer

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}
"""What a session needs for DuckDB's results: UTC, and errors where a value does not fit."""


def run_on_spark(
    lake: Lake,
    spec: FeatureSetSpec,
    statement: Statement,
    sources: Mapping[str, Source],
    before: datetime,
    stage: Stage,
) -> Generator[Path, None, None]:
    """Write the result as one file, and give it when it is written.

    Args:
        before: with time zone UTC; of tables with a timestamp only rows before this moment are seen.

    Raises:
        EngineFailed: Spark cannot be started, or stopped in the middle of the work.
    """
    scratch = f"{lake_layout.features_job_folder(spec.name, 'spark')}/{uuid.uuid4().hex}"
    try:
        with _explained(spec):
            session = open_session()
            for source in sources.values():
                frame = session.read.parquet(*(lake.uri(path) for path in source.paths))
                if cut := build_spark_cut(source, before):
                    frame = frame.where(cut)
                frame.createOrReplaceTempView(source.name)
            for name, table in statement.constants.items():
                session.createDataFrame(table).createOrReplaceTempView(name)
            session.sql(str(statement.spark)).write.parquet(lake.uri(scratch))
        file = stage(0, 1)
        _gather(lake, spec, scratch, statement.schema, file)
        yield file
    finally:
        _remove(lake, scratch)


def open_session() -> SparkSession:
    """A session of its own, so that its views and settings are nobody else's.

    It belongs to this process's Spark, started where there is none: at SPARK_REMOTE (Spark Connect) where that is set,
    else on the cores of this machine.
    """
    from pyspark.sql import SparkSession

    builder: Any = SparkSession.builder.appName("adfml")
    if "SPARK_REMOTE" not in os.environ and SparkSession.getActiveSession() is None:
        cores = os.cpu_count() or 1
        builder = builder.config("spark.ui.enabled", "false").config("spark.ui.showConsoleProgress", "false")
        builder = builder.config("spark.sql.shuffle.partitions", str(4 * cores))
        if "MASTER" not in os.environ:
            builder = builder.master("local[*]")
    session = builder.getOrCreate().newSession()
    for name, value in SETTINGS.items():
        session.conf.set(name, value)
    return session


def build_spark_cut(source: Source, before: datetime) -> str | None:
    """A condition of Spark's SQL for the rows of a table before a moment; None: its rows have no time."""
    import pyarrow as pa

    if source.timestamp is None:
        return None
    kind = source.schema.field(source.timestamp).type
    moment = f"{before.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"
    zoned = pa.types.is_timestamp(kind) and kind.tz
    column = source.timestamp.replace("`", "``")
    return f"`{column}` < " + (f"TIMESTAMP'{moment}Z'" if zoned else f"TIMESTAMP_NTZ'{moment}'")


def _gather(lake: Lake, spec: FeatureSetSpec, folder: str, schema: pa.Schema, file: Path) -> None:
    """One file of the schema, of those that Spark wrote."""
    with build_writer(file, schema, {"compression": lake.compression}) as writer:
        for path in lake.list_files(folder):
            if path.endswith(".parquet"):
                for batch in lake.iter_batches(path):
                    writer.write_batch(_conform(spec, batch, schema))


def _conform(spec: FeatureSetSpec, batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A batch with the schema's columns, in its order and of its types."""
    import pyarrow as pa

    try:
        # Decimals that Spark gives more digits than the type has are rounded by SQL already; nothing is cut here.
        return batch.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise EngineFailed(spec.name, "the result of spark", reason, "the definition's types") from error


def _remove(lake: Lake, folder: str) -> None:
    for path in lake.list_files(folder):
        lake.delete(path)
    local = Path(lake.uri(folder))
    if local.is_dir():
        shutil.rmtree(local)


@contextmanager
def _explained(spec: FeatureSetSpec) -> Iterator[None]:
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        reason = " ".join(str(error).partition("\n\n")[0].partition("JVM stacktrace")[0].split())
        raise EngineFailed(
            spec.name, "Spark", reason, "the definition, the tables' values, that Java 17 is there, and SPARK_REMOTE"
        ) from error
