"""The ledger on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from resources.control import ControlDatabase
from resources.ledger import Ledger
from resources.remote_jobs import RemoteJob
from tests.postgresql_server import RunningPostgresql, run_postgresql


@pytest.fixture(scope="package")
def postgresql() -> Iterator[RunningPostgresql]:
    with run_postgresql() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    if request.param == "sqlite":
        yield ControlDatabase().ledger
        return
    with request.getfixturevalue("postgresql").database() as url:
        monkeypatch.setenv("ADFML_CONTROL_URL", url.render_as_string(hide_password=False))
        yield ControlDatabase().ledger


def open_shards(ledger: Ledger, *shards: Any, run_id: str = "run", identity: str | None = None) -> list[RemoteJob]:
    """The intents of a partition's shards."""
    more = {} if identity is None else {"identity": identity}
    return ledger.open_jobs(
        asset="ml/text_job",
        collecting_asset="ml/text",
        partition="2026-03-10",
        service="openai_batch",
        requests=[{"shard": shard, **more} for shard in shards],
        deadline=timedelta(hours=1),
        max_tries=2,
        run_id=run_id,
    )
