"""Models stored as .onnx and .pkl: scored like any other, and what is refused before anything of them is used."""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression

from tests.workloads.conftest import FEATURES, LABEL, make_customers, make_scoring_input, score_here
from workloads import batch_score
from workloads.errors import ModelFileError, ScoringError
from workloads.model_files import load_model, read_record
from workloads.paths import FileArea


def frame(rows: int, seed: int) -> pd.DataFrame:
    """The features of generated customers, float64, some missing."""
    return make_customers(rows, seed).select(FEATURES).to_pandas().astype(float)


@pytest.fixture(scope="module")
def trees() -> HistGradientBoostingRegressor:
    label = make_customers(800, 1)[LABEL].to_numpy()
    return HistGradientBoostingRegressor(max_iter=20).fit(frame(800, 1), label)


@pytest.fixture(scope="module")
def onnx_file(trees: HistGradientBoostingRegressor) -> bytes:
    from skl2onnx import to_onnx

    return to_onnx(trees, frame(5, 1).to_numpy(np.float32)).SerializeToString()


def write_model(folder: Path, name: str, content: bytes, **changes: Any) -> Path:
    """A model's folder."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    metadata = {
        "model": "customer_spend",
        "version": "1",
        "features": FEATURES,
        "model_file": name,
        "model_sha256": hashlib.sha256(content).hexdigest(),
        "library_versions": {},
        **changes,
    }
    (folder / "metadata.json").write_text(json.dumps(metadata), "utf-8")
    return folder


def load(folder: Path, sha256: str = "") -> Any:
    with FileArea() as area:
        return load_model(area, str(folder), read_record(area, str(folder)), sha256)


def score(folder: Path, tmp_path: Path, **arguments: object) -> np.ndarray:
    """The scores that the job gives 300 customers."""
    path = tmp_path / "scoring_input.parquet"
    parquet.write_table(make_scoring_input(300), path)
    score_here(path, tmp_path / "out", folder, **arguments)
    return parquet.read_table(tmp_path / "out" / "predictions.parquet")["score"].to_numpy()


def test_onnx_scores_as_the_model_it_was_made_of(tmp_path: Path, trees: Any, onnx_file: bytes):
    expected = trees.predict(make_scoring_input(300).select(FEATURES).to_pandas().astype(float))
    found = score(write_model(tmp_path / "model", "model.onnx", onnx_file), tmp_path)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)  # the file computes in float32


def named(onnx_file: bytes, features: list[str]) -> bytes:
    import onnx

    model = onnx.load_from_string(onnx_file)
    onnx.helper.set_model_props(model, {"features": json.dumps(features)})
    return model.SerializeToString()


def giving_back(onnx_file: bytes, kind: int) -> bytes:
    """A file that gives back what it is given."""
    import onnx

    model = onnx.load_from_string(onnx_file)
    given, same = (onnx.helper.make_tensor_value_info(name, kind, [None, 5]) for name in ("given", "same"))
    node = onnx.helper.make_node("Identity", ["given"], ["same"])
    model.graph.CopyFrom(onnx.helper.make_graph([node], "g", [given], [same]))
    return model.SerializeToString()


def with_weights_outside(place: Path) -> bytes:
    """A file whose weights are in another one, which no hash vouches for."""
    from onnx import TensorProto, helper, numpy_helper

    (place / "weights.bin").write_bytes(np.ones(5, np.float32).tobytes())
    weights = numpy_helper.from_array(np.ones((5, 1), np.float32), "w")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, value in {"location": "weights.bin", "offset": "0", "length": "20"}.items():
        weights.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        [weights],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def test_onnx_of_other_features_is_refused(tmp_path: Path, onnx_file: bytes):
    assert load(write_model(tmp_path / "model", "model.onnx", named(onnx_file, FEATURES))).width == 5
    folder = write_model(tmp_path / "model", "model.onnx", named(onnx_file, FEATURES[::-1]))
    with pytest.raises(
        ModelFileError, match=r"takes \[is_foreign, .*, recency_days\], its metadata.json says \[recency_days"
    ):
        load(folder)
    folder = write_model(tmp_path / "model", "model.onnx", onnx_file, features=FEATURES[:4])
    with pytest.raises(ModelFileError, match=r"takes 5 features, its metadata\.json says"):
        load(folder)


def test_onnx_that_is_no_model_of_rows_is_refused(tmp_path: Path, onnx_file: bytes, monkeypatch: pytest.MonkeyPatch):
    from onnx import TensorProto

    monkeypatch.chdir(tmp_path)
    for content, expected in {
        b"no model": "model.onnx is not a whole ONNX model",
        giving_back(onnx_file, TensorProto.STRING): r"it takes given tensor\(string\)",
        with_weights_outside(tmp_path): "model.onnx is not a whole ONNX model",
    }.items():
        with pytest.raises(ModelFileError, match=expected):
            load(write_model(tmp_path / "model", "model.onnx", content))
    model = load(write_model(tmp_path / "model", "model.onnx", giving_back(onnx_file, TensorProto.FLOAT)))
    with pytest.raises(ModelFileError, match="gave 15 numbers for 3 rows, expected one score a row"):
        model.predict(frame(3, 1))


def test_missing_onnxruntime_is_said(tmp_path: Path, onnx_file: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelFileError, match="needs onnxruntime, which is not installed here"):
        load(write_model(tmp_path / "model", "model.onnx", onnx_file))


class Trap:
    """What a pickle can do: it runs code when it is loaded."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return Path.touch, (self.trace,)


def test_pickle_is_loaded_only_with_its_recorded_hash(tmp_path: Path, trees: Any):
    content = pickle.dumps(trees)
    folder = write_model(tmp_path / "model", "model.pkl", content)
    recorded = hashlib.sha256(content).hexdigest()
    expected = trees.predict(make_scoring_input(300).select(FEATURES).to_pandas().astype(float))
    np.testing.assert_array_equal(score(folder, tmp_path, model_sha256=recorded.upper()), expected)
    # Someone who may write to the lake puts another file there, with a metadata.json that vouches for it.
    write_model(folder, "model.pkl", pickle.dumps(Trap(tmp_path / "ran")))
    for sha256, why in {"": "loading a pickle runs whatever code", recorded: "recorded when it was registered"}.items():
        with pytest.raises(ScoringError, match=why):
            score(folder, tmp_path, model_sha256=sha256)
    assert not (tmp_path / "ran").exists()


def test_pickle_is_checked_as_other_models_are(tmp_path: Path, trees: Any):
    def load_pickle(content: object, **changes: object) -> Any:
        data = content if isinstance(content, bytes) else pickle.dumps(content)
        folder = write_model(tmp_path / "model", "model.pkl", data, **changes)
        return load(folder, hashlib.sha256(data).hexdigest())

    with pytest.raises(ModelFileError, match="it holds a dict, which cannot predict"):
        load_pickle({"a": 1})
    with pytest.raises(ModelFileError, match=r"model\.pkl is not a whole model"):
        load_pickle(b"no pickle")
    with pytest.raises(ModelFileError, match=r"has the features \[recency_days, .*\], its metadata says \[spend_30\]"):
        load_pickle(trees, features=["spend_30"])
    with pytest.raises(ModelFileError, match="has 2 features, its metadata says"):
        load_pickle(LinearRegression().fit([[1.0, 2.0], [2.0, 1.0]], [1.0, 2.0]))
    with pytest.raises(ModelFileError, match=r"was trained with scikit-learn 1\.5\.2"):
        load_pickle(trees, library_versions={"scikit-learn": "1.5.2"})
    assert load_pickle(trees, library_versions={}).n_features_in_ == 5


@pytest.mark.parametrize("kind", ["skops", "onnx"])
def test_recorded_hash_is_held_against_every_kind(tmp_path: Path, onnx_file: bytes, kind: str):
    folder = write_model(tmp_path / "model", f"model.{kind}", onnx_file, library_versions={"scikit-learn": "1.9.1"})
    with pytest.raises(ModelFileError, match=f"recorded when it was registered was {'0' * 64}: the file was changed"):
        load(folder, "0" * 64)


@pytest.mark.parametrize("name", ["model.joblib", "model", "../model.skops", "model.pkl.gz"])
def test_files_of_other_kinds_are_refused_by_name(tmp_path: Path, name: str):
    write_model(tmp_path / "model", "model.skops", b"", model_file=name)
    with pytest.raises(ModelFileError, match=f"{name} is refused: a model is a file model.skops or model.onnx"):
        load(tmp_path / "model", "0" * 64)


def test_skops_without_its_library_is_refused(tmp_path: Path):
    with pytest.raises(ModelFileError, match="was trained with scikit-learn of unknown version"):
        load(write_model(tmp_path / "model", "model.skops", b""))


def test_batch_deployment_reads_hash_and_snapshot_of_its_environment(
    tmp_path: Path, trees: Any, monkeypatch: pytest.MonkeyPatch
):
    content = pickle.dumps(trees)
    folder = write_model(tmp_path / "model", "model.pkl", content)
    parquet.write_table(make_scoring_input(20), tmp_path / "part.parquet")
    monkeypatch.setenv("AZUREML_MODEL_DIR", str(folder))
    monkeypatch.setenv("AZUREML_BI_OUTPUT_PATH", str(tmp_path / "out"))
    with pytest.raises(ScoringError, match="loading a pickle runs whatever code"):
        batch_score.init()
    monkeypatch.setenv("ADFML_MODEL_SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setenv("ADFML_FEATURE_SNAPSHOT", "31.3.2025")
    with pytest.raises(ScoringError, match=r"ADFML_FEATURE_SNAPSHOT must be a date as YYYY-MM-DD, not '31\.3\.2025'"):
        batch_score.init()
    for text, expected in {"2025-03-31": "2025-03-31", "": "None"}.items():
        monkeypatch.setenv("ADFML_FEATURE_SNAPSHOT", text)
        batch_score.init()
        assert len(batch_score.run([str(tmp_path / "part.parquet")])) == 1
        found = parquet.read_table(tmp_path / "out" / "part.predictions.parquet")
        assert [str(one) for one in found["feature_snapshot"].unique().to_pylist()] == [expected]
