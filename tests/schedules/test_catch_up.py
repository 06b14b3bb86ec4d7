"""Missed days are made up for as far as that is true; the rest is said, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from adfml_assets import lake_layout
from adfml_assets.past_days import Missed, find_missed
from adfml_assets.past_rule import build_past_rule, may_keep_past
from adfml_assets.workflow import find_missing, launch_backfill
from adfml_assets.workflow_schedule import CATCH_UP_TAG
from resources.control import ControlDatabase, utc_now
from resources.lake import Lake
from resources.manifest import build_manifest, commit_manifest
from tests.schedules.conftest import day, note_made, run_job

WORKFLOW = "PL_EndToEnd_ML_Workflow"
SNAPSHOTS = "archive/shop/main/Customers archive/shop/main/Products archive/shop/main/Transactions"
SOURCES = f"{SNAPSHOTS} archive/shop/main/Feedback archive/shop/main/SensorReadings incremental/shop/main/Transactions"
SCORES = "ml/scoring_input/sales_forecast ml/scores/sales_forecast_job ml/scores/sales_forecast"
FEATURES = "feature_store/customer_features feature_store/transaction_features"
REST = f"current/shop/main/Transactions {FEATURES} {SCORES} ml/drift/sales_forecast database/shop/main/Predictions"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture(scope="module")
def selected(repository: Any) -> set[dg.AssetKey]:
    (job,) = (job for job in repository.get_all_jobs() if job.name == WORKFLOW)
    return dg.AssetSelection.from_string(job.metadata["adfml/score"].value).resolve(repository.asset_graph)


def look(repository: Any, instance: dg.DagsterInstance, selected: set[dg.AssetKey], *days: str) -> list[Missed]:
    graph = repository.asset_graph
    rule = build_past_rule(graph, Lake(), ControlDatabase().intervals, may_keep_past)
    return find_missed(instance, graph, selected, days, rule)


def names(keys: Any) -> set[str]:
    return {key.to_user_string() for key in keys}


def reasons(missed: Missed) -> dict[str, str]:
    return {left.key.to_user_string(): left.reason for left in missed.left_out}


def test_a_day_whose_snapshots_are_there_is_made_from_features_to_the_table(
    repository: Any, instance: dg.DagsterInstance, selected: set[dg.AssetKey]
) -> None:
    note_made(instance, SOURCES, day(2))
    (missed,) = look(repository, instance, selected, day(2))
    assert names(missed.makeable) == set(REST.split())
    assert missed.left_out == []
    order = [key.to_user_string() for key in missed.makeable]
    assert order.index(FEATURES.split()[0]) < order.index(SCORES.split()[0]) < order.index(SCORES.split()[2])


def test_a_day_without_snapshots_is_not_made_and_says_why(
    repository: Any, instance: dg.DagsterInstance, selected: set[dg.AssetKey]
) -> None:
    note_made(instance, "archive/shop/main/Customers", day(2))
    (missed,) = look(repository, instance, selected, day(2))
    assert missed.makeable == []
    said = reasons(missed)
    assert "archive/shop/main/Customers" not in said
    assert said["archive/shop/main/Products"].startswith("no snapshot was taken that day, and the rows are no longer")
    assert said["incremental/shop/main/Transactions"].endswith("its rows are in the next one that was")
    transactions, products = "archive/shop/main/Transactions", "archive/shop/main/Products"
    assert said["feature_store/customer_features"] == f"needs {products}, {transactions} of that day"
    assert said["ml/scores/sales_forecast"] == "needs ml/scoring_input/sales_forecast of that day"
    assert "ml/scores/sales_forecast_job" not in said, "said of what collects"


def test_an_interval_that_was_recorded_and_not_read_is_read_again(
    repository: Any, instance: dg.DagsterInstance, selected: set[dg.AssetKey]
) -> None:
    # The run died between the two: the next day's interval begins where this one ends, and does not have its rows.
    ControlDatabase().intervals.record("shop.main.Transactions", day(3), "2026-01-01", "r")
    missed, other = look(repository, instance, selected, day(3), day(2))
    assert names(missed.makeable) == {"incremental/shop/main/Transactions"}
    assert other.makeable == []


def test_a_snapshot_that_only_the_lake_knows_is_there(
    repository: Any, instance: dg.DagsterInstance, selected: set[dg.AssetKey], lake: Lake
) -> None:
    import pyarrow as pa

    table = pa.table({"Id": [1]})
    folder = lake_layout.archive_folder("shop", "main", "Products", day(2))
    file = lake.write_table(f"{folder}/t.parquet", table)
    about = {"asset": "archive/shop/main/Products", "partition": day(2), "run_id": "r"}
    commit_manifest(lake, folder, build_manifest(files=[file], schema=table.schema, written_at=utc_now(), **about))
    note_made(instance, SOURCES.replace("archive/shop/main/Products ", ""), day(2))
    (missed,) = look(repository, instance, selected, day(2))
    assert names(missed.makeable) == {"archive/shop/main/Products", *REST.split()}
    assert missed.makeable[0].path[-1] == "Products", "before what is made of it"


def test_a_table_that_may_keep_its_past_is_left_to_a_backfill(
    repository: Any, instance: dg.DagsterInstance, selected: set[dg.AssetKey], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its address may be in a Key Vault: then nothing here knows which server it is.
    for address in ("mssql+mssqlpython://sql.example.com/shop", ""):
        monkeypatch.setenv("ADFML_SHOP_URL", address)
        (missed,) = look(repository, instance, selected, day(2))
        assert missed.makeable == []
        assert "keeps its past itself (FOR SYSTEM_TIME)" in reasons(missed)["archive/shop/main/Products"]


def test_a_day_that_is_complete_misses_nothing(
    repository: Any, instance: dg.DagsterInstance, selected: set[dg.AssetKey]
) -> None:
    note_made(instance, f"{SOURCES} {REST}", day(1))
    (missed,) = look(repository, instance, selected, day(1))
    assert (missed.makeable, missed.left_out) == ([], [])
    # As the daily workflow sees it.
    partitions = {key: day(1) for key in selected}
    assert find_missing(instance, repository.asset_graph, partitions, refresh=False) == {}


def test_a_day_that_somebody_is_making_is_left_alone(
    repository: Any, instance: dg.DagsterInstance, selected: set[dg.AssetKey]
) -> None:
    note_made(instance, SOURCES, day(1), day(2))
    features = dg.AssetKey(FEATURES.split()[0].split("/"))
    launch_backfill(instance, repository.asset_graph, {features: [day(2)]}, title="by hand", tags={})
    run = dg.DagsterRun(
        "__ASSET_JOB",
        status=dg.DagsterRunStatus.STARTED,
        asset_selection=frozenset({dg.AssetKey(["ml", "scores", "sales_forecast"])}),
        tags={"dagster/partition": day(1)},
    )
    instance.add_run(run)
    for missed in look(repository, instance, selected, day(2), day(1)):
        assert missed.makeable == []
        assert reasons(missed)["ml/drift/sales_forecast"] == "is under way"


def tick(repository: Any, instance: dg.DagsterInstance, cursor: str | None = None) -> Any:
    sensor = repository.get_sensor_def(f"catch_up_of_{WORKFLOW}")
    context = dg.build_sensor_context(
        instance, cursor, repository_def=repository, resources={"lake": Lake(), "control": ControlDatabase()}
    )
    return sensor.evaluate_tick(context)


def test_the_sensor_asks_for_each_missed_day_once_a_day_within_its_bounds(
    repository: Any, instance: dg.DagsterInstance
) -> None:
    note_made(instance, SOURCES, day(0), day(2), day(7), day(8))
    result = tick(repository, instance)
    config = [request.run_config for request in result.run_requests]
    op = f"launch_catch_up_of_{WORKFLOW}"
    assert config == [{"ops": {op: {"config": {"day": asked}}}} for asked in (day(7), day(2))]
    again = tick(repository, instance, result.cursor)
    assert [one.run_key for one in again.run_requests] == [one.run_key for one in result.run_requests]


def test_the_sensor_says_what_it_does_not_do(repository: Any, instance: dg.DagsterInstance) -> None:
    result = tick(repository, instance)
    assert result.run_requests == []
    assert "Nothing to make up for in the last 7 days. Not made:" in result.skip_message
    assert f"archive/shop/main/Customers {day(7)}: no snapshot was taken that day" in result.skip_message
    assert "more." in result.skip_message, "bounded"


def test_a_launch_is_one_backfill_of_the_day_and_a_second_one_nothing(
    repository: Any, instance: dg.DagsterInstance
) -> None:
    note_made(instance, SOURCES, day(3))
    op = f"launch_catch_up_of_{WORKFLOW}"
    for _ in range(2):
        run_job(repository, instance, f"catch_up_{WORKFLOW}", {"ops": {op: {"config": {"day": day(3)}}}})
    (backfill,) = instance.get_backfills()
    assert backfill.status == BulkActionStatus.REQUESTED
    assert backfill.tags[CATCH_UP_TAG] == day(3)
    target = backfill.get_asset_backfill_data(repository.asset_graph).target_subset
    assert names(target.asset_keys) == set(REST.split())
