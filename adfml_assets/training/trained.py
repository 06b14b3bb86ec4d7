"""A trained model as the training job left it: verified before it counts."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from adfml_assets import lake_layout
from adfml_assets.errors import WrongResult
from resources.errors import NotFound
from resources.lake import Lake
from resources.manifest import FILE_NAME, Manifest, ManifestFile
from resources.remote_jobs import RemoteJob

METADATA = "metadata.json"
MODEL_FILES = ("model.skops", "model.onnx", "model.pkl")
"""What a job may leave: loading the first two runs no foreign code; a pickle is loaded only by its recorded hash."""

_NEEDED = ("model_file", "model_sha256", "features", "features_sha256", "metrics")
_KINDS: dict[str, tuple[type, str]] = {
    "features": (list, "a list of the features' names, in the model's order"),
    "metrics": (dict, 'an object, such as {"test": {"mae": 10.5}}'),
}


def read_metadata(lake: Lake, model: str, version: str) -> dict[str, Any]:
    """A model version's metadata.json.

    Raises:
        NotFound: the version has none; with the versions of the model there are.
        WrongResult: it cannot be read.
    """
    path = f"{lake_layout.model_folder(model, version)}/{METADATA}"
    try:
        return dict(json.loads(lake.read_bytes(path)))
    except FileNotFoundError:
        raise NotFound("version", version, f"model {model}", list_versions(lake, model)) from None
    except (TypeError, ValueError) as error:
        raise WrongResult(path, "a JSON object", str(error)) from None


def list_versions(lake: Lake, model: str) -> list[str]:
    """The versions of a model that have a manifest in the lake."""
    folder = lake_layout.model_folder(model, "x").rpartition("/")[0]
    marker = "/version="
    return sorted(p.partition(marker)[2].split("/")[0] for p in lake.list_files(folder) if p.endswith(FILE_NAME))


def verify_model(
    lake: Lake, model: str, version: str, job: RemoteJob, *, asset: str, now: datetime, run_id: str
) -> tuple[dict[str, Any], Manifest]:
    """Make sure a job's model is whole and its own, then make the version visible. Returns metadata and manifest.

    Raises:
        WrongResult: another job's model, another version, a model file of a kind that is not loaded, one that is not
            what its hash says, or metadata without what a version is known by.
    """
    folder = lake_layout.model_folder(model, version)
    metadata = read_metadata(lake, model, version)
    for name, expected in {"model": model, "version": version, "submission_key": job.remote_key}.items():
        if metadata.get(name) != expected:
            raise WrongResult(f"{folder}/{METADATA}: {name}", repr(expected), repr(metadata.get(name)))
    missing = [name for name in _NEEDED if not metadata.get(name)]
    if missing:
        raise WrongResult(f"{folder}/{METADATA}", f"{', '.join(missing)} in it", "none")
    for name, (kind, expected) in _KINDS.items():
        if not isinstance(metadata[name], kind):
            raise WrongResult(f"{folder}/{METADATA}: {name}", expected, repr(metadata[name]))
    if metadata["model_file"] not in MODEL_FILES:
        raise WrongResult(f"{folder}/{METADATA}: model_file", " or ".join(MODEL_FILES), repr(metadata["model_file"]))
    path = f"{folder}/{metadata['model_file']}"
    try:
        data = lake.read_bytes(path)
    except FileNotFoundError:
        raise WrongResult(path, "the model file", "no file") from None
    digest = hashlib.sha256(data).hexdigest()
    if digest != metadata["model_sha256"]:
        raise WrongResult(path, f"sha256 {metadata['model_sha256']}", digest)
    manifest = Manifest(
        asset=asset,
        partition=version,
        files=(ManifestFile(name=metadata["model_file"], rows=0, bytes=len(data), sha256=digest),),
        columns=(),
        schema_sha256=str(metadata["features_sha256"]),
        written_at=now,
        run_id=run_id,
        source={"submission_key": job.submission_key, "url": job.url},
        facts={"metrics": metadata["metrics"]},
    )
    lake.write_bytes(f"{folder}/{FILE_NAME}", manifest.model_dump_json(indent=2).encode())
    return metadata, manifest
