"""What the tests of anomalies share: machines with sensors that follow one load, detectors, and the component."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from adfml_assets import lake_layout
from adfml_assets.anomalies.declared import DetectorSpec, FitRules
from adfml_assets.anomalies.detecting import Detection, detect_anomalies
from adfml_assets.anomalies.readings import ArchivedSource
from adfml_assets.components import DetectedAnomalies
from resources.database import Databases
from resources.lake import Lake
from resources.manifest import Manifest, build_manifest, commit_manifest, read_manifest

DAY = "2026-03-10"
START = datetime(2026, 2, 18, tzinfo=UTC)
VARIABLES = ("Temperature", "Pressure", "Vibration", "Current", "Speed")
WEIGHTS = np.array([1.0, 0.8, -0.9, 1.1, 0.7])
MIDDLES = np.array([60.0, 5.0, 3.0, 110.0, 1450.0])
SWINGS = np.array([8.0, 0.6, 0.5, 20.0, 90.0])
STEPS_A_DAY = 144
NAME = "shop.main.SensorReadings"
SPEC = DetectorSpec("press", "ReadingTime", VARIABLES, fit=FitRules(14))


def make_load(days: float = 21, seed: int = 0) -> np.ndarray:
    """A machine's load every ten minutes from START: a day's rhythm and a slow wander."""
    rng = np.random.default_rng(seed)
    count = int(days * STEPS_A_DAY)
    rhythm = np.cos(2 * np.pi * np.arange(count) / STEPS_A_DAY)
    wander = np.convolve(rng.normal(size=count + 35), np.ones(36) / 36, "valid")
    return rhythm + 0.6 * wander


def make_values(days: float = 21, seed: int = 0, noise: float = 0.08) -> np.ndarray:
    """Sensors that follow the load, a column each; row 0 is at START, the last day of 21 is DAY."""
    rng = np.random.default_rng(seed + 1000)
    load = make_load(days, seed)
    return MIDDLES + SWINGS * (np.outer(load, WEIGHTS) + noise * rng.normal(size=(len(load), len(WEIGHTS))))


def make_times(count: int, minutes: float = 10) -> list[datetime]:
    return [START + timedelta(minutes=minutes * step) for step in range(count)]


def to_table(values: np.ndarray, times: list[datetime] | None = None, **columns: Any) -> pa.Table:
    """Readings as they are archived; `columns` are further ones, or others."""
    moments = pa.array(times or make_times(len(values)), pa.timestamp("us", tz="UTC"))
    numbers = {name: pa.array(values[:, at]) for at, name in enumerate(VARIABLES)}
    return pa.table({"ReadingTime": moments, **numbers, **columns})


def row_of(day_of_window: float) -> int:
    """The row so many days after the beginning of DAY."""
    begin = datetime.fromisoformat(DAY).replace(tzinfo=UTC)
    return int(((begin - START) / timedelta(days=1) + day_of_window) * STEPS_A_DAY)


def archive(lake: Lake, table: pa.Table, day: str = DAY) -> ArchivedSource:
    """A snapshot of the readings in the lake."""
    folder = lake_layout.archive_folder("shop", "main", "SensorReadings", day)
    file = lake.write_table(f"{folder}/SensorReadings_1.parquet", table)
    manifest = build_manifest(
        asset="archive/shop/main/SensorReadings",
        partition=day,
        files=[file],
        schema=table.schema,
        written_at=datetime(2026, 3, 10, 5, tzinfo=UTC),
        run_id="r",
    )
    commit_manifest(lake, folder, manifest)
    return ArchivedSource(NAME, lake, folder, manifest)


def detect(lake: Lake, table: pa.Table, spec: DetectorSpec = SPEC, day: str = DAY, **options: Any) -> Detection:
    """Archive the readings and check a day of them."""
    now = datetime(2026, 3, 11, 1, tzinfo=UTC)
    return detect_anomalies(lake, spec, archive(lake, table, day), day, asset="a", now=now, run_id="r", **options)


def read_rows(lake: Lake, found: Detection) -> pa.Table:
    return lake.read_table(f"{found.folder}/anomalies.parquet")


def anomalous_rows(lake: Lake, found: Detection) -> set[int]:
    """Rows (as `row_of` counts them) that are anomalies."""
    rows = read_rows(lake, found).to_pylist()
    step = timedelta(minutes=10)
    return {int((row["timestamp"] - START) / step) for row in rows if row["is_anomaly"]}


@pytest.fixture
def shop_of_sensors(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A shop with the sample's table of readings, two machines over 21 days, the second with a fault on DAY."""
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        numbers = ", ".join(f"{name} FLOAT NOT NULL" for name in VARIABLES)
        connection.execute(
            "CREATE TABLE SensorReadings (ReadingId INTEGER PRIMARY KEY, MachineId VARCHAR(20) NOT NULL, "
            f"ReadingTime DATETIME NOT NULL, {numbers})"
        )
        for seed, machine in enumerate(("PRESS-01", "PRESS-02")):
            values = make_values(seed=seed)
            if machine == "PRESS-02":
                values[row_of(0.4) : row_of(0.4) + 12, 1] += 1.5
            moments = [f"{time:%Y-%m-%d %H:%M:%S}.000000" for time in make_times(len(values))]
            rows = [(machine, moment, *map(float, row)) for moment, row in zip(moments, values, strict=True)]
            names = f"MachineId, ReadingTime, {', '.join(VARIABLES)}"
            connection.executemany(f"INSERT INTO SensorReadings ({names}) VALUES (?, ?{', ?' * len(VARIABLES)})", rows)
        connection.commit()
        yield connection


Declare = Callable[..., DetectedAnomalies]


@pytest.fixture
def declare() -> Declare:
    """A declaration over the shop's readings, with changes."""

    def build(**changes: Any) -> DetectedAnomalies:
        declared = {
            "name": "press",
            "source": NAME,
            "timestamp": "ReadingTime",
            "variables": list(VARIABLES),
            "by": "MachineId",
            "fit": {"window_days": 14},
            "write_back": {"table": "shop.main.Anomalies"},
            "read_from": "database",
        }
        return load_declaration({**declared, **changes})

    return build


def load_declaration(attributes: Mapping[str, Any]) -> DetectedAnomalies:
    """A component as a defs.yaml would give it."""
    context = dg.ComponentTree.for_test().load_context
    model = DetectedAnomalies.get_model_cls()
    assert model is not None
    return DetectedAnomalies.resolve_from_model(context.resolution_context, model.model_validate(attributes))


def build_defs(component: DetectedAnomalies) -> dg.Definitions:
    """What a declaration makes, with the resources of a deployment."""
    bound = dg.Definitions(resources={"lake": Lake(), "databases": Databases()})
    return dg.Definitions.merge(component.build_defs(dg.ComponentTree.for_test().load_context), bound)


def materialise(component: DetectedAnomalies, day: str = DAY, **options: Any) -> dg.ExecuteInProcessResult:
    """Everything a declaration makes of a day, through Dagster."""
    defs = build_defs(component)
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            [*(defs.assets or [])],
            partition_key=day,
            instance=instance,
            resources={"lake": Lake(), "databases": Databases()},
            **options,
        )


def read_partition(lake: Lake, name: str = "press", day: str = DAY) -> tuple[str, Manifest]:
    folder = lake_layout.anomalies_folder(name, day)
    manifest = read_manifest(lake, folder)
    assert manifest is not None
    return folder, manifest
