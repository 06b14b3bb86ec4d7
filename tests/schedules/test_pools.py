"""Runs that use the same thing wait for each other, and a slot is free when its run is gone, however it went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.op_concurrency_limits_counter import GlobalOpConcurrencyLimitsCounter
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES, RunOpConcurrency

from resources.errors import SettingInvalid
from resources.pools import SERVICES, choose_limits, name_database_pool
from sensors.pool_sensor import apply_limits, find_pools

ROOT = Path(__file__).resolve().parent.parent.parent
SHOP = name_database_pool("shop")


def test_what_reads_a_database_or_calls_a_service_is_in_its_pool(repository: Any) -> None:
    graph = repository.asset_graph
    pools = {key.to_user_string(): graph.get(key).assets_def.op.pool for key in graph.materializable_asset_keys}
    assert pools["archive/shop/main/Customers"] == pools["incremental/shop/main/Transactions"] == SHOP
    assert pools["ml/models/sales_forecast_job"] == pools["ml/scores/sales_forecast_job"] == "databricks"
    assert pools["ml/text_scores/feedback_sentiment_job"] == "openai_batch"
    # What waits for a job, or works here, takes no slot of a service.
    assert pools["ml/scores/sales_forecast"] is pools["feature_store/customer_features"] is None
    assert find_pools(repository.assets_defs_by_key.values()) == {SHOP, "databricks", "openai_batch"}


def test_the_sensor_writes_the_limits_and_then_changes_nothing(
    repository: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADFML_POOL_LIMITS", f"databricks=4, {SHOP}=2")
    with dg.instance_for_test() as instance:
        sensor = repository.get_sensor_def("pools")
        said = [
            sensor.evaluate_tick(dg.build_sensor_context(instance, repository_def=repository)).skip_message
            for _ in range(2)
        ]
        assert said == ["3 pools, 3 limits changed.", "3 pools, 0 limits changed."]
        limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
        assert limits == {SHOP: 2, "databricks": 4, "openai_batch": SERVICES["openai_batch"]}


@pytest.mark.parametrize("value", ["databricks", "databricks=0", "databricks=many", "databrick=4", "=3"])
def test_a_limit_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_POOL_LIMITS", value)
    with pytest.raises(SettingInvalid, match="ADFML_POOL_LIMITS"):
        choose_limits({SHOP, "databricks"})


@pytest.mark.parametrize("ended", ["CANCELED", "FAILURE", "SUCCESS"])
def test_a_slot_is_free_when_its_run_has_ended_however(ended: str) -> None:
    """As the run queue counts, with dagster.yaml's granularity; a process killed is FAILURE by the run monitoring."""
    settings = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    overrides = {name: settings[name] for name in ("concurrency", "run_monitoring")}
    with dg.instance_for_test(overrides=overrides) as instance:
        apply_limits(instance, {SHOP: 1})
        uses = RunOpConcurrency(all_pools={SHOP}, root_key_counts={SHOP: 1}, has_unconstrained_root_nodes=False)

        def note(status: dg.DagsterRunStatus) -> dg.DagsterRun:
            return instance.add_run(dg.DagsterRun("archive", status=status, run_op_concurrency=uses))

        def is_blocked(run: dg.DagsterRun) -> bool:
            filters = dg.RunsFilter(statuses=IN_PROGRESS_RUN_STATUSES)
            return GlobalOpConcurrencyLimitsCounter(
                instance,
                [run],
                instance.get_run_records(filters),
                instance.event_log_storage.get_concurrency_keys(),
                instance.event_log_storage.get_pool_limits(),
                pool_granularity=instance.get_concurrency_config().pool_config.pool_granularity,
            ).is_blocked(run)

        running = note(dg.DagsterRunStatus.STARTED)
        second = note(dg.DagsterRunStatus.NOT_STARTED)
        assert is_blocked(second)
        event = {
            "CANCELED": dg.DagsterEventType.RUN_CANCELED,
            "FAILURE": dg.DagsterEventType.RUN_FAILURE,
            "SUCCESS": dg.DagsterEventType.RUN_SUCCESS,
        }[ended]
        instance.report_dagster_event(dg.DagsterEvent(event.value, running.job_name), running.run_id)
        assert not is_blocked(second)
