"""Snapshots of a feature set and of a table, written as the assets write them, and training data made of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from adfml_assets import lake_layout
from adfml_assets.features.definition import TableRef
from adfml_assets.training.choice import Asked
from adfml_assets.training.spec import FeaturesSource, LabelSpec, QuerySource
from adfml_assets.training.training_data import build_training_data
from resources.database import Databases
from resources.lake import Lake
from resources.manifest import Manifest, build_manifest, commit_manifest

NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)
FIRST = date(2025, 1, 1)
SET, TABLE = "spending", "shop.main.Events"
TOLD_NOTHING = Asked()
CATEGORIES = pa.list_(pa.struct([("name", pa.string()), ("count", pa.int64())]))
LABEL = LabelSpec("spend", "tests.training.labels.add_up", 30, "amount_30d", {"events": TableRef(TABLE)})
FROM_FEATURES = FeaturesSource(SET)
FROM_QUERY = QuerySource("shop.main.TrainingFeatures", "CustomerId", "FeatureDate")
QUERY_LABEL = LabelSpec("Spend", None, 30, "Amount30d")


def day(number: int) -> date:
    """The n-th day of the tests' calendar."""
    return FIRST + timedelta(days=number)


@dataclass(frozen=True)
class Built:
    """Training data as it was made."""

    lake: Lake
    folder: str
    manifest: Manifest
    card: dict[str, Any]

    def read(self, split: str) -> pa.Table:
        return self.lake.read_table(f"{self.folder}/{split}.parquet")

    @property
    def hashes(self) -> dict[str, str]:
        return {file.name: file.sha256 for file in self.manifest.files}


@dataclass
class World:
    """What is in the lake: features and events of a few keys."""

    lake: Lake
    databases: Databases
    keys: Sequence[int] = (1, 2, 3)
    label: LabelSpec = LABEL
    source: FeaturesSource | QuerySource = FROM_FEATURES
    version: str = "1"
    facts: dict[str, Any] = field(default_factory=dict)

    def write_events(self, snapshot: date, last: int) -> None:
        """One event a key and day up to the n-th day; the amount is the day's number."""
        rows = [(key, number) for number in range(last + 1) for key in self.keys]
        table = pa.table(
            {
                "Id": pa.array([key for key, _ in rows], pa.int64()),
                "day": pa.array([day(number) for _, number in rows], pa.date32()),
                "amount": pa.array([float(number) for _, number in rows], pa.float64()),
            }
        )
        self._commit(lake_layout.archive_folder("shop", "main", "Events", snapshot.isoformat()), snapshot, table, {})

    def write_features(
        self,
        snapshot: date,
        dates: Sequence[date],
        columns: Mapping[str, Callable[[int, date], Any]] | None = None,
        types: Mapping[str, pa.DataType] | None = None,
        **facts: Any,
    ) -> None:
        """A snapshot of the feature set: a row a key and date, columns by a function of both."""
        columns = columns or {"amount_30d": lambda key, when: float((when - FIRST).days + key)}
        rows = [(key, when) for when in dates for key in self.keys]
        types = types or {}
        table = pa.table(
            {
                "Id": pa.array([key for key, _ in rows], pa.int64()),
                "feature_date": pa.array([when for _, when in rows], pa.date32()),
                **{name: pa.array([give(*row) for row in rows], types.get(name)) for name, give in columns.items()},
            }
        )
        stated = {
            "key": "Id",
            "rows": "feature_date",
            "event_time": None,
            "feature_date": max(dates).isoformat() if dates else None,
            "feature_dates": [when.isoformat() for when in dates],
            "first_event": FIRST.isoformat(),
            "last_event": datetime(snapshot.year, snapshot.month, snapshot.day, 20).isoformat(),
            "features": list(columns),
            "definition_sha256": "d" * 64,
        }
        folder = lake_layout.features_folder(SET, snapshot.isoformat())
        self._commit(folder, snapshot, table, {**stated, **self.facts, **facts})

    def build(self, asked: Asked = TOLD_NOTHING, now: datetime = NOW, **changes: Any) -> Built:
        """Training data of the declared source and label, with changes to the label."""
        label = replace(self.label, **changes)
        common: dict[str, Any] = {"asset": "ml/training_data/m", "now": now, "run_id": "r"}
        built = build_training_data(self.lake, self.databases, "m", self.version, self.source, label, asked, **common)
        return Built(self.lake, *built)

    def _commit(self, folder: str, snapshot: date, table: pa.Table, facts: dict[str, Any]) -> None:
        written = self.lake.write_table(f"{folder}/data.parquet", table)
        manifest = build_manifest(
            asset="a",
            partition=snapshot.isoformat(),
            files=[written],
            schema=table.schema,
            written_at=NOW,
            run_id="r",
            facts=facts,
        )
        commit_manifest(self.lake, folder, manifest)


@pytest.fixture
def world(lake: Lake, databases: Databases) -> World:
    """An empty lake."""
    return World(lake, databases)


@pytest.fixture
def one_snapshot(world: World) -> World:
    """300 days of events, and features of every tenth day."""
    world.write_events(day(300), 300)
    world.write_features(day(300), [day(number) for number in range(30, 301, 10)])
    return world


@pytest.fixture
def many_snapshots(world: World) -> World:
    """A snapshot every tenth day, each with features of three dates."""
    world.source = FeaturesSource(SET, "each")
    world.write_events(day(300), 300)
    for number in range(30, 301, 10):
        write_daily_features(world, number)
    return world


def write_daily_features(world: World, number: int) -> None:
    """The n-th day's snapshot: its own date and two earlier ones. The feature says which snapshot it is of."""
    dates = [day(number - back) for back in (20, 10, 0)]
    world.write_features(day(number), dates, {"amount_30d": lambda key, when: float(number)})


@pytest.fixture
def table(world: World, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """TrainingFeatures of a source database, with 300 days of two customers."""
    world.source, world.label = FROM_QUERY, QUERY_LABEL
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(
            'CREATE TABLE TrainingFeatures (CustomerId INTEGER, FeatureDate DATE, "Amount30d" DECIMAL(12, 2), '
            "Purchases INTEGER, Ratio REAL, IsNew BOOLEAN, City VARCHAR(20), Spend DECIMAL(12, 2))"
        )
        connection.executemany(
            "INSERT INTO TrainingFeatures VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (customer, day(number).isoformat(), number + 0.25, number, number / 7, number % 2, "Lund", number * 2.5)
                for number in range(0, 300, 10)
                for customer in (1, 2)
            ],
        )
        connection.commit()
        yield connection
