"""What the online endpoints of the local cloud serve: the models of the state folder's MLflow registry, really loaded.

A registered model `main.ml.sales_forecast` is the endpoint `sales-forecast` (names of endpoints have letters, digits
and dashes). Its deployments are the model's aliases, `champion` and `challenger`, and `latest`; without the header that
names one, `champion` answers where there is one, else `latest`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from local_cloud.errors import LocalCloudError
from local_cloud.model_registry import open_registry
from local_cloud.state import StateFolder
from workloads.errors import WorkloadError
from workloads.model_files import ModelRecord, load_model
from workloads.paths import FileArea

if TYPE_CHECKING:
    from mlflow import MlflowClient

LATEST = "latest"
DEFAULT = "champion"
_KEPT_MODELS = 4


class ModelError(LocalCloudError):
    """The model cannot score a request: what the service answers as 424. `status` is the model's own."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Endpoint:
    """An endpoint: its name, its registered model, and the model's version behind each deployment."""

    name: str
    model: str
    deployments: Mapping[str, str]

    @property
    def default(self) -> str:
        """The deployment that has the traffic."""
        return DEFAULT if DEFAULT in self.deployments else LATEST


class DeployedModel:
    """A model that is loaded, as MLflow's generated scoring script wraps it."""

    def __init__(self, estimator: Any, features: tuple[str, ...]) -> None:
        self._estimator = estimator
        self.features = features

    def score(self, columns: Sequence[str], data: Sequence[Sequence[Any]]) -> list[float]:
        """A score for each row. Columns that the model does not know are ignored, null is a missing value.

        Raises:
            ModelError: a column is missing, or a value is no number.
        """
        import numpy as np

        from workloads.regression import predict

        missing = [name for name in self.features if name not in columns]
        if missing:
            raise ModelError(f"Failed to enforce schema of data. Model is missing inputs {missing}.")
        positions = [list(columns).index(name) for name in self.features]
        for number, row in enumerate(data):
            if len(row) != len(columns):
                raise ModelError(f"Row {number} has {len(row)} values for {len(columns)} columns.")
        if not data:
            return []
        matrix = np.empty((len(data), len(self.features)), order="F")
        for index, (name, position) in enumerate(zip(self.features, positions, strict=True)):
            matrix[:, index] = [_to_float(row[position], name) for row in data]
        return [float(score) for score in predict(self._estimator, matrix, self.features)]


def _to_float(value: Any, name: str) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            raise ModelError(f"Column {name} has a whole number that is too large for float64.") from None
    raise ModelError(
        f"Incompatible input types for column {name}. Can not safely convert {type(value).__name__} to float64: "
        f"{json.dumps(value)[:80]}."
    )


class ModelShelf:
    """Finds endpoints in the registry and keeps the models that were used last; safe from any thread."""

    def __init__(self, state: StateFolder) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._loaded: dict[tuple[str, str], DeployedModel] = {}

    def list_endpoints(self) -> list[Endpoint]:
        """An endpoint for every registered model that has a version."""
        client = open_registry(self._state)
        return sorted(_read_endpoints(client), key=lambda endpoint: endpoint.model) if client else []

    def find_endpoint(self, name: str) -> Endpoint | None:
        """The endpoint of a name."""
        return next((endpoint for endpoint in self.list_endpoints() if endpoint.name == name), None)

    def load(self, model: str, version: str) -> DeployedModel:
        """A version of a registered model, ready to score.

        Raises:
            ModelError: its file is damaged, or holds what such a model does not have.
        """
        with self._lock:
            # Put behind the others: the first is the one not used for longest.
            loaded = self._loaded.pop((model, version), None) or self._read(model, version)
            self._loaded[model, version] = loaded
            if len(self._loaded) > _KEPT_MODELS:
                del self._loaded[next(iter(self._loaded))]
            return loaded

    def _read(self, model: str, version: str) -> DeployedModel:
        import yaml

        client = open_registry(self._state)
        assert client is not None  # noqa: S101 - the endpoint was found through it
        folder = _to_path(client.get_model_version_download_uri(model, version))
        try:
            described = yaml.safe_load((folder / "MLmodel").read_text("utf-8"))
            flavor = described["flavors"]["sklearn"]
            features = tuple(column["name"] for column in json.loads(described["signature"]["inputs"]))
            content = (folder / flavor["pickled_model"]).read_bytes()
            # MLflow keeps no hash; the types and trees in the file are checked all the same.
            record = ModelRecord(
                model=model,
                version=version,
                features=features,
                model_file=flavor["pickled_model"],
                model_sha256=hashlib.sha256(content).hexdigest(),
                sklearn_version=flavor["sklearn_version"],
            )
            with FileArea() as area:
                return DeployedModel(load_model(area, str(folder), record), features)
        except (OSError, KeyError, TypeError, ValueError, yaml.YAMLError, WorkloadError) as error:
            raise ModelError(f"Version {version} of {model} cannot be loaded: {error}") from error


def _read_endpoints(client: MlflowClient) -> Iterator[Endpoint]:
    page = None
    while page is None or page.token:
        page = client.search_registered_models(page_token=page.token if page else None)
        for model in page:
            # One for each stage a version is in: the newest of them is the newest of all.
            newest = max((int(version.version) for version in model.latest_versions), default=None)
            if newest is not None:
                aliases = {alias: str(version) for alias, version in model.aliases.items()}
                yield Endpoint(name_endpoint(model.name), model.name, {**aliases, LATEST: str(newest)})


def name_endpoint(model: str) -> str:
    """The endpoint of a registered model: the last part of its name, with dashes for underscores."""
    return model.rpartition(".")[2].replace("_", "-")


def _to_path(uri: str) -> Path:
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else Path(uri)
