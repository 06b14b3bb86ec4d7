"""A removal: nothing half is ever seen as whole, whatever is killed; what was begun is ended; Dagster is told once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest

from adfml_assets.lake_layout import scores_folder
from adfml_assets.retention import removing
from adfml_assets.retention.plan import Going
from resources.lake import Lake
from resources.manifest import FILE_NAME, list_data_paths, read_manifest
from tests.kills import count_kills, repeat_kills
from tests.retention.conftest import TABLE, Site, days_ago

OLD, NEW = days_ago(100)[0], days_ago(0)[0]
FOLDER = scores_folder("sales", OLD)
KEY = dg.AssetKey(["ml", "scores", "sales"])
GOING = Going("ml/scores/sales", OLD, FOLDER, "ml/*: 10 days, the newest 1 are kept")


def remove(site: Site, *going: Going) -> list[str]:
    gone = removing.remove_partitions(site.lake, site.control, site.instance, going or (GOING,))
    return [removal.partition for removal in gone]


def observations(site: Site) -> list[dg.AssetObservation]:
    records = site.instance.fetch_observations(dg.AssetRecordsFilter(KEY, asset_partitions=[OLD]), limit=10).records
    found = [record.asset_observation for record in records]
    assert None not in found
    return [one for one in found if one is not None]


def test_a_removed_partition_leaves_no_file_and_dagster_says_by_which_rule(site: Site) -> None:
    site.scores(OLD, NEW)
    site.lake.write_bytes(f"{FOLDER}/answers/part.jsonl", b"{}")
    assert remove(site) == [OLD]
    assert site.lake.list_files(FOLDER) == []
    assert read_manifest(site.lake, scores_folder("sales", NEW)) is not None
    (observed,) = observations(site)
    assert observed.description == f"Removed by retention: {GOING.reason}."
    assert observed.metadata["retention/rows"] == dg.MetadataValue.int(6)
    assert observed.metadata["retention/written_by"] == dg.MetadataValue.text("run")
    assert site.instance.get_materialized_partitions(KEY) == {OLD, NEW}, "what was made stays true, and is not missed"
    last = site.control.removals.find_last("ml/scores/sales", OLD)
    assert last is not None
    assert site.control.removals.list_unended() == []
    assert remove(site) == [], "twice is no harm"


def test_one_that_is_made_again_is_there_and_may_go_again(site: Site) -> None:
    site.scores(OLD)
    remove(site)
    site.scores(OLD)
    assert remove(site) == [OLD]
    assert len(observations(site)) == 2


def test_what_is_made_again_between_the_intent_and_its_end_stays(site: Site) -> None:
    site.scores(OLD)
    manifest = read_manifest(site.lake, FOLDER)
    assert manifest is not None
    site.control.removals.intend("ml/scores/sales", OLD, FOLDER, "rule", manifest.model_dump_json())
    again = site.put("ml/scores/sales", FOLDER, OLD, run_id="another run")
    assert removing.finish_removals(site.lake, site.control, site.instance) == []
    assert read_manifest(site.lake, FOLDER) == again
    assert len(site.lake.list_files(FOLDER)) == 3
    assert observations(site) == []
    assert site.control.removals.list_unended() == []


def test_a_file_that_is_being_written_after_the_manifest_went_is_not_ours(site: Site) -> None:
    site.scores(OLD)
    manifest = read_manifest(site.lake, FOLDER)
    assert manifest is not None
    site.control.removals.intend("ml/scores/sales", OLD, FOLDER, "rule", manifest.model_dump_json())
    site.lake.delete(f"{FOLDER}/{FILE_NAME}")
    time.sleep(0.02)  # the clock that files are stamped by is some milliseconds behind
    site.lake.write_table(f"{FOLDER}/part_0.parquet", TABLE)  # the next run's, under the same name
    (removal,) = removing.finish_removals(site.lake, site.control, site.instance)
    assert removal.partition == OLD
    assert site.lake.list_files(FOLDER) == [f"{FOLDER}/part_0.parquet"]


def test_a_writer_that_commits_first_keeps_its_partition(site: Site) -> None:
    asset, folder = "archive/shop/main/Orders", f"archive/shop/main/Orders/snapshot_date={OLD}"
    site.archive(OLD)
    mine = site.control.claims.take(asset, OLD, removing.utc_now(), "writer")
    site.control.claims.commit(mine, lambda: None)
    going = Going(asset, OLD, folder, "rule")

    def overtaken(lake: Lake, path: str) -> None:
        raise AssertionError(f"{path} was deleted")

    take = site.control.claims.take

    with pytest.MonkeyPatch.context() as patch:

        def take_and_be_overtaken(self: object, *arguments: object) -> object:
            claim = take(*arguments)  # type: ignore[arg-type]
            later = take(asset, OLD, removing.utc_now(), "writer")
            site.control.claims.commit(later, lambda: None)
            return claim

        patch.setattr(type(site.control.claims), "take", take_and_be_overtaken)
        patch.setattr(Lake, "delete", overtaken)
        assert remove(site, going) == []
    assert read_manifest(site.lake, folder) is not None


@pytest.mark.parametrize("step", range(1, 8) if count_kills() > 1 else (2, 4, 6))
@repeat_kills()
def test_killed_anywhere_nothing_half_is_seen_and_the_next_run_ends_it(home_site: Site, step: int, kill: int) -> None:
    site = home_site
    site.scores(OLD, NEW)
    assert start(step).wait(120) == -signal.SIGKILL
    seen = read_manifest(site.lake, FOLDER)
    if seen is not None:
        for path, file in zip(list_data_paths(FOLDER, seen), seen.files, strict=True):
            site.lake.verify_file(path, file)
    removing.finish_removals(site.lake, site.control, site.instance)
    if seen is not None and read_manifest(site.lake, FOLDER) is not None:
        assert remove(site) == [OLD]
    assert site.lake.list_files(FOLDER) == []
    assert len(site.lake.list_files(scores_folder("sales", NEW))) == 3
    assert 1 <= len(observations(site)) <= 2, "told, at least once"
    assert site.control.removals.list_unended() == []


def start(step: int) -> subprocess.Popen[bytes]:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.retention.killed", str(step), OLD, FOLDER]
    return subprocess.Popen(command, cwd=root, env=dict(os.environ))
