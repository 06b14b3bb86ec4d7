"""Drift asks for a new version: N of the last M days, one at a time, after a cool-down, whatever crashes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import RepoBackedJob
from dagster._core.execution.api import execute_run_iterator
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from adfml_assets.components.drift import Drift, Retrain
from adfml_assets.drift.comparison import DriftRules, compare_all
from adfml_assets.drift.profile import Bins, Profile
from adfml_assets.drift.report import DriftReport, write_report
from resources.control import ControlDatabase, utc_now
from resources.lake import Lake
from resources.retrainings import Retraining
from sensors.retraining_sensor import REQUEST_TAG, RETRAINING_TAG
from tests.drift.conftest import MODEL, Register, build_defs

JOB = f"retrain_{MODEL}"
COOLDOWN = timedelta(days=7)


def write_drift(lake: Lake, number: int, *, version: str = "1", over: bool = True, empty: bool = False) -> None:
    """The drift of a day of March, as its asset leaves it."""
    rules, bins = DriftRules(), Bins((0.0,))
    profiles = {"f": Profile(bins, (5000, 5000))}, {"f": Profile(bins, (4500, 500) if over else (2500, 2500))}
    comparisons = () if empty else compare_all(rules, *profiles, None)
    report = DriftReport(MODEL, f"2026-03-{number:02d}", version, rules, 0 if empty else 5000, 10000, comparisons)
    assert report.over == (over and not empty)
    write_report(lake, report, asset="ml/drift/spend", now=utc_now(), run_id="r")


@dataclass
class Watch:
    """A code location that watches a model, and its instance."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    control: ControlDatabase

    def tick(self) -> dg.RunRequest | str:
        """One look of the sensor: what it asks for, or why it does not."""
        repository = self.definitions.get_repository_def()
        context = dg.build_sensor_context(
            self.instance, repository_def=repository, resources={"lake": Lake(), "control": self.control}
        )
        result = repository.get_sensor_def(f"retraining_of_{MODEL}").evaluate_tick(context)
        if not result.run_requests:
            return str(result.skip_message)
        (request,) = result.run_requests
        return request

    def run(self, request: dg.RunRequest | str, **options: Any) -> str:
        """The run that the daemon would start. Returns the message of its failure, or nothing."""
        assert isinstance(request, dg.RunRequest)
        repository = self.definitions.get_repository_def()
        run = self.instance.create_run_for_job(
            repository.get_job(JOB), run_config=request.run_config, tags=dict(request.tags), **options
        )
        events = list(execute_run_iterator(RepoBackedJob(JOB, repository), run, self.instance))
        failed = [event.step_failure_data for event in events if event.is_step_failure]
        return "".join(str(one.user_failure_data.description) for one in failed if one.user_failure_data)

    def backfills(self) -> list[PartitionBackfill]:
        return list(self.instance.get_backfills())

    def end_backfill(self, status: BulkActionStatus) -> None:
        (backfill,) = self.backfills()
        self.instance.update_backfill(backfill.with_status(status))

    def requests(self) -> list[tuple[str, str | None]]:
        return [(one.version, one.outcome) for one in self.control.retrainings.list_all(MODEL)]


@pytest.fixture
def watch(control: ControlDatabase) -> Iterator[Watch]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Watch(build_defs(Drift(retrain=Retrain(over=3, of=5))), instance, control)


@pytest.fixture
def drifted(watch: Watch, lake: Lake, register: Register) -> Watch:
    """Version 1 is champion, and three of its last five days are over the threshold."""
    register("1", champion=True)
    for number in range(1, 6):
        write_drift(lake, number, over=number % 2 == 1)
    return watch


def ask(control: ControlDatabase, ago: timedelta = timedelta(0), **options: Any) -> Retraining:
    """A request that was made some time ago."""
    now: datetime = utc_now() - ago
    asked = control.retrainings.request(
        MODEL, "ml/models/spend", ["1"], reason="seen", cooldown=timedelta(0), now=now, **options
    )
    assert asked is not None
    return asked


def test_fewer_days_than_needed_ask_for_nothing_and_say_what_was_seen(
    watch: Watch, lake: Lake, register: Register
) -> None:
    assert watch.tick() == "spend has no champion: there is nothing to compare with."
    register("1", champion=True)
    assert watch.tick() == ("0 of 0 partitions of champion 1 are over the threshold; 3 needed of the last 5.")
    for number in range(1, 8):
        write_drift(lake, number, over=number in (1, 2, 5, 7))
    assert watch.tick() == (
        "2 of 5 partitions of champion 1 are over the threshold (2026-03-07, 2026-03-05); 3 needed of the last 5."
    )
    assert watch.requests() == []


def test_enough_days_ask_for_the_next_version_and_its_run_launches_all_of_it(drifted: Watch) -> None:
    request = drifted.tick()
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == "retrain|spend|2|1"
    assert drifted.requests() == [("2", None)]
    assert drifted.run(request) == ""
    (backfill,) = drifted.backfills()
    assert backfill.tags is not None
    assert backfill.tags[RETRAINING_TAG] == "spend/2"
    data = backfill.asset_backfill_data
    assert data is not None
    targets = data.target_subset.partitions_subsets_by_asset_key
    assert {key.to_user_string(): list(subset.get_partition_keys()) for key, subset in targets.items()} == {
        name: ["2"]
        for name in ("ml/training_data/spend", "ml/models/spend_job", "ml/models/spend", "ml/champions/spend")
    }
    assert drifted.instance.get_dynamic_partitions("spend_versions") == ["2"]
    assert str(drifted.tick()).endswith("is being trained; at most one at a time.")
    assert drifted.requests() == [("2", None)]


def test_the_version_follows_every_version_there_is(drifted: Watch, register: Register) -> None:
    register("3", "refused")
    drifted.instance.add_dynamic_partitions("spend_versions", ["12", "trial"])
    drifted.control.ledger.open_job(
        asset="ml/models/spend_job",
        collecting_asset="ml/models/spend",
        partition="14",
        service="databricks",
        request={},
        deadline=timedelta(hours=1),
        max_tries=1,
        run_id="r",
    )
    request = drifted.tick()
    assert isinstance(request, dg.RunRequest)
    assert drifted.requests() == [("15", None)]


def test_after_a_request_there_is_a_cool_down(drifted: Watch) -> None:
    control = drifted.control
    asked = ask(control, COOLDOWN - timedelta(hours=1))
    control.retrainings.end(MODEL, asked.version, "refused", utc_now())
    message = drifted.tick()
    assert isinstance(message, str)
    until = asked.requested_at + COOLDOWN
    assert message.startswith("3 of 5 partitions of champion 1 are over the threshold")
    assert f"version 2 was requested at {asked.requested_at:%Y-%m-%d %H:%M} UTC (refused)" in message
    assert message.endswith(f"cool-down until {until:%Y-%m-%d %H:%M} UTC.")
    assert drifted.requests() == [("2", "refused")]


def test_after_the_cool_down_the_next_version_is_asked_for(drifted: Watch) -> None:
    asked = ask(drifted.control, COOLDOWN + timedelta(hours=1))
    drifted.control.retrainings.end(MODEL, asked.version, "refused", utc_now())
    request = drifted.tick()
    assert isinstance(request, dg.RunRequest)
    assert drifted.requests() == [("3", None), ("2", "refused")]


def test_a_request_whose_process_died_before_a_run_was_asked_for_is_launched(drifted: Watch) -> None:
    ask(drifted.control)
    request = drifted.tick()
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == "retrain|spend|2|1"
    # The tick's answer was lost too: the next one asks for the very same.
    assert drifted.tick() == request
    assert drifted.run(request) == ""
    assert len(drifted.backfills()) == 1
    assert drifted.requests() == [("2", None)]


def test_a_run_that_died_before_it_launched_anything_is_followed_by_another_and_at_last_given_up(
    drifted: Watch,
) -> None:
    ask(drifted.control)
    for attempt in (1, 2, 3):
        request = drifted.tick()
        assert isinstance(request, dg.RunRequest)
        assert request.run_key == f"retrain|spend|2|{attempt}"
        job = drifted.definitions.get_repository_def().get_job(JOB)
        run = drifted.instance.create_run_for_job(job, run_config=request.run_config, tags=dict(request.tags))
        assert run.tags[REQUEST_TAG] == "spend/2"
        assert str(drifted.tick()).endswith("is about to be launched.")
        drifted.instance.report_run_failed(run)
    assert str(drifted.tick()).endswith("has ended: failed.")
    assert drifted.requests() == [("2", "failed")]
    assert "cool-down" in str(drifted.tick())


def test_a_run_that_died_after_it_launched_the_backfill_launches_no_second_one(drifted: Watch) -> None:
    request = drifted.tick()
    assert drifted.run(request) == ""
    assert drifted.run(request) == ""
    assert len(drifted.backfills()) == 1


def test_a_run_that_died_before_its_backfill_was_there_is_followed_by_one_that_launches_the_same(
    drifted: Watch,
) -> None:
    asked = ask(drifted.control)
    assert drifted.control.retrainings.name_backfill(MODEL, asked.version, "noted") == "noted"
    assert drifted.run(drifted.tick()) == ""
    assert [backfill.backfill_id for backfill in drifted.backfills()] == ["noted"]


def test_a_version_that_passes_its_gate_and_is_promoted_ends_the_request(drifted: Watch, register: Register) -> None:
    drifted.run(drifted.tick())
    register("2")
    # Its promotion is the backfill's last step: it may still come.
    assert str(drifted.tick()).endswith("is being trained; at most one at a time.")
    drifted.control.models.promote(MODEL, "2", "r", "It passed.", force=True)
    assert str(drifted.tick()).endswith("has ended: promoted.")
    assert drifted.requests() == [("2", "promoted")]


@pytest.mark.parametrize(
    ("verdict", "status", "outcome"),
    [
        ("refused", BulkActionStatus.REQUESTED, "refused"),
        ("passed", BulkActionStatus.COMPLETED_FAILED, "passed"),
        (None, BulkActionStatus.COMPLETED_FAILED, "failed"),
        (None, BulkActionStatus.CANCELED, "failed"),
        (None, BulkActionStatus.REQUESTED, None),
    ],
)
def test_a_request_ends_with_the_verdict_or_with_its_backfill(
    drifted: Watch, register: Register, verdict: str | None, status: BulkActionStatus, outcome: str | None
) -> None:
    drifted.run(drifted.tick())
    if verdict is not None:
        register("2", verdict)
    drifted.end_backfill(status)
    message = str(drifted.tick())
    assert drifted.requests() == [("2", outcome)]
    assert message.endswith(f"has ended: {outcome}." if outcome else "is being trained; at most one at a time.")
    assert drifted.control.models.aliases(MODEL)["champion"] == "1"


def test_a_remote_job_that_outlives_its_backfill_is_waited_for(drifted: Watch) -> None:
    drifted.run(drifted.tick())
    drifted.control.ledger.open_job(
        asset="ml/models/spend_job",
        collecting_asset="ml/models/spend",
        partition="2",
        service="databricks",
        request={},
        deadline=timedelta(hours=1),
        max_tries=1,
        run_id="r",
    )
    drifted.end_backfill(BulkActionStatus.COMPLETED_FAILED)
    assert str(drifted.tick()).endswith("is being trained; at most one at a time.")


def test_a_request_that_takes_too_long_holds_up_the_next_no_more(drifted: Watch) -> None:
    ask(drifted.control, timedelta(hours=49))
    assert str(drifted.tick()).endswith("has ended: expired.")
    assert drifted.requests() == [("2", "expired")]


def test_with_a_new_champion_the_count_starts_anew_also_after_a_rollback(
    drifted: Watch, lake: Lake, register: Register
) -> None:
    register("2", champion=True)
    write_drift(lake, 6, version="2")
    assert str(drifted.tick()).startswith("1 of 1 partitions of champion 2 are over the threshold (2026-03-06);")
    drifted.control.models.rollback(MODEL, "me", "It was worse.")
    assert str(drifted.tick()).startswith("0 of 0 partitions of champion 1 are over the threshold;")
    write_drift(lake, 7, version="1")
    assert str(drifted.tick()).startswith("1 of 1 partitions of champion 1 are over the threshold (2026-03-07);")
    assert drifted.requests() == []


def test_days_without_records_do_not_count(watch: Watch, lake: Lake, register: Register) -> None:
    register("1", champion=True)
    for number in range(1, 8):
        write_drift(lake, number, empty=number in (3, 4, 5, 7), over=True)
    assert isinstance(watch.tick(), dg.RunRequest)
    (request,) = watch.control.retrainings.list_all(MODEL)
    assert request.reason == (
        "3 of 3 partitions of champion 1 are over the threshold (2026-03-06, 2026-03-02, 2026-03-01)."
    )


def test_the_job_launches_only_what_was_asked_for(drifted: Watch) -> None:
    request = drifted.tick()
    assert isinstance(request, dg.RunRequest)
    other = {"ops": {"launch_retraining_of_spend": {"config": {"model_version": "9"}}}}
    assert "version 9 is not launched: drift did not ask for it" in drifted.run(replace_config(request, other))
    drifted.control.retrainings.end(MODEL, "2", "expired", utc_now())
    assert "its request has ended (expired)" in drifted.run(request)
    assert drifted.backfills() == []


def test_a_model_that_is_trained_elsewhere_cannot_be_trained_again(drifted: Watch) -> None:
    elsewhere = replace(drifted, definitions=build_defs(Drift(retrain=Retrain()), trained=False))
    failure = elsewhere.run(elsewhere.tick())
    assert "Model spend cannot be trained again: there is no asset ml/training_data/spend" in failure
    assert elsewhere.backfills() == []


def replace_config(request: dg.RunRequest, config: dict[str, Any]) -> dg.RunRequest:
    return dg.RunRequest(run_key=request.run_key, run_config=config, tags=request.tags)
