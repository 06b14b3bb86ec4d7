"""A run that is killed while it collects a batch endpoint's scores: a reader sees a whole day or none, the next run
collects the same job, and nothing is scored, or paid for, again."""

from __future__ import annotations

import signal
import sqlite3
from pathlib import Path

from adfml_assets import lake_layout
from resources.lake import Lake
from resources.manifest import Manifest, read_manifest
from tests.azure_ml_batch.collecting_process import run
from tests.azure_ml_batch.conftest import Bench
from tests.azure_ml_batch.test_scored_model import DAY, MODEL, Workflow, find_input, put_features, put_model, scored

ROWS = 200
SCORES, COMPONENT = "adfml_assets.scoring.scores", "adfml_assets.scoring_assets"
MOMENTS = [
    ("resources.parquet_files:ParquetSink.write", "after"),
    (f"{COMPONENT}:verify_scores", "before"),
    (f"{SCORES}:commit_manifest", "before"),
    (f"{SCORES}:commit_manifest", "after"),
    ("resources.ledger:Ledger.mark_collected", "after"),
]


def read_day(lake: Lake) -> Manifest | None:
    """What a reader sees of the day: nothing, or scores that are what their manifest says."""
    folder = lake_layout.scores_folder(MODEL, DAY)
    manifest = read_manifest(lake, folder)
    if manifest is not None:
        for file in manifest.files:
            lake.verify_file(f"{folder}/{file.name}", file)
    return manifest


def test_scores_are_seen_whole_or_not_at_all_wherever_collecting_is_killed(
    bench: Bench, model: Path, shop: sqlite3.Connection
) -> None:
    workflow = Workflow(bench, scored(), DAY)
    lake, ledger = workflow.lake, workflow.control.ledger
    put_features(lake, ROWS)
    put_model(lake, workflow.control, model)
    # The second time the day has scores already, which are to be replaced.
    for attempt, moments in ((1, MOMENTS[1::3]), (2, MOMENTS)):
        before = read_day(lake)
        workflow.run(find_input(workflow), f"{MODEL}_job")
        job = workflow.wait()
        assert (job.state, job.attempt) == ("succeeded", attempt), job.message
        for where, when in moments:
            assert run(where, when) == -signal.SIGKILL
            seen = read_day(lake)
            assert seen is None or seen.source["submission_key"] == job.submission_key or seen == before
        # Once its manifest was there a day is never taken away again.
        assert read_day(lake) is not None
        # The last one had the job noted as collected; the next run collects it all the same.
        workflow.run(f"ml/scores/{MODEL}", "Predictions")
        manifest = read_day(lake)
        assert manifest is not None
        assert (manifest.rows, manifest.source["submission_key"]) == (ROWS, job.submission_key)
        assert ledger.get(job.submission_key).collected_at is not None
        folder = Path(lake.uri(lake_layout.scores_folder(MODEL, DAY)))
        assert sorted(path.name for path in folder.iterdir()) == ["_manifest.json", "predictions.parquet"]
    assert shop.execute("SELECT count(*) FROM Predictions").fetchone() == (ROWS,)
    assert len(ledger.list_jobs()) == 2
