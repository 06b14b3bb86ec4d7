"""A detector's models as files: `model_<hash>.skops`, and, written last, `metadata.json` that names it with its hash.

skops rebuilds objects from a description, and refuses every type it does not know to be harmless: loading runs no
foreign code. What was loaded is looked at before anything is scored with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version as library_version
from typing import Any

from adfml_assets import lake_layout
from adfml_assets.anomalies.declared import DetectorSpec, Windows
from adfml_assets.anomalies.errors import ModelMismatch, ModelRefused
from adfml_assets.anomalies.model import SeriesModel
from resources.errors import NotFound
from resources.lake import Lake

METADATA_FILE = "metadata.json"
_NUMBERS = ("threshold", "rows", "trimmed", "explained")


@dataclass(frozen=True)
class StoredModels:
    """A version of a detector: the model of every series.

    Attributes:
        folder: in the lake.
        models: by series (None where there is only one).
        errors: of series that could not be fitted: code and message.
    """

    folder: str
    models: Mapping[Any, SeriesModel]
    errors: Mapping[Any, tuple[str, str]]


def write_models(
    lake: Lake, spec: DetectorSpec, windows: Windows, stored: StoredModels, *, now: datetime, run_id: str
) -> None:
    """Store a version; one that is there is replaced, whole."""
    from skops import io

    series = list(stored.models)
    content = io.dumps([_to_plain(stored.models[key]) for key in series])
    digest = hashlib.sha256(content).hexdigest()
    name = f"model_{digest[:12]}.skops"
    before = _read_metadata(lake, stored.folder)
    metadata = {
        "detector": spec.name,
        "version": windows.version,
        "variables": list(spec.variables),
        "fit_window": str(windows.fit),
        "settings": spec.describe_model(),
        "fitted_at": now.isoformat(),
        "run_id": run_id,
        "library_versions": {name: library_version(name) for name in ("scikit-learn", "numpy", "skops")},
        "model_file": name,
        "model_sha256": digest,
        "series": [_describe(key, stored.models[key], spec.variables) for key in series],
        "errors": [{"series": key, "code": code, "message": message} for key, (code, message) in stored.errors.items()],
    }
    lake.write_bytes(f"{stored.folder}/{name}", content)
    lake.write_bytes(f"{stored.folder}/{METADATA_FILE}", json.dumps(metadata, indent=2, default=str).encode())
    if before and before.get("model_file") not in (name, None):
        lake.delete(f"{stored.folder}/{before['model_file']}")


def read_models(lake: Lake, spec: DetectorSpec, windows: Windows) -> StoredModels | None:
    """A stored version, or None where there is none.

    Raises:
        ModelMismatch: it was fitted with other columns, settings, or on another window.
        ModelRefused: its file is not what was stored.
    """
    folder = lake_layout.anomaly_model_folder(spec.name, windows.version)
    metadata = _read_metadata(lake, folder)
    if metadata is None:
        return None
    path = f"{folder}/{METADATA_FILE}"
    try:
        _require_same(path, metadata, spec, windows)
        path = f"{folder}/{metadata['model_file']}"
        plain = _load(lake, path, metadata)
        keys = [entry["series"] for entry in metadata["series"]]
        errors = {entry["series"]: (entry["code"], entry["message"]) for entry in metadata["errors"]}
    except (KeyError, TypeError) as error:
        raise ModelRefused(path, f"it is no model's metadata ({type(error).__name__}: {error})") from None
    if not isinstance(plain, list) or len(plain) != len(keys):
        raise ModelRefused(path, f"it does not hold the {len(keys)} models that metadata.json names")
    models = {key: _to_model(path, entry, spec.variables) for key, entry in zip(keys, plain, strict=True)}
    return StoredModels(folder, models, errors)


def _read_metadata(lake: Lake, folder: str) -> dict[str, Any] | None:
    path = f"{folder}/{METADATA_FILE}"
    try:
        found = json.loads(lake.read_bytes(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ModelRefused(path, f"it is no JSON ({error})") from None
    if not isinstance(found, dict):
        raise ModelRefused(path, "it is no JSON object")
    return found


def _require_same(path: str, metadata: Mapping[str, Any], spec: DetectorSpec, windows: Windows) -> None:
    fitted, declared = list(metadata["variables"]), list(spec.variables)
    if fitted != declared:
        raise ModelMismatch(path, "variables", ", ".join(fitted), ", ".join(declared))
    if metadata["fit_window"] != str(windows.fit):
        raise ModelMismatch(path, "days", metadata["fit_window"], windows.fit)
    settings: dict[str, Any] = json.loads(json.dumps(spec.describe_model(), default=str))
    if metadata["settings"] != settings:
        differing = [name for name in settings if metadata["settings"].get(name) != settings[name]]
        shown = [{name: source.get(name) for name in differing} for source in (metadata["settings"], settings)]
        raise ModelMismatch(path, "settings", *shown)


def _load(lake: Lake, path: str, metadata: Mapping[str, Any]) -> Any:
    from skops import io
    from skops.io.exceptions import UntrustedTypesFoundException

    here, fitted_with = library_version("scikit-learn"), str(metadata["library_versions"]["scikit-learn"])
    if here.split(".")[:2] != fitted_with.split(".")[:2]:
        raise ModelRefused(path, f"it was fitted with scikit-learn {fitted_with}, here is {here}")
    try:
        content = lake.read_bytes(path)
    except (FileNotFoundError, NotFound):
        raise ModelRefused(path, "the file is missing") from None
    actual = hashlib.sha256(content).hexdigest()
    if actual != metadata["model_sha256"]:
        raise ModelRefused(path, f"its SHA-256 is {actual}, metadata.json says {metadata['model_sha256']}")
    try:
        return io.loads(content, trusted=[])
    except UntrustedTypesFoundException:
        foreign = ", ".join(sorted(io.get_untrusted_types(data=content)))
        raise ModelRefused(path, f"it holds types that a detector does not have: {foreign}") from None
    except Exception as error:
        raise ModelRefused(path, f"it is not a whole file ({type(error).__name__}: {error})") from error


def _to_plain(model: SeriesModel) -> dict[str, Any]:
    plain = {name: getattr(model, name) for name in _NUMBERS}
    return {**plain, "pipeline": model.pipeline, "lowest": model.lowest, "highest": model.highest}


def _to_model(path: str, plain: Any, variables: tuple[str, ...]) -> SeriesModel:
    """A model of what was loaded, if it is one of this kind and for these variables."""
    import numpy as np
    from sklearn.decomposition import PCA
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    try:
        pipeline = plain["pipeline"]
        scaler, components = pipeline.named_steps["scale"], pipeline.named_steps["components"]
        kinds = [type(pipeline), type(scaler), type(components)]
        if kinds != [Pipeline, StandardScaler, PCA]:
            raise ModelRefused(path, f"it holds {', '.join(kind.__name__ for kind in kinds)}, no detector")
        count = int(components.n_components_)
        width = len(variables)
        shapes = {(width,): (scaler.mean_, scaler.scale_, components.mean_), (count, width): (components.components_,)}
        shapes[(count,)] = (plain["lowest"], plain["highest"])
        sound = all(
            array.shape == shape and bool(np.isfinite(array).all()) for shape, all_ in shapes.items() for array in all_
        )
        numbers = {name: float(plain[name]) for name in _NUMBERS}
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise ModelRefused(path, f"it holds no detector ({type(error).__name__}: {error})") from None
    if not sound or not all(np.isfinite(value) for value in numbers.values()) or numbers["threshold"] <= 0:
        raise ModelRefused(path, f"it holds a damaged detector, or one of other than {width} variables")
    return SeriesModel(
        pipeline,
        plain["lowest"],
        plain["highest"],
        numbers["threshold"],
        int(numbers["rows"]),
        int(numbers["trimmed"]),
        numbers["explained"],
    )


def _describe(series: Any, model: SeriesModel, variables: tuple[str, ...]) -> dict[str, Any]:
    scaler = model.pipeline.named_steps["scale"]
    means = zip(variables, scaler.mean_, scaler.scale_, strict=True)
    return {
        "series": series,
        "rows": model.rows,
        "trimmed": model.trimmed,
        "threshold": model.threshold,
        "components": len(model.lowest),
        "explained_variance": model.explained,
        "variables": {name: {"mean": float(mean), "deviation": float(scale)} for name, mean, scale in means},
    }
