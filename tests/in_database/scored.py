"""Rows that wait in a real database, versions of a model that score them there, and runs of the asset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from sklearn.ensemble import HistGradientBoostingRegressor
from skops import io

from adfml_assets import in_database_assets, lake_layout
from adfml_assets.components.in_database_engine import InDatabaseEngine
from adfml_assets.components.scored_model import ScoredModel, ScoringQuery, WriteBack
from adfml_assets.in_database.run import ScoredRows, score_today
from adfml_assets.in_database.spec import InDatabaseSpec
from adfml_assets.scoring.model_choice import ModelChoice
from adfml_assets.scoring.predictions import Target
from adfml_assets.scoring.source_rows import SourceSpec
from resources.control import ControlDatabase
from resources.database import Databases
from resources.lake import Lake
from resources.model_registry import VersionRecord
from tests.conftest import NOW, TODAY
from tests.in_database.shops import open_shop

MODEL = "spend"
FEATURES = ("recency", "amount")
SCHEMAS = {"sqlite": "main", "duckdb": "main", "postgresql": "public"}
TARGET_COLUMNS = (
    "RecordId",
    "Score",
    "ModelName",
    "ModelVersion",
    "ModelAlias",
    "ScoredAt",
    "FeatureSnapshot",
    "SnapshotDate",
)


@cache
def train(seed: int = 0) -> HistGradientBoostingRegressor:
    """A model of two features that takes missing values."""
    random = np.random.default_rng(seed)
    rows = pd.DataFrame(random.normal(0, 10, (300, 2)), columns=list(FEATURES)).mask(random.random((300, 2)) < 0.1)
    model = HistGradientBoostingRegressor(max_iter=10, min_samples_leaf=5, random_state=seed)
    return model.fit(rows, rows["recency"].fillna(3) * 2 + rows["amount"].fillna(-1))


def put_version(
    lake: Lake,
    control: ControlDatabase,
    model: Any,
    version: str = "1",
    *,
    features: Sequence[str] = FEATURES,
    alias: str | None = "champion",
    file: str = "model.skops",
    sha256: str | None = None,
    **metadata: Any,
) -> None:
    """A version in the lake and the registry, as training leaves it."""
    content = io.dumps(model) if file == "model.skops" else b"a model of another kind"
    digest = hashlib.sha256(content).hexdigest()
    said = {
        "model": MODEL,
        "version": version,
        "features": list(features),
        "features_sha256": "f" * 64,
        "model_file": file,
        "model_sha256": digest,
        **metadata,
    }
    folder = lake_layout.model_folder(MODEL, version)
    lake.write_bytes(f"{folder}/{file}", content)
    lake.write_bytes(f"{folder}/metadata.json", json.dumps(said).encode())
    control.models.register(VersionRecord(MODEL, version, "r", file, sha256 or digest, "f" * 64))
    if alias is not None:
        control.models.point(MODEL, alias, version, "r", "test")


@dataclass
class Place:
    """A database with rows that wait, and a model."""

    kind: str
    engine: sa.Engine
    lake: Lake
    control: ControlDatabase
    databases: Databases
    now: datetime = NOW
    where: str | None = '"ScoredDate" IS NULL'
    table: str = "Waiting"

    @property
    def schema(self) -> str:
        return SCHEMAS[self.kind]

    @property
    def spec(self) -> InDatabaseSpec:
        source = SourceSpec("shop", self.schema, self.table, "Id", self.where, "ScoredDate")
        target = Target("shop", self.schema, "Predictions", ("RecordId", "ModelName"))
        return InDatabaseSpec(MODEL, ModelChoice("champion", None), source, target)

    def execute(self, *statements: str) -> None:
        with self.engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def fetch(self, statement: str) -> list[Any]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(statement)]

    def make_table(self, key: str = "INTEGER PRIMARY KEY", dated: str = "TIMESTAMP") -> None:
        """An empty table of rows that wait."""
        columns = f'"Id" {key}, name VARCHAR(20), amount DOUBLE PRECISION, recency INTEGER, "ScoredDate" {dated}'
        self.execute(f'CREATE TABLE "{self.table}" ({columns})')

    def add(self, *rows: tuple[Any, float | None, int | None]) -> None:
        """Rows of key, amount and recency."""
        with self.engine.begin() as connection:
            insert = sa.text(f'INSERT INTO "{self.table}" ("Id", name, amount, recency) VALUES (:id, :name, :a, :r)')
            connection.execute(insert, [{"id": i, "name": "n", "a": a, "r": r} for i, a, r in rows])

    def score(self, **changes: Any) -> ScoredRows:
        """Score what waits now."""
        spec = replace(self.spec, **changes)
        return score_today(self.lake, self.control, self.databases, spec, spec.choice, now=self.now)

    def read_scores(self) -> dict[Any, float]:
        return dict(self.fetch('SELECT "RecordId", "Score" FROM "Predictions"'))

    def count_scores(self) -> int:
        """Rows of the target; 0 where it was not made."""
        there = sa.inspect(self.engine).has_table("Predictions")
        return int(self.fetch('SELECT count(*) FROM "Predictions"')[0][0]) if there else 0

    def read_dates(self) -> dict[Any, Any]:
        return dict(self.fetch(f'SELECT "Id", "ScoredDate" FROM "{self.table}"'))

    def declare(self, **values: Any) -> ScoredModel:
        """The component for these rows."""
        query = ScoringQuery(f"shop.{self.schema}.{self.table}", "Id", self.where, "ScoredDate")
        given: dict[str, Any] = {
            "engine": InDatabaseEngine("in_database"),
            "write_back": WriteBack(f"shop.{self.schema}.Predictions", ("RecordId", "ModelName")),
            "from_query": query,
            **values,
        }
        return ScoredModel(MODEL, **given)

    def materialise(
        self, day: str = TODAY, *, fails: bool = False, config: Mapping[str, Any] | None = None, **values: Any
    ) -> dg.ExecuteInProcessResult:
        """Run the asset and its check, as they are declared."""
        defs = dg.build_defs_for_component(self.declare(**values))
        op = f"database__shop__{self.schema}__Predictions"
        with dg.DagsterInstance.ephemeral() as instance:
            result = dg.materialize(
                [*(defs.assets or []), *(defs.asset_checks or [])],
                partition_key=day,
                instance=instance,
                run_config={"ops": {op: {"config": dict(config)}}} if config else None,
                resources={"lake": self.lake, "control": self.control, "databases": self.databases},
                raise_on_error=not fails,
            )
        assert result.success is not fails
        return result


@contextmanager
def open_place(kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A database without a table, and no version of the model yet."""
    with open_shop(kind, request, monkeypatch) as engine:
        databases = Databases()
        monkeypatch.setattr(in_database_assets, "utc_now", lambda: NOW)
        yield Place(kind, engine, Lake(), ControlDatabase(), databases)
        databases.engine("shop").dispose()


def predict(rows: Sequence[tuple[Any, float | None, int | None]], model: Any = None) -> dict[Any, float]:
    """What the Python model itself says of rows of key, amount and recency."""
    frame = pd.DataFrame([(r, a) for _, a, r in rows], columns=list(FEATURES), dtype=float)
    scores = (model or train()).predict(frame)
    return {key: float(score) for (key, _, _), score in zip(rows, scores, strict=True)}
