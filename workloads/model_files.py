"""A model as files: `model.skops` and, written last, `metadata.json` with its hash.

skops rebuilds objects from a description instead of running a pickle's code, and refuses every type it was not told to
trust. One type of this model is not trusted by itself: the tree of a boosting model, because scikit-learn follows its
node numbers without looking whether they exist. Loading it runs no foreign code, and the numbers are checked here
before anything is predicted.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version as library_version
from typing import Any

from workloads.errors import ModelFileError
from workloads.paths import FileArea

MODEL_FILE = "model.skops"
"""File name of a model."""

METADATA_FILE = "metadata.json"
"""File name of what is known about a model; a model without it is not finished."""

TRUSTED_TYPES = ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",)
"""The types a model file may hold beyond those skops trusts by itself (scikit-learn's estimators, NumPy's arrays)."""

_LIBRARIES = ("scikit-learn", "numpy", "skops", "pyarrow", "mlflow-skinny")


@dataclass(frozen=True)
class ModelRecord:
    """What scoring needs of a model's metadata.

    Attributes:
        model: The model's name.
        version: Its version.
        features: Feature columns in the model's order.
        model_file: File name of the model.
        model_sha256: SHA-256 of that file, hexadecimal.
        sklearn_version: The scikit-learn it was trained with.
    """

    model: str
    version: str
    features: tuple[str, ...]
    model_file: str
    model_sha256: str
    sklearn_version: str


def library_versions() -> dict[str, str]:
    """The versions of the libraries a model depends on, as installed here."""
    return {name: library_version(name) for name in _LIBRARIES}


def dump_model(estimator: Any) -> tuple[bytes, str]:
    """Serialise a fitted estimator.

    Returns:
        The file's content and its SHA-256. Two dumps of one model differ in their bytes (skops writes memory
        addresses and times), so the hash identifies a file, not what was learned.

    Raises:
        ModelFileError: The file could not be loaded again under the allow-list.
    """
    from skops import io

    content = io.dumps(estimator)
    _load(content, "the model just trained")
    return content, hashlib.sha256(content).hexdigest()


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
            sklearn_version=content["library_versions"]["scikit-learn"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(
            f"{shown_as} is not a finished model's metadata ({type(error).__name__}: {error}): train the model again",
            path=shown_as,
        ) from error


def load_model(area: FileArea, model_path: str, record: ModelRecord) -> Any:
    """Load a model, or refuse its file before anything in it is used.

    Raises:
        WorkloadError: The file is missing.
        ModelFileError: scikit-learn is of another minor version; the hash is not the recorded one; the file holds a
            type that is not allowed, a damaged tree, or a model with other features than its metadata says.
    """
    shown_as = f"{model_path}/{record.model_file}"
    here = library_version("scikit-learn")
    if here.split(".")[:2] != record.sklearn_version.split(".")[:2]:
        raise ModelFileError(
            f"{shown_as} was trained with scikit-learn {record.sklearn_version}, here is {here}: trees do not carry "
            "over between minor versions; train the model again or install that version",
            trained_with=record.sklearn_version,
            installed=here,
        )
    content = area.read(model_path, record.model_file).read_bytes()
    actual = hashlib.sha256(content).hexdigest()
    if actual != record.model_sha256:
        raise ModelFileError(
            f"{shown_as} is refused: its SHA-256 is {actual}, metadata.json says {record.model_sha256}: the file was "
            "changed or its training did not finish; train the model again",
            actual=actual,
            recorded=record.model_sha256,
        )
    estimator = _load(content, shown_as)
    names = tuple(estimator.feature_names_in_)
    if names != record.features:
        raise ModelFileError(
            f"{shown_as} has the features [{', '.join(names)}], its metadata says [{', '.join(record.features)}]: "
            "train the model again",
            model=names,
            metadata=record.features,
        )
    return estimator


def _load(content: bytes, shown_as: str) -> Any:
    from skops import io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        estimator = io.loads(content, trusted=list(TRUSTED_TYPES))
        _check_trees(estimator, shown_as)
    except ModelFileError:
        raise
    except UntrustedTypesFoundException as error:
        foreign = sorted(set(io.get_untrusted_types(data=content)) - set(TRUSTED_TYPES))
        raise ModelFileError(
            f"{shown_as} is refused: it holds types that a model of this kind does not have: {', '.join(foreign)}; "
            "nothing of it was loaded",
            foreign=foreign,
        ) from error
    except Exception as error:
        raise ModelFileError(f"{shown_as} is not a whole model ({type(error).__name__}: {error})") from error
    return estimator


def _check_trees(estimator: Any, shown_as: str) -> None:
    # scikit-learn indexes with these numbers unchecked: a wrong one reads foreign memory or loops for ever.
    import numpy as np
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import HistGradientBoostingRegressor

    trees = getattr(estimator, "regressor_", None)
    if not isinstance(estimator, TransformedTargetRegressor) or not isinstance(trees, HistGradientBoostingRegressor):
        raise ModelFileError(f"{shown_as} is refused: it holds a {type(estimator).__name__}, not this kind of model")
    for number, (predictor,) in enumerate(trees._predictors):
        nodes = predictor.nodes
        own = np.arange(len(nodes))
        inner = ~nodes["is_leaf"].astype(bool)
        sound = len(nodes) > 0 and not nodes["is_categorical"].any()
        for child in ("left", "right"):
            # A child comes after its parent, so a walk down the tree always ends.
            sound = sound and bool(((nodes[child] > own) & (nodes[child] < len(nodes)))[inner].all())
        feature = nodes["feature_idx"][inner]
        if not sound or bool(((feature < 0) | (feature >= trees.n_features_in_)).any()):
            raise ModelFileError(f"{shown_as} is refused: tree {number} points outside itself", tree=number)
