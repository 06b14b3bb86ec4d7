"""A day's drift as a user has it: a partition in the lake, three checks, a table and plots, and clear errors."""

from __future__ import annotations

import base64
import re
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from adfml_assets import lake_layout
from adfml_assets.components.drift import Drift
from adfml_assets.drift import shown
from resources.lake import Lake
from resources.manifest import read_manifest
from tests.drift.conftest import (
    DAY,
    FEATURES,
    MODEL,
    checks_of,
    make_features,
    make_scores,
    materialise,
    metadata_of,
    write_day,
    write_metadata,
    write_scored,
    write_training,
    write_version,
)

DRAWS = "draws"
FOLDER = lake_layout.drift_folder(MODEL, DAY)


@pytest.fixture
def draws() -> None:
    """For tests that are about plots too: the others leave out what takes most of their time."""


@pytest.fixture(autouse=True)
def _draw_where_wanted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if DRAWS not in request.fixturenames:
        monkeypatch.setattr(shown, "_draw", lambda lake, report: {})


def read_drift(lake: Lake) -> dict[str, dict[str, Any]]:
    return {row["feature"]: row for row in lake.read_table(f"{FOLDER}/drift.parquet").to_pylist()}


def error_of(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.get_step_failure_events()
    error = event.step_failure_data.error
    assert error is not None
    return (error.cause or error).message


def test_a_day_like_the_training_data_passes(lake: Lake) -> None:
    write_version(lake)
    write_day(lake)
    result = materialise()
    assert {name: (check.passed, check.severity) for name, check in checks_of(result).items()} == dict.fromkeys(
        ("feature_drift", "score_drift", "missing_values"), (True, dg.AssetCheckSeverity.WARN)
    )
    drift = read_drift(lake)
    assert set(drift) == {*FEATURES, "score"}
    assert {row["kind"] for name, row in drift.items() if name != "score"} == {"feature"}
    assert all(row["psi"] < 0.05 and not row["over"] for row in drift.values())
    assert (drift["score"]["version"], drift["score"]["rows"], drift["score"]["kind"]) == ("1", 1000, "score")
    manifest = read_manifest(lake, FOLDER)
    assert manifest is not None
    assert (manifest.facts["over"], manifest.facts["version"]) == (False, "1")
    assert (manifest.facts["rows"], manifest.facts["training_rows"]) == (1000, 4000)
    assert manifest.facts["thresholds"] == {"psi": 0.2, "missing": 0.05}


def test_a_shifted_day_warns_with_what_shifted_and_by_how_much(lake: Lake) -> None:
    write_version(lake)
    write_day(lake, shift=1.0)
    result = materialise()
    assert result.success
    checks = checks_of(result)
    assert not checks["feature_drift"].passed
    assert re.fullmatch(r"recency has PSI [01]\.\d{3}\.", checks["feature_drift"].description)
    assert not checks["score_drift"].passed
    assert checks["missing_values"].passed
    drift = read_drift(lake)
    assert [name for name, row in drift.items() if row["over"]] == ["recency", "score"]
    # Normal values moved by one deviation: 0.86 by the deciles of all of them.
    assert 0.6 < drift["recency"]["psi"] < 1.2
    manifest = read_manifest(lake, FOLDER)
    assert manifest is not None
    assert manifest.facts["over"]
    assert manifest.facts["worst"] == "recency"
    assert manifest.facts["over_features"] == ["recency", "score"]


def test_values_missing_more_often_warn(lake: Lake) -> None:
    write_version(lake)
    write_day(lake, missing=0.3)
    checks = checks_of(materialise())
    assert not checks["missing_values"].passed
    assert re.fullmatch(r"amount is missing in 28\.1%, was in \d+\.\d%\.", checks["missing_values"].description)
    assert checks["feature_drift"].passed
    row = read_drift(lake)["amount"]
    assert (row["missing_over"], row["psi_over"], row["over"]) == (True, False, True)
    assert checks_of(materialise(Drift(missing=0.5)))["missing_values"].passed


@pytest.mark.usefixtures(DRAWS)
def test_infinite_values_are_missing_ones_and_a_constant_may_change(lake: Lake) -> None:
    rng = np.random.default_rng(1)
    constant = {"ratio": rng.normal(size=2000), "country": np.full(2000, 4)}
    write_training(lake, pa.table(constant))
    write_metadata(lake, "1", list(constant))
    ratio = rng.normal(size=500)
    ratio[:100] = np.inf
    write_scored(lake, {"ratio": ratio, "country": np.where(rng.random(500) < 0.5, 4, 9)}, make_scores(500, 1))
    materialise()
    drift = read_drift(lake)
    assert drift["ratio"]["missing_scored"] == 0.2
    assert (drift["ratio"]["psi_over"], drift["ratio"]["missing_over"]) == (False, True)
    assert drift["country"]["psi_over"]


@pytest.mark.usefixtures(DRAWS)
def test_a_feature_without_any_value_has_no_psi_and_is_missing(lake: Lake) -> None:
    write_version(lake)
    features = {**make_features(500, 9), "amount": np.full(500, np.nan)}
    write_scored(lake, features, make_scores(500, 9))
    result = materialise()
    row = read_drift(lake)["amount"]
    assert (row["psi"], row["psi_over"], row["missing_scored"], row["missing_over"]) == (None, False, 1.0, True)
    assert metadata_of(result)["drift"].records[-1].data["psi"] == "none"


def test_few_records_raise_no_false_alarm(lake: Lake) -> None:
    # Ten records of 20 features: the PSI of each is far above 0.2, by chance.
    rng = np.random.default_rng(5)
    names = [f"f{number}" for number in range(20)]
    write_training(lake, pa.table({name: rng.normal(size=3000) for name in names}))
    write_metadata(lake, "1", names)
    write_scored(lake, {name: rng.normal(size=10) for name in names}, make_scores(10, 1))
    checks = checks_of(materialise())
    drift = read_drift(lake)
    assert sum(row["psi"] > 0.2 for row in drift.values()) > 10
    assert all(check.passed for check in checks.values())


def test_only_declared_features_or_all_but_those_left_out_are_compared(lake: Lake) -> None:
    write_version(lake)
    write_day(lake, shift=1.0)
    checks = checks_of(materialise(Drift(features=["amount", "purchases"])))
    assert list(read_drift(lake)) == [
        "score",
        *sorted({"amount", "purchases"}, key=lambda n: -read_drift(lake)[n]["psi"]),
    ]
    assert checks["feature_drift"].passed
    checks = checks_of(materialise(Drift(leave_out=["recency"])))
    assert set(read_drift(lake)) == {*FEATURES, "score"} - {"recency"}
    assert checks["feature_drift"].passed
    result = materialise(Drift(features=["recencey"]), raise_on_error=False)
    assert "Model spend version 1 does not have recencey. It has: recency, purchases" in error_of(result)
    assert "Did you mean 'recency'?" in error_of(result)


@pytest.mark.usefixtures(DRAWS)
def test_the_metadata_have_a_table_and_small_pictures(lake: Lake) -> None:
    write_version(lake)
    write_version(lake, "2")
    for number, version in ((9, "1"), (10, "2")):
        write_day(lake, day=f"2026-03-{number:02d}", version=version, shift=number - 9)
        result = materialise(day=f"2026-03-{number:02d}")
    found = metadata_of(result)
    rows = [record.data for record in found["drift"].records]
    assert {row["feature"] for row in rows} == {*FEATURES, "score"}
    psi = [float(row["psi"]) for row in rows]
    assert psi == sorted(psi, reverse=True)
    assert (found["model_version"], found["records"], found["over"]) == ("2", 1000, True)
    for name in ("psi", "distributions_of_features", "distribution_of_scores", "psi_of_the_last_days"):
        match = re.fullmatch(r"!\[[A-Za-z ]+\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", found[name])
        assert match, name
        picture = base64.b64decode(match[1])
        assert picture.startswith(b"\x89PNG")
        assert 2_000 < len(picture) < 100_000


def test_a_day_without_records_says_so_and_passes(lake: Lake) -> None:
    write_scored(lake, {name: np.array([], float) for name in FEATURES}, np.array([]))
    result = materialise()
    found = metadata_of(result)
    assert found["note"] == "There were no records to score on 2026-03-10: nothing to compare."
    assert (found["dagster/row_count"], found["over"]) == (0, False)
    checks = checks_of(result)
    assert [check.passed for check in checks.values()] == [True] * 3
    assert checks["score_drift"].description == found["note"]
    assert "psi" not in found


@pytest.mark.usefixtures(DRAWS)
def test_a_version_without_a_profile_of_its_scores_compares_features_only(lake: Lake) -> None:
    write_version(lake, profile=False)
    write_day(lake, shift=1.0)
    result = materialise()
    checks = checks_of(result)
    assert checks["score_drift"].passed
    assert checks["score_drift"].description.startswith("Version 1 has no `score_profile` in its metadata.json")
    assert not checks["feature_drift"].passed
    assert "score" not in read_drift(lake)


def test_a_version_without_training_data_in_the_lake_says_what_to_do(lake: Lake) -> None:
    write_metadata(lake, "1", FEATURES)
    write_day(lake)
    message = error_of(materialise(raise_on_error=False))
    assert "ml/training-data/spend/version=1 has no train.parquet with a manifest" in message
    assert "Materialise the model's training data, partition 1" in message


def test_an_input_made_for_another_version_is_not_compared(lake: Lake) -> None:
    write_version(lake)
    write_day(lake, version="2")
    input_folder = lake_layout.scoring_input_folder(MODEL, DAY)
    input_of_2 = lake.read_bytes(f"{input_folder}/_manifest.json")
    write_day(lake, version="1")
    lake.write_bytes(f"{input_folder}/_manifest.json", input_of_2)
    message = error_of(materialise(raise_on_error=False))
    assert "the scores are by version 1, the scoring input was made for version 2 meanwhile" in message


@pytest.mark.parametrize(
    ("profile", "reason"),
    [
        ({"edges": [1.0, 2.0], "counts": [1, 2], "rows": 3}, "2 edges, 2 counts"),
        ({"edges": [2.0, 1.0], "counts": [1, 1, 1], "rows": 3}, "its edges do not rise"),
        ({"edges": [1.0], "counts": [1, 1], "rows": 3}, "its counts add up to 2, its rows are 3"),
        ({"edges": [1.0], "rows": 3}, "KeyError: 'counts'"),
    ],
)
def test_a_profile_that_is_none_is_refused(lake: Lake, profile: dict[str, Any], reason: str) -> None:
    write_version(lake)
    write_metadata(lake, "1", FEATURES, profile)
    write_day(lake)
    assert f"metadata.json's score_profile cannot be used ({reason})" in error_of(materialise(raise_on_error=False))
