"""What stays whatever the rule says: models in use, open jobs, unfinished runs, claims, the only copy of rows."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest

from adfml_assets.asset_keys import model_key, training_data_key
from adfml_assets.lake_layout import archive_folder, features_folder, training_data_folder
from resources.control import utc_now
from resources.manifest import commit_manifest, read_manifest
from resources.model_registry import VersionRecord
from resources.model_versions import Verdict
from resources.remote_jobs import RemoteStatus
from tests.retention.conftest import Site, days_ago

OLD, OLDER, NEW = days_ago(100)[0], days_ago(101)[0], days_ago(0)[0]


def put_training_data(site: Site, version: str, features_day: str, label_day: str, model: str = "sales") -> None:
    source = {
        "features": [{"folder": features_folder("customers", features_day), "run_id": "run"}],
        "label": {"tables": {"orders": "shop.main.Orders"}, "snapshot_date": label_day},
    }
    asset = training_data_key(model).to_user_string()
    site.put(asset, training_data_folder(model, version), version, source=source)


def add_version(
    site: Site, version: str, day: str, verdict: Verdict = "passed", compared_to: str | None = None
) -> None:
    put_training_data(site, version, day, day)
    site.control.models.register(
        VersionRecord("sales", version, "run", "model.skops", "0" * 64, "f" * 64, {"test": {"mae": 1.0}})
    )
    site.control.models.judge("sales", version, verdict, "Numbers.", compared_to)


def open_job(site: Site, asset: str, partition: str) -> str:
    job = site.control.ledger.open_job(
        asset=f"{asset}_job",
        collecting_asset=asset,
        partition=partition,
        service="databricks",
        request={},
        deadline=timedelta(hours=1),
        max_tries=1,
        run_id="run",
    )
    return job.submission_key


def test_what_versions_in_use_were_trained_on_stays_and_the_rest_goes(site: Site) -> None:
    site.features(*days_ago(0, 100, 101, 102))
    site.archive(*days_ago(0, 100, 101, 102))
    add_version(site, "1", OLD)
    site.control.models.promote("sales", "1", "somebody", "it passed")
    add_version(site, "2", OLDER, "refused", "1")
    assert site.going(keep_days=10) == [days_ago(102)[0], OLDER] * 2
    why = "the training data of sales version 1, which is in use, was made of it"
    assert site.staying(keep_days=10) == {OLD: why}


def test_a_snapshot_that_a_version_was_chosen_from_stays_also_where_no_row_of_it_was_used(site: Site) -> None:
    site.features(*days_ago(0, 100, 101, 102))
    add_version(site, "1", OLD)
    folder = training_data_folder("sales", "1")
    manifest = read_manifest(site.lake, folder)
    assert manifest is not None
    source = {"kind": "features", "feature_set": "customers", "snapshot_dates": [OLDER, OLD]}
    commit_manifest(site.lake, folder, manifest.model_copy(update={"facts": {"source": source}}))
    assert site.going(keep_days=10) == [days_ago(102)[0]]


def test_a_former_champion_is_in_use_as_a_rollback_may_return_to_it(site: Site) -> None:
    site.features(*days_ago(0, 100, 101))
    for version, day, champion in (("1", OLD, None), ("2", OLDER, "1")):
        add_version(site, version, day, compared_to=champion)
        site.control.models.promote("sales", version, "somebody", "it passed")
    assert site.going(keep_days=10) == []


@pytest.mark.parametrize("model", ["sales", "sales-forecast"])
def test_the_inputs_of_an_open_training_job_stay(site: Site, model: str) -> None:
    site.features(*days_ago(0, 100, 101))
    put_training_data(site, "3", OLD, OLD, model)
    key = open_job(site, model_key(model).to_user_string(), "3")
    assert site.going(keep_days=10) == [OLDER]
    site.control.ledger.record_ended(key, RemoteStatus("failed", "FAILED"))
    assert site.going(keep_days=10) == [OLDER, OLD]


def test_a_day_whose_remote_job_is_open_or_not_collected_stays_whole(site: Site) -> None:
    site.features(*days_ago(0, 100))
    site.scores(*days_ago(0, 100))
    key = open_job(site, "ml/scores/sales", OLD)
    assert site.going(keep_days=10) == []
    site.control.ledger.record_ended(key, RemoteStatus("succeeded", "SUCCESS"))
    assert "not collected" in site.staying(keep_days=10)[OLD]
    site.control.ledger.mark_collected(key, "run")
    assert site.going(keep_days=10) == [OLD, OLD]


@pytest.mark.parametrize(
    "tags",
    [
        {"dagster/partition": OLD},
        {"dagster/asset_partition_range_start": OLDER, "dagster/asset_partition_range_end": days_ago(99)[0]},
    ],
)
def test_a_day_that_a_run_is_under_way_for_stays(site: Site, tags: dict[str, str]) -> None:
    site.scores(*days_ago(0, 100))
    site.instance.add_run(dg.DagsterRun("job", run_id="r1", status=dg.DagsterRunStatus.STARTED, tags=tags))
    assert site.staying(keep_days=10) == {OLD: "run r1 of that day has not ended"}


def test_a_partition_that_is_claimed_stays_until_it_is_committed_or_the_claim_is_old(site: Site) -> None:
    site.archive(*days_ago(0, 100))
    claim = site.control.claims.take("archive/shop/main/Orders", OLD, utc_now(), "writer")
    assert site.staying(keep_days=10) == {OLD: "a run has claimed it and not committed yet"}
    site.control.claims.commit(claim, lambda: None)
    assert site.going(keep_days=10) == [OLD]


def test_increments_that_no_later_snapshot_holds_stay(site: Site) -> None:
    site.increments(*days_ago(0, 99, 100, 101))
    assert site.going(keep_days=10) == []
    assert "no later full snapshot has its rows" in site.staying(keep_days=10)[OLD]
    site.archive(OLD)
    assert site.going(keep_days=10) == [OLDER], "the snapshot's own day may have been read after it"
    site.archive(NEW)
    assert set(site.going(keep_days=10)) == {OLD, OLDER, days_ago(99)[0]}


def test_a_snapshot_that_goes_itself_covers_nothing(site: Site) -> None:
    site.increments(*days_ago(0, 100, 150))
    site.archive(*days_ago(90, 120))
    plans = site.plan({"assets": "archive/*", "keep_days": 10}, {"assets": "incremental/*", "keep_days": 10})
    gone = {each.asset.partition("/")[0]: [one.day for one in each.going] for each in plans}
    assert gone == {"archive": days_ago(120), "incremental": days_ago(150, 100)}


def test_an_append_only_log_may_lose_its_whole_state_where_that_is_said(site: Site) -> None:
    site.increments(*days_ago(0, 100))
    assert site.going(keep_days=10, may_lose_state=True) == [OLD]


def test_the_folder_of_a_label_is_that_of_its_table(site: Site) -> None:
    site.archive(*days_ago(0, 100))
    add_version(site, "1", OLD)
    site.control.models.promote("sales", "1", "somebody", "it passed")
    assert site.going(keep_days=10) == []
    assert site.lake.list_files(archive_folder("shop", "main", "Orders", OLD))
