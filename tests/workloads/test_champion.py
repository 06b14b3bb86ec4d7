"""What a training says about the champion: compared on the same rows, or why not; no training fails because of it."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor

from tests.workloads.conftest import FEATURES, LABEL, Trained, write_training_data
from workloads.champion import Champion, score_champion
from workloads.errors import TrainingError, WorkloadError
from workloads.paths import FileArea
from workloads.skops_files import dump_model
from workloads.training_data import read_data_card


def train_again(train_here, folder: Path, version: str, champion: dict, **data) -> dict:
    """Train a version with a champion: its metadata."""
    path = write_training_data(folder / "data", version, **data)
    train_here(path, folder / "model", version=version, submission_key=f"{folder}", **champion)
    return json.loads((folder / "model" / "metadata.json").read_text("utf-8"))


def test_champion_is_compared_on_the_new_models_test_rows(trained: Trained, train_here, tmp_path: Path):
    champion = {
        "champion_path": trained.model_path,
        "champion_version": "1",
        "champion_sha256": trained.metadata["model_sha256"],
    }
    metadata = train_again(train_here, tmp_path, "21", champion, pinned={"nothing": ["a"]}, definition_sha256="d" * 64)
    assert (metadata["pinned"], metadata["definition_sha256"]) == ({"nothing": ["a"]}, "d" * 64)
    # The same data and settings give the same model: it is exactly as good as the champion.
    found = metadata["references"]["champion"]
    assert (found["kind"], found["version"]) == ("champion", "1")
    assert found["test"] == metadata["metrics"]["test"] == trained.metadata["metrics"]["test"]
    assert {tuple(one.values()) for one in found["improvement"].values()} == {(0.0, 0.0)}
    naive = {name: one for name, one in metadata["references"].items() if name != "champion"}
    assert set(naive) == set(metadata["baseline"]["candidates"]) == {"spend_30", "train_median", "train_mean"}
    for name, reference in naive.items():
        assert reference["kind"] == "baseline"
        assert reference["test"] == metadata["baseline"]["candidates"][name]["test"]
        gain = reference["test"]["mae"] - metadata["metrics"]["test"]["mae"]
        assert reference["improvement"]["mae"]["value"] == pytest.approx(gain)
        assert reference["improvement"]["mae"]["standard_error"] > 0
    assert trained.metadata["references"].keys() == naive.keys()
    assert sum(metadata["score_profile"]["counts"]) == metadata["score_profile"]["rows"] == 500


def test_worse_champion_is_beaten_and_a_better_one_is_not(trained: Trained, train_here, tmp_path: Path):
    champion = {"champion_path": trained.model_path, "champion_version": "1"}

    def shuffle(split: str, table: pa.Table) -> pa.Table:
        if split == "test":
            return table
        order = np.random.default_rng(5).permutation(table.num_rows)
        return table.set_column(table.column_names.index(LABEL), LABEL, table.column(LABEL).take(order))

    metadata = train_again(train_here, tmp_path, "22", champion, change=shuffle)
    gain = metadata["references"]["champion"]["improvement"]
    assert all(gain[metric]["value"] < 0 for metric in ("mae", "rmse", "r2", "spearman"))
    assert gain["mae"]["value"] < -2 * gain["mae"]["standard_error"]
    # And the other way round, on the very same test rows.
    champion = {"champion_path": tmp_path / "model", "champion_version": "22"}
    metadata = train_again(train_here, tmp_path / "again", "23", champion)
    turned = metadata["references"]["champion"]["improvement"]
    assert turned["mae"]["value"] == pytest.approx(-gain["mae"]["value"])
    assert turned["mae"]["standard_error"] == pytest.approx(gain["mae"]["standard_error"])


def change_metadata(folder: Path, **changes: object) -> None:
    metadata = json.loads((folder / "metadata.json").read_text("utf-8"))
    (folder / "metadata.json").write_text(json.dumps({**metadata, **changes}), "utf-8")


def test_champion_that_cannot_be_loaded_is_no_reason_to_fail(trained: Trained, train_here, tmp_path: Path):
    copied = Path(shutil.copytree(trained.model_path, tmp_path / "champion"))
    with (copied / "model.skops").open("ab") as file:
        file.write(b"\0")
    metadata = train_again(train_here, tmp_path, "24", {"champion_path": copied, "champion_version": "1"})
    found = metadata["references"]["champion"]
    assert sorted(found) == ["kind", "not_comparable", "version"]
    assert "model.skops is refused: its SHA-256 is" in found["not_comparable"]
    assert metadata["references"]["spend_30"]["improvement"]["mae"]["value"] > 0


@pytest.mark.parametrize(
    ("changes", "asked", "expected"),
    [
        ({"features": [*FEATURES, "spend_7"]}, {}, r"takes \[recency_days, .*, spend_7\], the test .* are \[spend_7\]"),
        ({"label": "orders"}, {}, "version 1 forecasts orders, the new model forecasts spend_next_30_days"),
        ({"library_versions": {"scikit-learn": "1.5.2"}}, {}, r"was trained with scikit-learn 1\.5\.2, here is 1\."),
        ({}, {"version": "7"}, "holds customer_spend version 1, asked for was customer_spend version 7"),
        ({}, {"sha256": "0" * 64}, f"recorded when it was registered was {'0' * 64}"),
        ({"model_file": "model.joblib"}, {}, "model.joblib is refused: a model is a file model.skops or model.onnx"),
        ({"features": None}, {}, "is not a finished model's metadata"),
        ({"features": ["feature_date"]}, {}, r"not numeric: feature_date \(date32\[day\]\)"),
    ],
    ids=["feature", "label", "library", "version", "hash", "kind", "metadata", "date"],
)
def test_why_a_champion_is_not_comparable(trained: Trained, tmp_path: Path, changes: dict, asked: dict, expected: str):
    copied = Path(shutil.copytree(trained.model_path, tmp_path / "champion"))
    change_metadata(copied, **changes)
    card = read_data_card(trained.training_data / "data_card.json", "the card")
    champion = Champion(**{"path": str(copied), "version": "1", "sha256": "", **asked})
    with FileArea() as area, pytest.raises(WorkloadError, match=expected):
        score_champion(area, champion, card, str(trained.training_data))


def write_category_model(folder: Path, categories: list[str]) -> Champion:
    """A champion over the counts of a category column `bought`; it has learned how much each of them weighs."""
    random = np.random.default_rng(0)
    names = [f"bought_{name}" for name in categories] + ["bought_other"]
    features = random.integers(0, 9, (800, len(names))).astype(float)
    trees = HistGradientBoostingRegressor(max_iter=30)
    label = features @ (10.0 ** np.arange(len(names)))
    estimator = TransformedTargetRegressor(trees).fit(pd.DataFrame(features, columns=names), label)
    content, _ = dump_model(estimator)
    folder.mkdir()
    (folder / "model.skops").write_bytes(content)
    metadata = {
        "model": "customer_spend",
        "version": "1",
        "features": names,
        "pinned": {"bought": categories},
        "model_file": "model.skops",
        "model_sha256": hashlib.sha256(content).hexdigest(),
        "library_versions": {"scikit-learn": "1.9.1"},
    }
    (folder / "metadata.json").write_text(json.dumps(metadata), "utf-8")
    return Champion(str(folder), "1", "")


def write_counts(folder: Path, counts: dict[str, list[int]], pinned: list[str]) -> Path:
    """Training data whose test split holds the columns `bought_*`."""
    path = write_training_data(folder, features=[f"bought_{name}" for name in counts], pinned={"bought": pinned})
    parquet.write_table(pa.table({f"bought_{name}": values for name, values in counts.items()}), path / "test.parquet")
    return path


def test_categories_pinned_since_count_as_others_for_the_champion(tmp_path: Path):
    champion = write_category_model(tmp_path / "champion", ["cups", "tea"])

    def score(name: str, counts: dict[str, list[int]], pinned: list[str]) -> list[float]:
        folder = write_counts(tmp_path / name, counts, pinned)
        card = read_data_card(folder / "data_card.json", "the card")
        with FileArea() as area:
            return score_champion(area, champion, card, str(folder)).tolist()

    before = score("before", {"cups": [1, 2], "tea": [4, 0], "other": [5, 8]}, ["cups", "tea"])
    # `plates` has a column now, and the one of `tea` has another name, because `t-e-a` comes before it and took that.
    counts = {"cups": [1, 2], "plates": [2, 5], "tea": [1, 0], "tea_2": [4, 0], "other": [2, 3]}
    assert score("after", counts, ["cups", "plates", "t-e-a", "tea"]) == before
    with pytest.raises(
        WorkloadError, match=r"categories \[cups, tea\] of bought, the training data for \[cups\], so that tea cannot"
    ):
        score("gone", {"cups": [1, 2], "other": [9, 8]}, ["cups"])


def test_champions_path_and_version_belong_together(trained: Trained, train_here, tmp_path: Path):
    for given in ({"champion_path": "somewhere"}, {"champion_version": "1"}, {"champion_sha256": "0" * 64}):
        with pytest.raises(TrainingError, match="--champion-path and --champion-version belong together"):
            train_here(trained.training_data, tmp_path / "model", **given)


def test_baseline_with_the_name_of_another_forecast_is_refused(train_here, tmp_path: Path):
    data = write_training_data(tmp_path / "data", baseline="champion")
    with pytest.raises(TrainingError, match="the baseline column must not be called champion: train_median"):
        train_here(data, tmp_path / "model")
