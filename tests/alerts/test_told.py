"""What fails is told once, by asset and partition; again while it lasts; and when it is well."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import dagster as dg
import pytest

from resources.control import ControlDatabase
from sensors.tags import ADOPTS_TAG
from tests.alerts.conftest import Site, WebhookServer, titles

DAY = "2026-01-05"


def whole(webhook: WebhookServer) -> str:
    """The text of the last message."""
    return "\n".join(block["text"]["text"] for block in webhook.taken[-1][1]["blocks"])


def test_what_failed_before_alerts_were_on_is_not_told(repository: Any, site: Site, slack: WebhookServer) -> None:
    site.run(DAY, "features", fails=["yes"])
    fresh = Site(site.instance, site.control, repository)
    fresh.tick()
    assert slack.taken == []


def test_a_failure_is_told_with_its_error_link_and_command(site: Site, slack: WebhookServer) -> None:
    run = site.run(DAY, "features scores", fails=["yes"])
    assert "1 messages sent" in site.tick()
    assert titles(slack) == [f"production: features | {DAY} failed"]
    text = whole(slack)
    assert "Key Vault at https://vault refused: no such permission. Check the role." in text
    assert f"<https://dagster.example.com/runs/{run}|Run>" in text
    assert "docs/operations.md#refused" in text
    assert f"adfml backfill features --from {DAY} --refresh" in text
    assert "scores |" not in text, "what was not reached did not fail"


def test_a_job_that_could_not_be_adopted_is_told_to_who_asked_for_it_alone(site: Site, slack: WebhookServer) -> None:
    # The command says why. Everybody else would be told to submit a new job.
    site.run(DAY, "features", tags={ADOPTS_TAG: "123"}, fails=["yes"])
    site.tick()
    assert titles(slack) == []
    site.run(DAY, "features", fails=["yes"])
    site.tick()
    assert titles(slack) == [f"production: features | {DAY} failed"]


def test_an_asset_is_asked_for_once_however_many_of_its_days_failed(
    site: Site, slack: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [f"2026-01-{number:02d}" for number in range(1, 6)]
    for day in days:
        site.run(day, "features", fails=["yes"])
    site.tick()
    site.run(days[0], "features", fails=[])
    asked: list[Any] = []
    storage = site.instance.event_log_storage
    find = storage.get_latest_storage_id_by_partition
    monkeypatch.setattr(
        storage,
        "get_latest_storage_id_by_partition",
        lambda *given, **named: asked.append(given) or find(*given, **named),
    )
    assert "1 well again; 4 open" in site.tick()
    assert len(asked) == 1


def test_it_is_told_once_however_often_it_fails_and_again_after_a_day(site: Site, slack: WebhookServer) -> None:
    for _ in range(2):
        site.run(DAY, "features", fails=["yes"])
        site.tick()
    assert len(slack.taken) == 1
    site.let_time_pass(timedelta(hours=25))
    site.run(DAY, "features", fails=["yes"])
    site.tick()
    assert titles(slack)[1:] == [f"production: features | {DAY} failed again, 3 times now"]


def test_it_is_told_when_it_is_well_and_a_later_failure_is_a_new_one(site: Site, slack: WebhookServer) -> None:
    site.run(DAY, "features", fails=["yes"])
    site.tick()
    site.run(DAY, "features", fails=[])
    assert "1 well again; 0 open" in site.tick()
    site.tick()
    site.run(DAY, "features", fails=["yes"])
    site.tick()
    name = f"production: features | {DAY}"
    assert titles(slack) == [f"{name} failed", f"{name} is well again", f"{name} failed"]


def test_another_day_does_not_mend_it(site: Site, slack: WebhookServer) -> None:
    site.run(DAY, "features", fails=["yes"])
    site.run("2026-01-06", "features", fails=[])
    assert "0 well again; 1 open" in site.tick()


def test_a_day_that_was_made_before_it_failed_is_not_well(site: Site) -> None:
    site.run(DAY, "features", fails=[])
    site.run(DAY, "features", fails=["yes"])
    assert "0 well again; 1 open" in site.tick()


def test_failures_of_one_cause_are_one_message(site: Site, slack: WebhookServer) -> None:
    for day in range(1, 4):
        site.run(f"2026-01-{day:02}", "features", fails=["yes"])
    site.tick()
    assert titles(slack) == ["production: features | 2026-01-01 and 2 more failed"]
    assert "• features | 2026-01-03" in whole(slack)


def test_of_a_multi_asset_what_was_made_is_not_told(site: Site, slack: WebhookServer) -> None:
    site.run(DAY, "archive/Customers archive/Products", fails=["Products"])
    site.tick()
    assert titles(slack) == [f"production: archive/Products | {DAY} failed"]


def test_a_job_is_told_by_its_name_and_well_when_it_succeeds(site: Site, slack: WebhookServer) -> None:
    site.launch("yes")
    site.tick()
    site.launch()
    site.tick()
    assert titles(slack) == ["production: job launching failed", "production: job launching is well again"]


def test_a_blocking_check_is_told_as_the_check_s(site: Site, slack: WebhookServer) -> None:
    site.run(DAY, "features scores", text="3 rows are of the future")
    site.tick()
    assert titles(slack) == ["production: features | check in_time failed"]
    assert "3 rows are of the future" in whole(slack)
    site.run(DAY, "features scores")
    site.tick()
    assert titles(slack)[1:] == ["production: features | check in_time is well again"]


@pytest.mark.parametrize(("tags", "told"), [({"dagster/will_retry": "true"}, 0), ({"dagster/will_retry": "false"}, 1)])
def test_a_run_that_dagster_tries_again_is_told_only_at_the_end(
    site: Site, slack: WebhookServer, tags: dict[str, str], told: int
) -> None:
    run = site.run(DAY, "features", fails=["yes"])
    site.instance.add_run_tags(run, tags)
    site.tick()
    assert len(slack.taken) == told
    if not told:
        site.instance.add_run_tags(run, {"dagster/auto_retry_run_id": "the-next"})
        site.tick()
        assert slack.taken == []
        site.run(DAY, "features", fails=["yes"])
        site.tick()
        assert len(slack.taken) == 1


def test_a_remote_job_s_failure_has_its_page_and_the_command_that_retries_it(
    site: Site, slack: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = ControlDatabase().ledger
    ledger.open_jobs(
        asset="features_job",
        collecting_asset="features",
        partition=DAY,
        service="databricks",
        requests=[{}],
        deadline=timedelta(hours=1),
        max_tries=1,
        run_id="r",
        backfill_id=None,
    )
    run = site.run(DAY, "features", fails=["yes"])
    site.instance.add_run_tags(run, {"adfml/remote_job": "ready"})
    site.tick()
    assert f"adfml jobs retry 'features_job|{DAY}|1'" in whole(slack)


def test_a_tick_that_died_after_it_had_noted_tells_nothing_twice(site: Site, slack: WebhookServer) -> None:
    before = site.cursor
    site.run(DAY, "features", fails=["yes"])
    site.tick()
    site.cursor = before
    site.tick()
    assert len(slack.taken) == 1
    assert [incident.failures for incident in site.control.alerts.list_open()] == [1]


def test_a_sensor_that_keeps_failing_is_told_and_well_when_it_ticks(site: Site, slack: WebhookServer) -> None:
    from dagster._core.definitions.run_request import InstigatorType
    from dagster._core.remote_origin import (
        InProcessCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, TickData, TickStatus
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
    from dagster_shared.error import SerializableErrorInfo

    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="x"))
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "r"), "databricks_jobs")
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING)
    site.instance.add_instigator_state(state)

    def note(status: TickStatus, at: float) -> None:
        error = (
            SerializableErrorInfo("ledger is gone", [], "OperationalError") if status == TickStatus.FAILURE else None
        )
        data = TickData(
            state.instigator_origin_id,
            "databricks_jobs",
            InstigatorType.SENSOR,
            status,
            at,
            error=error,
            selector_id=state.selector_id,
        )
        site.instance.create_tick(data)

    for at in range(2):
        note(TickStatus.FAILURE, 1_790_000_000.0 + at)
    site.tick()
    assert slack.taken == [], "one that comes back by itself is none"
    note(TickStatus.FAILURE, 1_790_000_002.0)
    site.tick()
    assert titles(slack) == ["production: sensor databricks_jobs failed"]
    assert "ledger is gone" in whole(slack)
    note(TickStatus.SKIPPED, 1_790_000_003.0)
    site.tick()
    assert titles(slack)[1:] == ["production: sensor databricks_jobs is well again"]


def test_a_backfill_that_failed_itself_is_told(site: Site, slack: WebhookServer) -> None:
    from dagster._core.execution.backfill import BulkActionStatus

    from adfml_assets.workflow import launch_backfill

    graph = site.repository.asset_graph
    backfill_id = launch_backfill(site.instance, graph, {dg.AssetKey("features"): [DAY]}, title="January", tags={})
    backfill = site.instance.get_backfill(backfill_id)
    assert backfill is not None
    site.instance.update_backfill(backfill.with_status(BulkActionStatus.FAILED))
    site.tick()
    assert titles(slack) == [f"production: backfill {backfill_id} failed"]
    site.run(DAY, "features", fails=[])
    site.tick()
    assert titles(slack)[1:] == [f"production: backfill {backfill_id} is well again"]
