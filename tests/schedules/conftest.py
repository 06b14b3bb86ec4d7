"""The declared pipelines, loaded once, and instances with a history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import RepoBackedJob
from dagster._core.execution.api import execute_run_iterator

FIRST_DAY = datetime.now(UTC) - timedelta(days=20)


def day(back: int) -> str:
    return f"{datetime.now(UTC) - timedelta(days=back):%Y-%m-%d}"


def note_made(instance: dg.DagsterInstance, names: str, *days: str) -> None:
    """Have assets materialised, without running anything."""
    for name in names.split():
        key = dg.AssetKey(name.split("/"))
        for one in days:
            instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=one))


def run_job(repository: Any, instance: dg.DagsterInstance, name: str, run_config: dict[str, Any] | None = None) -> None:
    """As the daemon runs a job of a code location."""
    run = instance.create_run_for_job(repository.get_job(name), run_config=run_config)
    events = list(execute_run_iterator(RepoBackedJob(name, repository), run, instance))
    assert not [event.step_failure_data for event in events if event.is_step_failure]


@pytest.fixture(scope="session")
def repository() -> Any:
    """As a fresh deployment in dev has it, with days to look back at."""
    from adfml_assets.definitions import defs

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ADFML_ENVIRONMENT", raising=False)
        patch.delenv("ADFML_SCHEDULES", raising=False)
        patch.setenv("ADFML_FIRST_DAY", f"{FIRST_DAY:%Y-%m-%d}")
        return defs().get_repository_def()
