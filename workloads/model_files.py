"""A model as files: `model.*` and, written last, `metadata.json` with its hash.

Loading a model must not run foreign code. `.skops`, what the training job writes, and `.onnx` cannot; a `.pkl` can, so
it is loaded only when whoever asks knows its hash from elsewhere than the folder it lies in.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import dataclass, field
from importlib.metadata import version as library_version
from pathlib import PurePosixPath
from typing import Any

from workloads.errors import ModelFileError
from workloads.onnx_files import load_onnx
from workloads.paths import FileArea
from workloads.skops_files import load_skops

MODEL_FILE = "model.skops"
"""File name of a model that the training job writes."""

METADATA_FILE = "metadata.json"
"""File name of what is known about a model; a model without it is not finished."""

_KINDS = (".skops", ".onnx", ".pkl")
_LIBRARIES = ("scikit-learn", "numpy", "skops", "pyarrow", "mlflow-skinny")


@dataclass(frozen=True)
class ModelRecord:
    """What scoring and comparing need of a model's metadata.

    Attributes:
        model: The model's name.
        version: Its version.
        features: Feature columns in the model's order.
        model_file: File name of the model; its ending says how it is stored.
        model_sha256: SHA-256 of that file, hexadecimal.
        sklearn_version: The scikit-learn it was trained with; "" for an ONNX model of another library.
        label: The column it forecasts; "" where the metadata does not say.
        pinned: Category column -> the categories that are features of it; {} without any.
    """

    model: str
    version: str
    features: tuple[str, ...]
    model_file: str
    model_sha256: str
    sklearn_version: str
    label: str = ""
    pinned: dict[str, list[str]] = field(default_factory=dict)


def library_versions() -> dict[str, str]:
    """The versions of the libraries a model depends on, as installed here."""
    return {name: library_version(name) for name in _LIBRARIES}


def read_record(area: FileArea, model_path: str) -> ModelRecord:
    """Read a model's metadata.

    Raises:
        WorkloadError: There is none, so the model was never finished.
        ModelFileError: It is not valid or lacks entries.
    """
    path = area.read(model_path, METADATA_FILE)
    shown_as = f"{model_path}/{METADATA_FILE}"
    try:
        content = json.loads(path.read_text("utf-8"))
        return ModelRecord(
            model=content["model"],
            version=str(content["version"]),
            features=tuple(content["features"]),
            model_file=content["model_file"],
            model_sha256=content["model_sha256"],
            sklearn_version=str(content["library_versions"].get("scikit-learn", "")),
            label=str(content.get("label") or ""),
            pinned={str(name): list(values) for name, values in (content.get("pinned") or {}).items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(
            f"{shown_as} is not a finished model's metadata ({type(error).__name__}: {error}): train the model again",
            path=shown_as,
        ) from error


def load_model(area: FileArea, model_path: str, record: ModelRecord, model_sha256: str = "") -> Any:
    """Load a model, or refuse its file before anything in it is used.

    Args:
        area: Reads the file.
        model_path: The model's folder.
        record: What its metadata.json says.
        model_sha256: The hash that was recorded when the model was registered, hexadecimal. If given, the file must
            have it. "" trusts metadata.json's own, which whoever can replace the model can replace too.

    Returns:
        An object whose `predict` takes a pandas DataFrame of float64 with the model's features, in order.

    Raises:
        WorkloadError: The file is missing.
        ModelFileError: The file is of another kind, or a pickle whose hash is not given; scikit-learn is of another
            minor version; the hash is not the recorded one; the file is damaged, holds what it must not, or a model
            with other features than its metadata says.
    """
    shown_as = f"{model_path}/{record.model_file}"
    kind = _check_kind(record, shown_as, model_sha256)
    content = area.read(model_path, record.model_file).read_bytes()
    _check_hash(content, record, shown_as, model_sha256)
    if kind == ".onnx":
        return load_onnx(content, shown_as, record.features)
    estimator = load_skops(content, shown_as) if kind == ".skops" else _load_pickle(content, shown_as)
    _check_features(estimator, record, shown_as)
    return estimator


def _check_kind(record: ModelRecord, shown_as: str, model_sha256: str) -> str:
    kind = PurePosixPath(record.model_file).suffix
    if kind not in _KINDS or PurePosixPath(record.model_file).name != record.model_file:
        raise ModelFileError(
            f"{shown_as} is refused: a model is a file model.skops or model.onnx beside its metadata.json, or a "
            "model.pkl whose hash is given: store it again as one of these",
            file=record.model_file,
        )
    if kind == ".pkl" and not model_sha256:
        raise ModelFileError(
            f"{shown_as} is refused: loading a pickle runs whatever code is in it, so it is loaded only with the hash "
            "that was recorded when it was registered: give that as --model-sha256, or store the model as .skops or "
            ".onnx",
            file=record.model_file,
        )
    here = library_version("scikit-learn")
    if kind == ".onnx" or (kind == ".pkl" and not record.sklearn_version):
        return kind
    if here.split(".")[:2] != record.sklearn_version.split(".")[:2]:
        raise ModelFileError(
            f"{shown_as} was trained with scikit-learn {record.sklearn_version or 'of unknown version'}, here is "
            f"{here}: trees do not carry over between minor versions; train the model again or install that version",
            trained_with=record.sklearn_version,
            installed=here,
        )
    return kind


def _check_hash(content: bytes, record: ModelRecord, shown_as: str, model_sha256: str) -> None:
    actual = hashlib.sha256(content).hexdigest()
    if model_sha256 and actual != model_sha256.lower():
        raise ModelFileError(
            f"{shown_as} is refused: its SHA-256 is {actual}, recorded when it was registered was {model_sha256}: the "
            "file was changed since; restore it, or train the model again",
            actual=actual,
            recorded=model_sha256,
        )
    if actual != record.model_sha256:
        raise ModelFileError(
            f"{shown_as} is refused: its SHA-256 is {actual}, metadata.json says {record.model_sha256}: the file was "
            "changed or its training did not finish; train the model again",
            actual=actual,
            recorded=record.model_sha256,
        )


def _load_pickle(content: bytes, shown_as: str) -> Any:
    try:
        estimator = pickle.loads(content)  # noqa: S301 - its hash is one that was recorded elsewhere
    except Exception as error:
        raise ModelFileError(f"{shown_as} is not a whole model ({type(error).__name__}: {error})") from error
    if not callable(getattr(estimator, "predict", None)):
        raise ModelFileError(f"{shown_as} is refused: it holds a {type(estimator).__name__}, which cannot predict")
    return estimator


def _check_features(estimator: Any, record: ModelRecord, shown_as: str) -> None:
    names = tuple(getattr(estimator, "feature_names_in_", record.features))
    width = getattr(estimator, "n_features_in_", len(record.features))
    if names != record.features or width != len(record.features):
        own = f"the features [{', '.join(names)}]" if names != record.features else f"{width} features"
        raise ModelFileError(
            f"{shown_as} has {own}, its metadata says [{', '.join(record.features)}]: train the model again",
            model=names if names != record.features else width,
            metadata=record.features,
        )
