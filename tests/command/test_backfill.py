"""`adfml backfill`: what can be made of past days and what cannot, said before anything is launched."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from adfml_assets import lake_layout
from adfml_cli import workflow
from adfml_cli.backfill import list_days
from resources.control import ControlDatabase, utc_now
from resources.lake import Lake
from resources.manifest import build_manifest, commit_manifest
from resources.remote_jobs import RemoteStatus
from tests.command.conftest import call, key

SNAPSHOT, INCREMENT = "archive/shop/main/Transactions", "incremental/shop/main/Transactions"
CURRENT, FEATURES = "current/shop/main/Transactions", "feature_store/customer_features"
JOB, SCORES = "ml/scores/sales_forecast_job", "ml/scores/sales_forecast"
DAYS = [f"{datetime.now(UTC) - timedelta(days=number):%Y-%m-%d}" for number in (3, 2, 1, 0)]
"""The last of them is today."""


@pytest.fixture(scope="module")
def repository() -> dg.RepositoryDefinition:
    """What this project's own demo declares."""
    return workflow.load_repository()


@pytest.fixture
def instance(
    home: Path, repository: dg.RepositoryDefinition, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    monkeypatch.setattr(workflow, "load_repository", lambda: repository)
    with dg.DagsterInstance.get() as instance:
        yield instance
        for backfill in instance.get_backfills():
            instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELED))
        instance.wipe_assets(list(instance.all_asset_keys()))


def note(instance: dg.DagsterInstance, day: str, *names: str) -> None:
    for name in names:
        instance.report_runless_asset_event(dg.AssetMaterialization(key(name), partition=day))


def archive(lake: Lake, day: str) -> None:
    """A snapshot of Transactions, as far as a listing sees it."""
    import pyarrow as pa

    table = pa.table({"Id": [1]})
    folder = lake_layout.archive_folder("shop", "main", "Transactions", day)
    manifest = build_manifest(
        asset=SNAPSHOT,
        partition=day,
        files=[lake.write_table(f"{folder}/t.parquet", table)],
        schema=table.schema,
        written_at=utc_now(),
        run_id="r",
    )
    commit_manifest(lake, folder, manifest)


def preview(selection: str, *options: str) -> dict[str, dict[str, tuple[str, str]]]:
    """Asset -> day -> (outcome, why)."""
    result = call("backfill", selection, "--from", DAYS[0], "--to", DAYS[-1], "--preview", "--json", *options)
    assert result.exit_code == 0, result.output
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for group in json.loads(result.stdout)["preview"]["partitions"]:
        for day in group["days"]:
            found.setdefault(group["asset"], {})[day] = (group["outcome"], group["why"])
    return found


def test_a_full_snapshot_of_a_past_day_is_not_asked_for(instance: dg.DagsterInstance, lake: Lake) -> None:
    archive(lake, DAYS[1])
    archive(lake, DAYS[2])
    note(instance, DAYS[1], SNAPSHOT)
    found = preview(f'key:"{SNAPSHOT}"')[SNAPSHOT]
    assert [found[day][0] for day in DAYS] == ["impossible", "there", "make", "make"]
    assert found[DAYS[0]][1] == "no snapshot was taken that day, and the rows are no longer what they were"
    assert "stays as it is" in found[DAYS[2]][1], "the lake has it, and only Dagster does not know"
    anew = preview(f'key:"{SNAPSHOT}"', "--refresh")[SNAPSHOT]
    assert [anew[day][0] for day in DAYS] == ["impossible", "there", "make", "make"]


def test_a_table_that_may_keep_its_past_is_tried(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_SHOP_URL", "mssql+mssqlpython://sql.example.com/shop")
    found = preview(f'key:"{SNAPSHOT}"')[SNAPSHOT]
    assert [found[day][0] for day in DAYS] == ["try", "try", "try", "make"]
    assert "FOR SYSTEM_TIME" in found[DAYS[0]][1]


def test_an_increment_reads_its_recorded_interval_and_no_other_past_day(
    instance: dg.DagsterInstance, control: ControlDatabase
) -> None:
    control.intervals.record("shop.main.Transactions", DAYS[0], "2026-01-01", "r")
    note(instance, DAYS[0], INCREMENT)
    found = preview(f'key:"{INCREMENT}"', "--refresh")[INCREMENT]
    assert found[DAYS[0]] == ("again", "reads its recorded interval again")
    assert found[DAYS[1]][0] == "impossible"
    assert "its rows are in the next one" in found[DAYS[1]][1]
    assert found[DAYS[3]] == ("make", ""), "today's interval is recorded when it is read"


def test_rows_that_waited_on_a_past_day_are_only_tried(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from adfml_assets.partitions import build_daily_partitions
    from adfml_assets.past_days import COVERED_TAGS

    asset = key("ml/scoring_input/waiting")

    @dg.asset(key=asset, partitions_def=build_daily_partitions(), tags=COVERED_TAGS)
    def waiting() -> None: ...

    monkeypatch.setattr(workflow, "load_repository", dg.Definitions(assets=[waiting]).get_repository_def)
    found = preview(asset.to_user_string())[asset.to_user_string()]
    assert [found[day][0] for day in DAYS] == ["try", "try", "try", "make"]
    assert found[DAYS[0]][1].endswith("what still waits is taken by the next day made")


def test_what_is_made_of_a_day_that_cannot_be_made_cannot_be_made(instance: dg.DagsterInstance, lake: Lake) -> None:
    archive(lake, DAYS[1])
    note(instance, DAYS[1], SNAPSHOT, "archive/shop/main/Products")
    chosen = f'key:"{SNAPSHOT}" or key:"archive/shop/main/Products" or key:"{FEATURES}" or key:"{CURRENT}"'
    found = preview(chosen)
    assert [found[FEATURES][day][0] for day in DAYS] == ["impossible", "impossible", "impossible", "make"]
    assert SNAPSHOT in found[FEATURES][DAYS[0]][1]
    assert SNAPSHOT not in found[FEATURES][DAYS[1]][1], "that one is there"
    assert [found[CURRENT][day][0] for day in DAYS] == ["impossible", "make", "make", "make"]


def test_what_is_not_selected_and_not_there_is_said(instance: dg.DagsterInstance) -> None:
    note(instance, DAYS[3], SNAPSHOT, "archive/shop/main/Products")
    found = preview(FEATURES)[FEATURES]
    assert [found[day][0] for day in DAYS] == ["try", "try", "try", "make"]
    assert found[DAYS[0]][1].endswith(f"{SNAPSHOT} of the day is not there, and not selected")


def test_jobs_say_what_they_cost_and_what_is_taken_up(instance: dg.DagsterInstance, control: ControlDatabase) -> None:
    job = control.ledger.open_job(
        asset=JOB,
        collecting_asset=SCORES,
        partition=DAYS[1],
        service="databricks",
        request={"job": "adfml_scoring"},
        deadline=timedelta(hours=1),
        max_tries=1,
        run_id="r",
    )
    control.ledger.record_ended(job.submission_key, RemoteStatus("succeeded", "TERMINATED/SUCCESS"))
    note(instance, DAYS[0], JOB, SCORES)
    note(instance, DAYS[1], JOB)
    for day in DAYS:
        note(instance, day, "ml/scoring_input/sales_forecast", "archive/shop/main/Feedback")
    found = preview(f'key:"{JOB}" or key:"{SCORES}" or key:"ml/text_scores/feedback_sentiment_job"')
    assert [found[SCORES][day][0] for day in DAYS] == ["there", "make", "make", "make"]
    assert [found[JOB][day][0] for day in DAYS] == ["there", "again", "make", "make"]
    assert found[JOB][DAYS[2]][1] == "submits a job on Databricks"
    assert "those that have one are not asked again" in found["ml/text_scores/feedback_sentiment_job"][DAYS[0]][1]
    taken_up = preview(f'key:"{JOB}" or key:"{SCORES}"', "--refresh")[JOB][DAYS[1]]
    assert "was not collected: it is taken up, and not paid for twice" in taken_up[1]


def test_what_can_be_made_is_launched_once_agreed(instance: dg.DagsterInstance) -> None:
    arguments = ("backfill", SNAPSHOT, "--from", DAYS[2], "--to", DAYS[3])
    before = len(instance.get_backfills())
    assert call(*arguments, answer="n\n").exit_code == 1
    assert len(instance.get_backfills()) == before
    done = call(*arguments, answer="y\n")
    assert done.exit_code == 0, done.output
    assert "cannot be made" in done.stdout
    (launched,) = [one for one in instance.get_backfills() if one.status == BulkActionStatus.REQUESTED]
    data = launched.asset_backfill_data
    assert data is not None
    subsets = data.target_subset.partitions_subsets_by_asset_key
    assert {one.to_user_string(): sorted(subsets[one].get_partition_keys()) for one in subsets} == {SNAPSHOT: [DAYS[3]]}
    assert f"Backfill {launched.backfill_id} is launched." in done.stdout


def test_versions_are_left_out_with_the_command_that_makes_them(instance: dg.DagsterInstance) -> None:
    chosen = 'key:"ml/models/sales_forecast" or key:"feature_store/customer_features"'
    result = call("backfill", chosen, "--from", DAYS[3], "--preview")
    assert "left out: ml/models/sales_forecast: its partitions are versions: adfml train makes them." in result.stdout
    assert result.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("group:archive", "--from", "2026-02-30"), "--from is '2026-02-30': expected a day as YYYY-MM-DD."),
        (("group:archive", "--from", DAYS[1], "--to", DAYS[0]), f"--to {DAYS[0]} is before --from {DAYS[1]}."),
        (("group:archive", "--from", "2019-01-01"), "has no partition '2019-01-01': expected a day from"),
        (("group:archiv", "--from", DAYS[0]), "'group:archiv' chooses no asset; the groups are:"),
        (("group:", "--from", DAYS[0]), "'group:' is no selection of assets"),
        # The UI's own filters, which Dagster's code cannot resolve.
        (("status:MATERIALIZED", "--from", DAYS[0]), "'status:MATERIALIZED' is no selection of assets"),
        (("code_location:adfml", "--from", DAYS[0]), "'code_location:adfml' is no selection of assets"),
        (('key:"ml/champions/sales_forecast"', "--from", DAYS[0]), "None of the selected assets has days"),
    ],
)
def test_what_cannot_be_is_one_sentence(instance: dg.DagsterInstance, arguments: tuple[str, ...], said: str) -> None:
    result = call("backfill", *arguments, "--yes")
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


@pytest.mark.parametrize("text", ["20260301", "2026-W10-1", "", "today"])
def test_a_day_is_written_in_one_way(text: str) -> None:
    result: Any = call("backfill", "group:archive", "--from", text, "--yes")
    assert result.exit_code == 1
    assert list_days("2026-02-27", "2026-03-01") == ["2026-02-27", "2026-02-28", "2026-03-01"]
