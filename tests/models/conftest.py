"""The registry of models on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from resources.control import ControlDatabase
from resources.model_registry import ModelRegistry, VersionRecord
from tests.postgresql_server import RunningPostgresql, run_postgresql

MODEL = "sales"


@pytest.fixture(scope="package")
def postgresql() -> Iterator[RunningPostgresql]:
    with run_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def models(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelRegistry]:
    if request.param == "sqlite":
        yield ControlDatabase().models
        return
    with request.getfixturevalue("postgresql").database() as url:
        monkeypatch.setenv("ADFML_CONTROL_URL", url.render_as_string(hide_password=False))
        yield ControlDatabase().models


def record(version: str, **values: Any) -> VersionRecord:
    """A version as its collecting run registers it."""
    known: dict[str, Any] = {
        "run_id": f"run-{version}",
        "submission_key": f"ml/models/sales_job|{version}|1",
        "model_file": "model.skops",
        "model_sha256": version * 8,
        "features_sha256": "f" * 64,
        "metrics": {"test": {"mae": 10.0 / int(version), "r2": None}},
    }
    return VersionRecord(model=MODEL, version=version, **{**known, **values})


def add_passed(models: ModelRegistry, *versions: str, compared_to: str | None = None) -> None:
    """Versions that were registered and passed the gate."""
    for version in versions:
        models.register(record(version))
        models.judge(MODEL, version, "passed", "It is better.", compared_to)


def promote_each(models: ModelRegistry, *versions: str) -> None:
    """Versions that became champion one after the other."""
    for version in versions:
        add_passed(models, version, compared_to=models.aliases(MODEL).get("champion"))
        models.promote(MODEL, version, "somebody", "better")
