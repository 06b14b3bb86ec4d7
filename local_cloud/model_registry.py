"""The state folder's MLflow registry, the one that workloads write to, opened once for all services."""

from __future__ import annotations

import os
import threading
from functools import cache
from typing import TYPE_CHECKING

from local_cloud.state import StateFolder

if TYPE_CHECKING:
    from mlflow import MlflowClient

_lock = threading.Lock()


def open_registry(state: StateFolder) -> MlflowClient | None:
    """A client of the registry; None while no workload has registered anything. Safe from any thread."""
    if not state.mlflow_database.exists():
        return None
    with _lock:  # MLflow takes seconds to import, and sets up a store once
        return _open(state)


@cache
def _open(state: StateFolder) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    uri = state.mlflow_environment()["MLFLOW_TRACKING_URI"]
    return MlflowClient(tracking_uri=uri, registry_uri=uri)
