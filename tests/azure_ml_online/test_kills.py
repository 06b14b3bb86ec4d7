"""A run that is killed leaves a day as it was, or not visible at all; the next run makes it whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import adfml_assets
from resources.control import ControlDatabase
from resources.lake import Lake
from resources.manifest import read_manifest
from tests.azure_ml_online.conftest import Bench, make_records, predict_here
from tests.azure_ml_online.days import SCORES, materialise, put_model, put_records
from tests.kills import repeat_kills

ROOT = Path(adfml_assets.__file__).parent.parent


@repeat_kills()
@pytest.mark.parametrize(
    ("function", "call", "stays_visible"),
    [
        ("_note", 5, True),
        ("_Sheet.flush", 2, True),
        ("_verify", 1, False),
        ("write_manifest", 1, False),
    ],
)
def test_a_killed_run_makes_nothing_half_visible(
    bench: Bench, lake: Lake, control: ControlDatabase, function: str, call: int, stays_visible: bool, kill: int
) -> None:
    records = make_records(300)
    put_model(lake, control)
    put_records(lake, records)
    assert materialise(scoring_uri=bench.uri).success
    before = read_manifest(lake, SCORES)
    bench.behave("nan")
    command = [sys.executable, "-m", "tests.azure_ml_online.killed", bench.uri, function, str(call)]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -9, killed.stderr[-2000:]
    if stays_visible:
        assert read_manifest(lake, SCORES) == before
        assert lake.describe_file(f"{SCORES}/predictions.parquet").sha256 == before.files[0].sha256  # type: ignore[union-attr]
    else:
        assert read_manifest(lake, SCORES) is None
    assert materialise(scoring_uri=bench.uri).success
    after = read_manifest(lake, SCORES)
    assert after is not None
    lake.verify_file(f"{SCORES}/predictions.parquet", after.files[0])
    scores = lake.read_table(f"{SCORES}/predictions.parquet")
    assert scores["RecordId"].to_pylist() == records["RecordId"].to_pylist()
    assert scores["score"].to_pylist() == predict_here(bench.models.champion, records)
    assert lake.list_files(SCORES) == [f"{SCORES}/_manifest.json", f"{SCORES}/predictions.parquet"]
    left = sorted(path.name for path in Path(lake.uri(SCORES)).iterdir())
    assert left == ["_manifest.json", "predictions.parquet"]
