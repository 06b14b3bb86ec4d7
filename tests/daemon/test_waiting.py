"""A remote job never holds a worker: runs wait in the queue, survive, fail and are cancelled with their jobs."""

from __future__ import annotations

import json
import time

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from tests.daemon.conftest import MODEL, MODEL_JOB, Site

pytestmark = pytest.mark.slow


def test_a_backfill_of_three_partitions_waits_without_a_process_and_succeeds(site: Site) -> None:
    site.order(kind="hold")
    backfill = site.train("1", "2", "3")
    site.wait_for_waiting("1", "2", "3")
    site.wait("the last run worker to end", lambda: not site.run_processes())
    time.sleep(6)  # long enough for the queue and the sensor to look several times
    assert site.run_processes() == []
    assert len(site.waiting_runs("1", "2", "3")) == 3
    assert {site.job(version).state for version in "123"} == {"running"}
    current = site.instance.get_backfill(backfill)
    assert current is not None
    assert current.status == BulkActionStatus.REQUESTED
    site.clear_faults()
    assert site.wait_for_backfill(backfill) == BulkActionStatus.COMPLETED_SUCCESS
    for key in (MODEL_JOB, MODEL):
        assert site.materialised(key) >= {"1", "2", "3"}
    for version in "123":
        job = site.job(version)
        assert (job.state, job.attempt) == ("succeeded", 1)
        assert job.collected_by is not None
        metadata = json.loads(
            (site.home.lake / f"ml/models/sales_forecast/version={version}/metadata.json").read_text()
        )
        assert metadata["submission_key"] == job.remote_key


def test_a_failed_job_is_a_failed_run_with_its_words_and_page(site: Site) -> None:
    (site.home.lake / "ml/training-data/sales_forecast/version=4/data_card.json").write_text("{}")
    backfill = site.train("4")
    assert site.wait_for_backfill(backfill) == BulkActionStatus.COMPLETED_FAILED
    assert "4" in site.materialised(MODEL_JOB)
    assert "4" not in site.materialised(MODEL)
    job = site.job("4")
    filters = dg.RunsFilter(tags={"dagster/backfill": backfill}, statuses=[dg.DagsterRunStatus.FAILURE])
    (run,) = site.instance.get_runs(filters)
    said = site.failure(run.run_id)
    assert "TrainingError" in said
    assert "data_card.json" in said
    assert f"Page: {job.url}" in said
    assert "materialise ml/models/sales_forecast_job for partition 4 again" in said


@pytest.mark.soak
def test_a_cloud_failure_is_tried_again_while_the_run_goes_on_waiting(site: Site) -> None:
    site.order(kind="cloud_failure", times=1)
    backfill = site.train("5")
    assert site.wait_for_backfill(backfill) == BulkActionStatus.COMPLETED_SUCCESS
    job = site.job("5")
    assert (job.state, job.try_number) == ("succeeded", 2)


def test_cancelling_a_waiting_run_cancels_the_remote_job(site: Site) -> None:
    site.order(kind="hold")
    backfill = site.train("6")
    (run,) = site.wait_for_waiting("6")
    assert site.instance.run_coordinator.cancel_run(run.run_id)
    site.wait("the remote job to be cancelled", lambda: not site.job("6").outstanding)
    job = site.job("6")
    assert (job.state, job.remote_state) == ("cancelled", "TERMINATED/CANCELED/USER_CANCELED")
    assert run.run_id in (job.message or "")
    assert site.wait_for_backfill(backfill) != BulkActionStatus.COMPLETED_SUCCESS


@pytest.mark.soak
def test_cancelling_a_backfill_cancels_its_remote_jobs(site: Site) -> None:
    site.order(kind="hold")
    backfill = site.train("9")
    site.wait_for_waiting("9")

    def cancelled() -> bool:
        current = site.instance.get_backfill(backfill)
        assert current is not None
        if current.status == BulkActionStatus.REQUESTED:
            # As the UI does. Dagster's daemon may be writing its own, older state of the backfill at this moment: then
            # the wish is lost, and the user asks again.
            site.instance.update_backfill(current.with_status(BulkActionStatus.CANCELING))
        return not site.job("9").outstanding

    site.wait("the remote job to be cancelled", cancelled)
    assert (site.job("9").state, site.job("9").remote_state) == ("cancelled", "TERMINATED/CANCELED/USER_CANCELED")
    assert site.wait_for_backfill(backfill) == BulkActionStatus.CANCELED


@pytest.mark.soak
def test_cancelling_a_submitting_run_cancels_its_job(site: Site) -> None:
    site.order(kind="hold")
    site.order(kind="delay", path="/api/2.2/jobs/run-now", seconds=8, times=1)
    site.train("7")

    def submitting() -> dg.DagsterRun | None:
        job = site.ledger.find_latest(MODEL.to_user_string(), "7")
        return site.instance.get_run_by_id(job.run_id) if job and job.sends and job.state == "submitting" else None

    run = site.wait("version 7 to be submitted", submitting)
    assert site.instance.run_coordinator.cancel_run(run.run_id)
    site.wait("the job to be cancelled", lambda: not site.job("7").outstanding)
    assert site.job("7").state == "cancelled"
    cancelled = site.wait("the run to end", lambda: site.instance.get_run_by_id(run.run_id).is_finished)
    assert cancelled
    assert site.instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.CANCELED


@pytest.mark.soak
def test_a_run_with_both_assets_collects_by_a_second_run(site: Site) -> None:
    """As when somebody materialises both in one run: the collecting asset comes too early, and says so."""
    select = ",".join(f'key:"{key.to_user_string()}"' for key in (MODEL_JOB, MODEL))
    site.order(kind="hold")
    command = ["dagster", "asset", "materialize", "-m", "adfml_assets.definitions", "--partition", "8"]
    ran = site.run_command(*command, "--select", select.replace(",", " or "))
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "8" not in site.materialised(MODEL)
    assert site.job("8").early_selection == (MODEL.to_user_string(),)
    site.clear_faults()
    site.wait("the model to be collected", lambda: "8" in site.materialised(MODEL))
    assert site.job("8").attempt == 1
