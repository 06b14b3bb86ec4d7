"""deploy/dagster.yaml, run: PostgreSQL, Blob, the queue that holds runs, and a code location behind gRPC."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.execution.backfill import BulkActionStatus

from adfml_assets.workflow import launch_backfill
from resources.control import ControlDatabase
from resources.remote_jobs import RemoteStatus
from sensors.tags import REMOTE_JOB_TAG, WAITING
from sensors.waiting import release_runs
from tests.production.conftest import Deployment
from tests.production.small_location import defs

pytestmark = pytest.mark.slow
DAY, NEXT_DAY = "2026-03-10", "2026-03-11"
KEYS = [dg.AssetKey("summary_job"), dg.AssetKey("summary")]
QUEUED, SUCCESS = dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.SUCCESS


def test_a_run_waits_in_postgresqls_queue_is_released_and_what_was_printed_is_in_blob(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    ledger = ControlDatabase().ledger
    job = ledger.open_job(
        asset="summary_job",
        collecting_asset="summary",
        partition=DAY,
        service="databricks",
        request={},
        deadline=timedelta(hours=1),
        max_tries=1,
        run_id="run",
    )
    graph = defs.get_repository_def().asset_graph
    backfill = launch_backfill(instance, graph, {key: [DAY] for key in KEYS}, title="test", tags={})
    waiting = dg.RunsFilter(statuses=[QUEUED], tags={REMOTE_JOB_TAG: WAITING})
    (held,) = deployment.wait("the collecting run to wait", lambda: instance.get_runs(waiting))
    assert held.asset_selection == {KEYS[1]}
    assert release_runs(instance, ledger, logging.getLogger()) == 0, "its job is still under way"
    assert [run.run_id for run in instance.get_runs(waiting)] == [held.run_id]

    ledger.record_ended(job.submission_key, RemoteStatus("succeeded", "SUCCESS"))
    assert release_runs(instance, ledger, logging.getLogger()) == 1

    assert wait_for_end(deployment, instance, backfill) == BulkActionStatus.COMPLETED_SUCCESS
    runs = {next(iter(run.asset_selection or ())): run for run in instance.get_runs(dg.RunsFilter(statuses=[SUCCESS]))}
    assert set(runs) == set(KEYS)
    for key, word in zip(KEYS, ("submitted", "collected"), strict=True):
        logs = deployment.wait("the logs", lambda run=runs[key]: deployment.list_logs(run.run_id))
        assert f"{word}, as standard output has it" in logs["out"]
        assert "STEP_SUCCESS" in logs["err"]
    for key in KEYS:
        assert instance.get_materialized_partitions(key) == {DAY}


def wait_for_end(deployment: Deployment, instance: dg.DagsterInstance, backfill: str) -> BulkActionStatus:
    def ended() -> BulkActionStatus | None:
        found = instance.get_backfill(backfill)
        assert found is not None
        return None if found.status == BulkActionStatus.REQUESTED else found.status

    status: BulkActionStatus = deployment.wait("the backfill to end", ended)
    return status


def test_a_backfill_waits_for_a_code_location_that_is_being_replaced(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    deployment.stop_code()
    graph = defs.get_repository_def().asset_graph
    backfill = launch_backfill(instance, graph, {KEYS[0]: [NEXT_DAY]}, title="test", tags={})
    waits = f"Backfill {backfill} was unable to continue"
    deployment.wait("the daemon to look for it in vain", lambda: waits in deployment.daemon_log.read_text())
    deployment.start_code()
    assert wait_for_end(deployment, instance, backfill) == BulkActionStatus.COMPLETED_SUCCESS
    assert NEXT_DAY in instance.get_materialized_partitions(KEYS[0])


def test_the_ui_reads_what_was_printed_from_blob(deployment: Deployment, instance: dg.DagsterInstance) -> None:
    (run,) = instance.get_runs(dg.RunsFilter(statuses=[SUCCESS]), limit=1)
    (record,) = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.LOGS_CAPTURED)
    assert record.dagster_event is not None
    captured = record.dagster_event.logs_captured_data
    manager = instance.compute_log_manager
    data = manager.get_log_data([run.run_id, "compute_logs", captured.file_key])
    assert data.stdout is not None
    assert b"as standard output has it" in data.stdout


def test_everything_is_in_postgresql_and_dagsters_tables_and_ours_do_not_meet(
    deployment: Deployment, instance: dg.DagsterInstance
) -> None:
    tables = set(sa.inspect(ControlDatabase().engine).get_table_names())
    assert {"runs", "event_logs", "jobs", "alembic_version", "adfml_remote_jobs", "adfml_schema_version"} <= tables
    home = Path(deployment.environment["DAGSTER_HOME"])
    assert not list(home.rglob("*.db")), "nothing was written to SQLite"
