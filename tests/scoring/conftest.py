"""Features, versions of a model and a service that scores at once: what tests of a scored model do over and over."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from adfml_assets import lake_layout, scoring_assets
from adfml_assets.components.remote_engine import RemoteEngine
from adfml_assets.components.scored_model import ScoredModel, ScoringQuery, WriteBack
from adfml_assets.features.categories import expanded_names
from adfml_assets.training.feature_lists import hash_features
from resources.control import ControlDatabase
from resources.database import Databases
from resources.lake import Lake
from resources.manifest import Manifest, build_manifest, commit_manifest, read_manifest
from resources.model_registry import VersionRecord
from resources.remote_jobs import RemoteJob, RemoteRun, RemoteStatus
from sensors.polling import advance_jobs
from tests.conftest import NOW, TODAY

MODEL = "spend"
FEATURES = ("recency", "amount")
DEFINITION = "d" * 64
FEATURE_DATE = date(2026, 3, 9)
EARLIER = FEATURE_DATE - timedelta(days=30)


def category(*counts: tuple[str, int]) -> list[dict[str, Any]]:
    """A value of a category column."""
    return [{"name": name, "count": count} for name, count in counts]


CATEGORY_TYPE = pa.list_(pa.struct([("name", pa.string()), ("count", pa.int64())]))


def make_features(rows: int = 3, **columns: Any) -> pa.Table:
    """Customers 1, 2, 3 ... as of two dates, the features of the earlier one all 0."""
    ids = list(range(1, rows + 1))
    newest = {"recency": pa.array(ids, pa.int32()), "amount": pa.array([i * 1.5 for i in ids], pa.float64()), **columns}
    parts = []
    for day in (EARLIER, FEATURE_DATE):
        table = {"CustomerId": pa.array(ids, pa.int64()), "feature_date": pa.array([day] * rows, pa.date32())}
        parts.append(pa.table({**table, **newest}))
    return pa.concat_tables(parts)


def put_features(lake: Lake, table: pa.Table, day: str = TODAY, **facts: Any) -> None:
    """A feature set's snapshot of a day."""
    folder = lake_layout.features_folder("customers", day)
    written = lake.write_table(f"{folder}/features.parquet", table)
    said = {
        "key": "CustomerId",
        "rows": "feature_date",
        "feature_date": FEATURE_DATE.isoformat(),
        "definition_sha256": DEFINITION,
        "parameters": {"window_days": 30},
        **facts,
    }
    manifest = build_manifest(
        asset="f", partition=day, files=[written], schema=table.schema, written_at=NOW, run_id="r", facts=said
    )
    commit_manifest(lake, folder, manifest)


def put_model(
    lake: Lake,
    control: ControlDatabase,
    version: str = "1",
    features: Sequence[str] = FEATURES,
    *,
    alias: str | None = "champion",
    definition: str = DEFINITION,
    pinned: Mapping[str, Sequence[str]] | None = None,
    **metadata: Any,
) -> None:
    """A version in the lake and the registry, as training leaves it."""
    names = expanded_names(features, pinned or {})
    said = {
        "model": MODEL,
        "version": version,
        "features": names,
        "features_sha256": hash_features(definition, names, pinned or {}),
        "definition_sha256": definition,
        "pinned": dict(pinned or {}),
        **metadata,
    }
    lake.write_bytes(f"{lake_layout.model_folder(MODEL, version)}/metadata.json", json.dumps(said).encode())
    sha256 = version.zfill(64)
    control.models.register(VersionRecord(MODEL, version, "r", "model.skops", sha256, said["features_sha256"]))
    if alias is not None:
        control.models.point(MODEL, alias, version, "r", "test")


@dataclass
class AtOnce:
    """A Databricks that has scored a job by the time it is asked for it: the score is the sum of the features."""

    name: str = "databricks"
    resends_safely: bool = True
    submitted: list[Mapping[str, Any]] = field(default_factory=list)

    def prepare(self, job: RemoteJob) -> Mapping[str, Any]:
        return {}

    def submit(self, job: RemoteJob) -> RemoteRun:
        self.submitted.append(job.request)
        asked = job.request["parameters"]
        records = pq.read_table(asked["input_path"], partitioning=None)
        rows, score = records.num_rows, [0.0] * records.num_rows
        for name in records.column_names[1:]:
            score = [total + float(value or 0) for total, value in zip(score, records[name].to_pylist(), strict=True)]
        table = pa.table(
            {
                "RecordId": records["RecordId"],
                "score": pa.array(score, pa.float64()),
                "model": [asked["model_name"]] * rows,
                "version": [asked["model_version"]] * rows,
                "alias": [asked["model_alias"]] * rows,
                "scored_at": pa.array([datetime.now(UTC)] * rows, pa.timestamp("us", tz="UTC")),
                "feature_snapshot": pa.array([date.fromisoformat(asked["feature_snapshot"])] * rows, pa.date32()),
            }
        )
        folder = Path(asked["output_path"])
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / "predictions.parquet")
        return RemoteRun(str(len(self.submitted)), None)

    def find(self, job: RemoteJob) -> RemoteRun | None:
        return None

    def poll(self, jobs: Sequence[RemoteJob], stop_at: float) -> Iterator[tuple[RemoteJob, RemoteStatus]]:
        for job in jobs:
            yield job, RemoteStatus("succeeded", "SUCCESS")

    def cancel(self, job: RemoteJob) -> None:
        return None


@dataclass
class Site:
    """The assets of a declaration, materialised one by one as Dagster's daemon would."""

    lake: Lake
    control: ControlDatabase
    databases: Databases
    service: AtOnce
    model: ScoredModel
    instance: dg.DagsterInstance

    @cached_property
    def assets(self) -> list[Any]:
        return list(dg.build_defs_for_component(self.model).assets or [])

    def run(
        self, *names: str, day: str = TODAY, config: Mapping[str, Any] | None = None, fails: bool = False
    ) -> dg.ExecuteInProcessResult:
        """Materialise some of `input`, `job`, `scores` and `table`, with the config of the first."""
        keys = {
            "input": f"ml/scoring_input/{MODEL}",
            "job": f"ml/scores/{MODEL}_job",
            "scores": f"ml/scores/{MODEL}",
            "table": "database/shop/main/Predictions",
        }
        op = keys[names[0]].replace("/", "__")
        result = dg.materialize(
            self.assets,
            selection=[dg.AssetKey(keys[name].split("/")) for name in names],
            partition_key=day,
            run_config={"ops": {op: {"config": dict(config)}}} if config else None,
            instance=self.instance,
            resources={
                "lake": self.lake,
                "control": self.control,
                "databases": self.databases,
                "databricks": dg.ResourceDefinition.hardcoded_resource(self.service),
            },
            raise_on_error=not fails,
        )
        assert result.success is not fails
        return result

    def fail(self, *names: str, **more: Any) -> str:
        """Why a run of them failed."""
        result = self.run(*names, fails=True, **more)
        error = result.get_step_failure_events()[0].step_failure_data.error
        assert error is not None
        return str(error.cause.message if error.cause else error.message)

    def settle(self) -> None:
        """As the sensor does: the jobs under way have ended."""
        now = datetime.now(UTC)
        advance_jobs(self.control.ledger, self.service, now=now, budget_seconds=20, log=logging.getLogger("test"))
        assert not self.control.ledger.list_outstanding()

    def score(self, day: str = TODAY) -> None:
        """The whole day."""
        self.run("input", "job", day=day)
        self.settle()
        self.run("scores", "table", day=day)

    def read_input(self, day: str = TODAY) -> tuple[pa.Table, Manifest]:
        folder = lake_layout.scoring_input_folder(MODEL, day)
        manifest = read_manifest(self.lake, folder)
        assert manifest is not None
        return self.lake.read_table(f"{folder}/scoring_input.parquet"), manifest

    def read_scores(self, day: str = TODAY) -> tuple[pa.Table, Manifest]:
        folder = lake_layout.scores_folder(MODEL, day)
        manifest = read_manifest(self.lake, folder)
        assert manifest is not None
        return self.lake.read_table(f"{folder}/predictions.parquet"), manifest


def declare(**values: Any) -> ScoredModel:
    given: dict[str, Any] = {"from_features": "customers", **values}
    return ScoredModel(MODEL, RemoteEngine("scoring"), WriteBack("shop.main.Predictions"), **given)


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(lake: Lake, control: ControlDatabase, databases: Databases, monkeypatch: pytest.MonkeyPatch) -> MakeSite:
    monkeypatch.setattr(scoring_assets, "utc_now", lambda: NOW)
    with dg.DagsterInstance.ephemeral() as instance:
        yield lambda **values: Site(lake, control, databases, AtOnce(), declare(**values), instance)


@pytest.fixture
def site(make_site: MakeSite, shop: sqlite3.Connection) -> Site:
    """A day's features, and a champion that takes them."""
    site = make_site()
    put_features(site.lake, make_features())
    put_model(site.lake, site.control)
    return site


QUERY = ScoringQuery("shop.main.ScoringFeatures", "Id", "ScoredDate IS NULL", "ScoredDate")


@pytest.fixture
def waiting(shop: sqlite3.Connection) -> sqlite3.Connection:
    """The shop, with a table of rows that wait to be scored."""
    shop.execute(
        "CREATE TABLE ScoringFeatures (Id INTEGER PRIMARY KEY, name VARCHAR(20), amount DOUBLE, recency INTEGER, "
        "ScoredDate DATETIME)"
    )
    shop.commit()
    return shop


def add_rows(shop: sqlite3.Connection, *ids: int, amount: float = 1.0) -> None:
    shop.executemany(
        "INSERT OR REPLACE INTO ScoringFeatures (Id, name, amount, recency) VALUES (?, 'n', ?, ?)",
        [(one, amount, one) for one in ids],
    )
    shop.commit()
