"""Stored models: used where declared, told apart from others, and never trusted further than they go."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest

from adfml_assets.anomalies.declared import DetectorSpec, FitRules
from adfml_assets.anomalies.errors import GroupsFailed, ModelMismatch, ModelRefused
from resources.lake import Lake
from tests.anomalies.conftest import SPEC, VARIABLES, detect, make_times, make_values, read_rows, row_of, to_table

WEEKLY = replace(SPEC, fit=FitRules(7, "weekly"))
FIXED = replace(SPEC, fit=FitRules(None, first_day=date(2026, 2, 19), last_day=date(2026, 3, 1)))
TABLE = to_table(make_values())


def read_metadata(lake: Lake, version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lake.read_bytes(f"ml/anomaly-models/press/version={version}/metadata.json"))
    return found


def test_metadata_say_what_was_fitted(lake: Lake) -> None:
    found = detect(lake, TABLE)
    metadata = read_metadata(lake, "2026-03-10")
    assert metadata["variables"] == list(VARIABLES)
    assert metadata["fit_window"] == "2026-02-24 to 2026-03-09"
    (series,) = metadata["series"]
    assert series["rows"] + series["trimmed"] == 14 * 144
    assert 0.9 < series["explained_variance"] < 1
    assert series["threshold"] == found.summary.series[0].threshold
    content = lake.read_bytes(f"ml/anomaly-models/press/version=2026-03-10/{metadata['model_file']}")
    assert hashlib.sha256(content).hexdigest() == metadata["model_sha256"]


@pytest.mark.parametrize(
    ("spec", "version", "fit"),
    [(WEEKLY, "2026-03-09", "2026-03-02 to 2026-03-08"), (FIXED, "2026-03-02", "2026-02-19 to 2026-03-01")],
)
def test_a_stored_model_checks_other_days_alike(lake: Lake, spec: DetectorSpec, version: str, fit: str) -> None:
    first = detect(lake, TABLE, spec, "2026-03-09")
    second = detect(lake, TABLE, spec, "2026-03-10")
    assert (first.fitted, second.fitted) == (True, False)
    assert [str(each.windows.fit) for each in (first, second)] == [fit, fit]
    rows = read_rows(lake, second)
    assert set(rows["model_version"].to_pylist()) == {version}
    again = detect(lake, TABLE, spec, "2026-03-10", refit=True)
    assert again.fitted
    assert read_rows(lake, again).equals(rows), "what is loaded scores as what was fitted"


def test_a_week_is_fitted_on_the_same_days_whichever_comes_first(lake: Lake) -> None:
    found = [str(detect(lake, TABLE, WEEKLY, f"2026-03-{day:02}", refit=True).windows.fit) for day in (4, 2, 8, 9)]
    assert found == ["2026-02-23 to 2026-03-01"] * 3 + ["2026-03-02 to 2026-03-08"]


def test_a_refit_leaves_one_file(lake: Lake) -> None:
    for _ in range(3):
        detect(lake, TABLE)
    files = lake.list_files("ml/anomaly-models/press")
    assert [path.rpartition("/")[2].partition("_")[0] for path in files] == ["metadata.json", "model"]


def test_a_model_of_other_columns_is_refused_with_both_lists(lake: Lake) -> None:
    detect(lake, TABLE, WEEKLY)
    with pytest.raises(ModelMismatch) as caught:
        detect(lake, TABLE, replace(WEEKLY, variables=("Pressure", "Speed")))
    assert str(caught.value) == (
        "ml/anomaly-models/press/version=2026-03-09/metadata.json was fitted with other variables than are declared:\n"
        "  fitted:   Temperature, Pressure, Vibration, Current, Speed\n"
        "  declared: Pressure, Speed\n"
        "Declare what it was fitted with, give the detector another name, or fit it anew: materialise with the run "
        "config `refit: true`."
    )
    assert detect(lake, TABLE, replace(WEEKLY, variables=("Pressure", "Speed")), refit=True).fitted


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (replace(WEEKLY, components=0.5), "other settings than.*fitted:   {'components': 0.95}"),
        (replace(WEEKLY, fit=FitRules(5, "weekly")), "other days than.*2026-03-02 to 2026-03-08.*2026-03-04 to"),
    ],
)
def test_a_model_of_other_settings_is_refused(lake: Lake, changed: DetectorSpec, said: str) -> None:
    detect(lake, TABLE, WEEKLY)
    with pytest.raises(ModelMismatch, match=f"(?s){said}"):
        detect(lake, TABLE, changed)


def test_a_series_that_the_model_has_not_seen_is_named(lake: Lake) -> None:
    values = make_values()
    late = range(row_of(0), len(values))
    machines = ["a"] * len(values) + ["b"] * len(late)
    times = make_times(len(values))
    both = to_table(np.vstack([values, values[late]]), [*times, *[times[at] for at in late]], machine=machines)
    spec = replace(FIXED, by="machine")
    with pytest.raises(GroupsFailed, match=r"fit window .*: 0 complete rows"):
        detect(lake, both, spec)
    detect(lake, to_table(values, machine=["a"] * len(values)), spec, "2026-03-08")
    with pytest.raises(
        GroupsFailed, match=r"machine b, checked window .*: model ml/anomaly-models/press/.* without it"
    ):
        detect(lake, both, spec)
    found = detect(lake, both, replace(spec, leave_out_errors=True))
    assert [series.series for series in found.summary.series] == ["a"]


def dump(value: Any) -> bytes:
    from skops import io

    content: bytes = io.dumps(value)
    return content


def foreign(plain: Any) -> bytes:
    from sklearn.preprocessing import FunctionTransformer

    return dump([{"pipeline": FunctionTransformer(func=print)}])


def damaged(plain: Any) -> bytes:
    plain[0]["pipeline"].named_steps["components"].components_[0, 0] = float("nan")
    return dump(plain)


def narrower(plain: Any) -> bytes:
    scaler = plain[0]["pipeline"].named_steps["scale"]
    scaler.mean_ = scaler.mean_[:2]
    return dump(plain)


def another_estimator(plain: Any) -> bytes:
    from sklearn.linear_model import LinearRegression

    plain[0]["pipeline"].steps[1] = ("components", LinearRegression())
    return dump(plain)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (foreign, "it holds types that a detector does not have: .*print"),
        (damaged, "it holds a damaged detector"),
        (narrower, "it holds a damaged detector, or one of other than 5 variables"),
        (another_estimator, "it holds (no detector|Pipeline, StandardScaler, LinearRegression)"),
        (lambda plain: b"nothing", "it is not a whole file"),
        (lambda plain: dump([]), "it does not hold the 1 models"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(lake: Lake, change: Callable[[Any], bytes], said: str) -> None:
    """With a hash that fits: whoever can write the file can write the hash."""
    from skops import io

    detect(lake, TABLE, WEEKLY)
    folder = "ml/anomaly-models/press/version=2026-03-09"
    metadata = read_metadata(lake, "2026-03-09")
    path = f"{folder}/{metadata['model_file']}"
    content = change(io.loads(lake.read_bytes(path), trusted=[]))
    lake.write_bytes(path, content)
    with pytest.raises(ModelRefused, match="its SHA-256 is"):
        detect(lake, TABLE, WEEKLY)
    metadata["model_sha256"] = hashlib.sha256(content).hexdigest()
    lake.write_bytes(f"{folder}/metadata.json", json.dumps(metadata).encode())
    with pytest.raises(ModelRefused, match=rf"{metadata['model_file']} is refused: {said}"):
        detect(lake, TABLE, WEEKLY)
    assert detect(lake, TABLE, WEEKLY, refit=True).manifest.rows == 144


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda metadata: metadata.pop("settings"), "it is no model's metadata"),
        (lambda metadata: metadata["library_versions"].update({"scikit-learn": "0.24.2"}), "with scikit-learn 0.24.2"),
        (lambda metadata: metadata.update(model_file="other.skops"), "the file is missing"),
    ],
)
def test_metadata_that_do_not_fit_are_refused(lake: Lake, change: Callable[[Any], Any], said: str) -> None:
    detect(lake, TABLE, WEEKLY)
    metadata = read_metadata(lake, "2026-03-09")
    change(metadata)
    lake.write_bytes("ml/anomaly-models/press/version=2026-03-09/metadata.json", json.dumps(metadata).encode())
    with pytest.raises(ModelRefused, match=said):
        detect(lake, TABLE, WEEKLY)


def test_metadata_that_are_no_json_are_refused(lake: Lake) -> None:
    lake.write_bytes("ml/anomaly-models/press/version=2026-03-09/metadata.json", b"{")
    with pytest.raises(ModelRefused, match="it is no JSON"):
        detect(lake, TABLE, WEEKLY)
