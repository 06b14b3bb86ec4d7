"""What the declared pipelines do by themselves, when, and that it is off in dev and on in production."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from adfml_assets.components import EndToEndWorkflow
from adfml_assets.components.declaration import DailySchedule
from adfml_assets.components.end_to_end_workflow import CatchUp, Follow
from adfml_assets.errors import DeclarationInvalid
from resources.control import ControlDatabase
from tests.schedules.conftest import run_job

FINISH = {"databricks_jobs", "azure_ml_batch_jobs", "openai_batch_jobs", "pools"}
"""Sensors that start nothing: they finish what was started."""


def switched_on(repository: Any) -> set[str]:
    sensors = {s.name for s in repository.sensor_defs if s.default_status == dg.DefaultSensorStatus.RUNNING}
    schedules = {s.name for s in repository.schedule_defs if s.default_status == dg.DefaultScheduleStatus.RUNNING}
    return sensors | schedules


def test_nothing_starts_by_itself_in_dev(repository: Any) -> None:
    assert switched_on(repository) == FINISH


def test_everything_is_on_in_production(repository: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from adfml_assets.definitions import defs

    monkeypatch.setenv("ADFML_ENVIRONMENT", "production")
    names = {one.name for one in (*repository.sensor_defs, *repository.schedule_defs)}
    assert switched_on(defs().get_repository_def()) == names
    assert names >= {
        "daily_PL_EndToEnd_ML_Workflow",
        "catch_up_of_PL_EndToEnd_ML_Workflow",
        "follow_PL_EndToEnd_ML_Workflow",
        "train_sales_forecast",
        "retraining_of_sales_forecast",
        "new_tables_of_shop",
        "check_archive_shop",
    }


def build_workflow(**changes: Any) -> dg.Definitions:
    workflow = EndToEndWorkflow(name="daily_work", train="*", score="*", **changes)
    defs = workflow.build_defs(None)  # type: ignore[arg-type]
    return dg.Definitions.merge(defs, dg.Definitions(resources={"control": ControlDatabase()}))


def test_the_daily_schedule_runs_the_workflow_in_its_zone_and_asks_for_no_day_that_has_passed() -> None:
    defs = build_workflow(schedule=DailySchedule(hour=6, minute=30, timezone="Europe/Berlin"))
    schedule = defs.resolve_schedule_def("daily_daily_work")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 6 * * *", "Europe/Berlin")
    late = datetime.now(UTC) - timedelta(days=2)
    context = dg.build_schedule_context(scheduled_execution_time=late, repository_def=defs.get_repository_def())
    (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.run_key == late.isoformat()
    # Without a day the workflow takes the one it runs on.
    assert request.run_config == {"ops": {"launch_workflow": {"config": {"mode": "score"}}}}


def test_days_are_bounded() -> None:
    for build in (CatchUp, Follow):
        with pytest.raises(DeclarationInvalid, match="from 1 to 366"):
            build(days=0)


class TestScheduledTraining:
    """The monthly schedule trains the next version, and no two at once."""

    @pytest.fixture
    def launch(self, repository: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        monkeypatch.setenv("ADFML_CONTROL_URL", f"sqlite:///{tmp_path / 'control.sqlite'}")
        with dg.DagsterInstance.ephemeral() as instance:

            def run() -> list[tuple[str, list[str]]]:
                run_job(repository, instance, "train_sales_forecast")
                found = [
                    (backfill.backfill_id, instance.get_dynamic_partitions("sales_forecast_versions"))
                    for backfill in instance.get_backfills()
                ]
                return [(one, list(versions)) for one, versions in found]

            yield run

    def test_it_asks_for_one_version_until_that_has_ended(self, launch: Any) -> None:
        ((backfill, versions),) = launch()
        assert versions == ["1"]
        assert [one for one, _ in launch()] == [backfill], "still under way"
        requests = ControlDatabase().retrainings
        asked = requests.find_outstanding("sales_forecast")
        assert asked is not None
        assert (asked.version, asked.backfill_id) == ("1", backfill)
        assert asked.reason == "The schedule asked for it."
        requests.end("sales_forecast", "1", "refused", datetime.now(UTC))
        assert launch()[-1][1] == ["1", "2"]

    def test_a_request_whose_run_died_before_the_launch_is_gone_on_with(self, launch: Any) -> None:
        requests = ControlDatabase().retrainings
        now = datetime.now(UTC)
        requests.request("sales_forecast", "ml/models/x", [], reason="test", cooldown=timedelta(0), now=now)
        ((backfill, versions),) = launch()
        assert versions == ["1"]
        asked = requests.find("sales_forecast", "1")
        assert asked is not None
        assert asked.backfill_id == backfill
