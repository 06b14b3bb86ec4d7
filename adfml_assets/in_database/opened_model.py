"""The version that scores, opened once: its file by its recorded hash, and compiled where it can be."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from adfml_assets import lake_layout
from adfml_assets.errors import WrongResult
from adfml_assets.in_database.errors import CannotCompile
from adfml_assets.in_database.platform import ModelKind
from adfml_assets.in_database.server_errors import CannotLoad, WrongModelBytes
from adfml_assets.scoring.model_choice import ChosenVersion
from adfml_assets.scoring.model_features import ModelFeatures, read_model_features
from adfml_assets.training.trained import METADATA, read_metadata
from resources.control import ControlDatabase
from resources.lake import Lake

if TYPE_CHECKING:
    from adfml_assets.in_database.compile import CompiledModel

KINDS: Mapping[str, ModelKind] = {".skops": "skops", ".onnx": "onnx", ".pkl": "pickle"}
"""How a model is stored, by the ending of its file."""


@dataclass(frozen=True)
class OpenedModel:
    """A version, as scoring inside a database needs it.

    Attributes:
        chosen: the version, and the alias it was found by.
        takes: its features.
        label: the column it forecasts; "" where its metadata does not say.
        kind: how it is stored.
        content: its file, which has the hash that was recorded.
        sha256: that hash.
        estimator: the model itself; None where it was not loaded, because it has no SQL whatever is in it.
        compiled: it as SQL; None: see `obstacle`.
        obstacle: why it has no SQL for the database, in a sentence; None: it has.
    """

    chosen: ChosenVersion
    takes: ModelFeatures
    label: str
    kind: ModelKind
    content: bytes
    sha256: str
    estimator: Any = None
    compiled: CompiledModel | None = None
    obstacle: str | None = None


def open_model(lake: Lake, control: ControlDatabase, chosen: ChosenVersion, dialect: str) -> OpenedModel:
    """Read a version's file, and compile it where it is a scikit-learn model.

    Args:
        dialect: of the database, as SQLAlchemy calls it.

    Raises:
        NotFound: there is no such version; with those that are.
        WrongResult: its metadata cannot be read, names no file that is a model, or one that is not there.
        WrongModelBytes: its file is not what the registry recorded (its own metadata where it is not registered).
    """
    model, version = chosen.model, chosen.version
    takes = read_model_features(lake, model, version)
    metadata = read_metadata(lake, model, version)
    folder = lake_layout.model_folder(model, version)
    registered = control.models.find(model, version)
    name = registered.model_file if registered else str(metadata.get("model_file", ""))
    kind = KINDS.get(PurePosixPath(name).suffix)
    if kind is None:
        raise WrongResult(f"{folder}/{METADATA}: model_file", f"a file {', '.join(KINDS)}", repr(name))
    path = f"{folder}/{name}"
    content = read_file(lake, path)
    sha256 = registered.model_sha256 if registered else str(metadata.get("model_sha256", ""))
    found = hashlib.sha256(content).hexdigest()
    if found != sha256.lower():
        raise WrongModelBytes(path, sha256, found)
    label = str(metadata.get("label") or "")
    if kind != "skops":
        return OpenedModel(chosen, takes, label, kind, content, found)
    trained_with = str((metadata.get("library_versions") or {}).get("scikit-learn", ""))
    made = compile_file(content, path, found, trained_with, takes.names, dialect)
    return OpenedModel(chosen, takes, label, kind, content, found, made.estimator, made.compiled, made.obstacle)


def read_file(lake: Lake, path: str) -> bytes:
    """A model's file.

    Raises:
        WrongResult: it is not there.
    """
    try:
        return lake.read_bytes(path)
    except FileNotFoundError:
        raise WrongResult(path, "the model file", "no file") from None


@dataclass(frozen=True)
class CompiledFile:
    """A .skops file as SQL: the model and its SQL, or why it has none.

    Attributes:
        estimator, compiled, obstacle: see `OpenedModel`.
    """

    estimator: Any = None
    compiled: CompiledModel | None = None
    obstacle: str | None = None


def compile_file(
    content: bytes, path: str, sha256: str, trained_with: str, features: Sequence[str], dialect: str
) -> CompiledFile:
    """Load a .skops file and compile it for a database.

    Raises:
        WrongModelBytes: the file is another one.
    """
    from adfml_assets.in_database.compile import compile_model
    from adfml_assets.in_database.estimators import load_estimator
    from adfml_assets.in_database.query import quote_table, to_sql

    try:
        estimator = load_estimator(content, path, sha256, trained_with)
        compiled = compile_model(estimator, features)
        # What one database has no room for is found when its text is made.
        to_sql(compiled, dialect, quote_table(dialect, "t"))
    except CannotCompile as error:
        return CompiledFile(obstacle=f"{error.where}: {error.what} cannot be compiled to SQL")
    except CannotLoad as error:
        return CompiledFile(obstacle=f"{error.where} cannot be loaded: {error.reason}")
    return CompiledFile(estimator, compiled)
