"""A feature set's statement as a job elsewhere takes it, and what is verified of the features it leaves."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from adfml_assets import lake_layout
from adfml_assets.errors import WrongResult
from adfml_assets.features.definition import FeatureSetSpec
from adfml_assets.features.feature_set import FILE, Plan
from adfml_assets.features.result import examine_result
from adfml_assets.features.spark_engine import build_spark_cut
from resources.errors import NotFound
from resources.lake import Lake
from resources.manifest import FILE_NAME as MANIFEST_FILE
from resources.manifest import Manifest, build_manifest, commit_manifest

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class WrittenStatement:
    """A statement in the lake.

    Attributes:
        name: its file's name, made of what is in it: the same statement over the same tables has the same.
        path: of the file in the lake.
        sha256: of its bytes.
    """

    name: str
    path: str
    sha256: str


def write_statement(lake: Lake, plan: Plan) -> WrittenStatement:
    """Write what a job needs into one JSON file, and the definition's own tables beside it.

    The file holds: `statement` (Spark SQL), `tables` (name -> `paths` of Parquet files as the job reaches them, and
    `where`, the condition that cuts off what is later), `schema` (of the result: an Arrow schema, base64), `columns`
    (the same, to be read), and `before`, `origin`, `facts` for the manifest of what comes back.
    """
    folder = lake_layout.features_job_folder(plan.spec.name, plan.day)
    tables: dict[str, dict[str, Any]] = {}
    for name, source in plan.sources.items():
        cut = build_spark_cut(source, plan.before)
        tables[name] = {"paths": [lake.uri(path) for path in source.paths], "where": cut}
    for name, table in plan.statement.constants.items():
        digest = hashlib.sha256(table.schema.serialize().to_pybytes() + repr(table.to_pylist()).encode()).hexdigest()
        written = lake.write_table(f"{folder}/{name}-{digest[:16]}.parquet", table)
        tables[name] = {"paths": [lake.uri(written.path)], "where": None}
    schema = plan.statement.schema
    content = {
        "feature_set": plan.spec.name,
        "partition": plan.day,
        "statement": plan.statement.spark,
        "tables": tables,
        "columns": [[column.name, str(column.type)] for column in schema],
        "schema": base64.b64encode(schema.serialize().to_pybytes()).decode(),
        "before": plan.before.isoformat(),
        "origin": plan.origin,
        "facts": plan.facts,
    }
    data = json.dumps(content, indent=2, default=str).encode()
    sha256 = hashlib.sha256(data).hexdigest()
    name = f"{sha256[:16]}.json"
    lake.write_bytes(f"{folder}/{name}", data)
    return WrittenStatement(name, f"{folder}/{name}", sha256)


def collect_features(
    lake: Lake,
    spec: FeatureSetSpec,
    day: str,
    statement: str,
    *,
    submission: Mapping[str, Any],
    asset: str,
    now: datetime,
    run_id: str,
) -> tuple[str, Manifest]:
    """Verify the features that a job left and make them visible. Returns folder and manifest.

    The job has put them in the place of the day's earlier ones: the manifest of those vouches for nothing any more, and
    a day whose features cannot be used has none.

    Args:
        statement: the name of the file that the job was submitted with.
        submission: what to note of the job in the manifest.

    Raises:
        WrongResult: the job left no file, or one with other columns or types than the statement gives.
        DuplicateFeatures, KeyMissing, WrongDate: it has rows that cannot be.
    """
    import pyarrow as pa

    given = json.loads(lake.read_bytes(f"{lake_layout.features_job_folder(spec.name, day)}/{statement}"))
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(given["schema"])))
    folder = lake_layout.features_folder(spec.name, day)
    path = f"{folder}/{FILE}"
    lake.delete(f"{folder}/{MANIFEST_FILE}")
    _require_schema(lake, path, schema)
    dates = [date.fromisoformat(day) for day in given["facts"]["feature_dates"]] if spec.rows != "event" else None
    with lake.local_copy(path) as file:
        found = examine_result(spec, schema, [file], datetime.fromisoformat(given["before"]), dates)
    manifest = build_manifest(
        asset=asset,
        partition=day,
        files=[lake.describe_file(path)],
        schema=schema,
        written_at=now,
        run_id=run_id,
        source={**given["origin"], "job": dict(submission)},
        facts={**given["facts"], **found.facts},
    )
    commit_manifest(lake, folder, manifest)
    return folder, manifest


def _require_schema(lake: Lake, path: str, schema: pa.Schema) -> None:
    import pyarrow.parquet as pq

    try:
        with lake.open_file(path) as file:
            found = pq.read_schema(file)
    except NotFound:
        raise WrongResult(path, "the features that the job writes", "no file") from None
    if not found.equals(schema):
        expected, got = (", ".join(f"{column.name} {column.type}" for column in one) for one in (schema, found))
        raise WrongResult(path, expected, got)
