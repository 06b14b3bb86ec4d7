"""MLflow: each training is a run, each model a registered version.

Aliases, which say what version is to be used, are set by whoever judges the model, never here.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.command_line import on_databricks
from workloads.errors import WorkloadError
from workloads.model_files import library_versions
from workloads.skops_files import TRUSTED_TYPES

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOCK_SECONDS = 120
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedRun:
    """What is recorded of a training.

    Attributes:
        experiment_name: MLflow experiment; under Databricks an absolute workspace path.
        registered_model_name: Registered model; under Unity Catalog `catalog.schema.model`.
        submission_key: Key of the submission; a second run with the same key reuses the first one's version. "" for a
            run started by hand, which always makes a new version.
        fingerprint: Identity of what was learned: equal for two trainings that give the same scores.
        params: Hyperparameters.
        metrics: Metric name -> value; None is left out.
        tags: Tags of the run and of the version.
        features: Feature columns, for the model's signature.
    """

    experiment_name: str
    registered_model_name: str
    submission_key: str
    fingerprint: str
    params: Mapping[str, object]
    metrics: Mapping[str, float | None]
    tags: Mapping[str, str]
    features: tuple[str, ...]


@dataclass(frozen=True)
class Registration:
    """Where a model is in MLflow.

    Attributes:
        run_id: The training run.
        experiment_id: The experiment that it is in.
        version: Version of the registered model.
        reused: Whether an earlier run with the same submission key had registered it.
    """

    run_id: str
    experiment_id: str
    version: str
    reused: bool


def find_tracking_uri() -> str:
    """Where runs and models are recorded: `MLFLOW_TRACKING_URI`, or on Databricks its own MLflow.

    Raises:
        WorkloadError: Nothing says where.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "") or ("databricks" if on_databricks() else "")
    if not uri:
        raise WorkloadError(
            "MLFLOW_TRACKING_URI is not set: give it an absolute sqlite:////folder/mlflow.db, or databricks"
        )
    return uri


def prepare_local_store(uri: str) -> None:
    """Create the database behind a `sqlite:///` tracking URI, if that is one and it is not there or unfinished.

    MLflow creates it on first use, in some fifty migrations without a lock: two processes at once break it, and a
    process that dies leaves half of it. Here one process at a time builds it under another name and then renames it.

    Raises:
        sqlite3.OperationalError: Another process has been building it for two minutes.
    """
    database = _sqlite_file(uri)
    if database is None or _is_migrated(database):
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    # SQLite's own lock works on every system and ends with the process that holds it.
    with closing(sqlite3.connect(f"{database}.lock", timeout=_LOCK_SECONDS, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        if _is_migrated(database):
            return
        from mlflow import MlflowClient

        unfinished = database.with_name(f"{database.name}.new")
        unfinished.unlink(missing_ok=True)
        MlflowClient(f"sqlite:///{unfinished}", f"sqlite:///{unfinished}").search_experiments(max_results=1)
        unfinished.replace(database)


def _is_migrated(database: Path) -> bool:
    """Whether MLflow's migrations have gone through: an empty file, or half a store, is none."""
    if not database.exists():
        return False
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=_LOCK_SECONDS)) as connection:
        (tables,) = connection.execute(
            "SELECT count(*) FROM sqlite_master WHERE name IN ('alembic_version', 'registered_model_aliases')"
        ).fetchone()
        return tables == 2 and connection.execute("SELECT count(*) FROM alembic_version").fetchone()[0] > 0


def fingerprint_scores(*scores: Any) -> str:
    """SHA-256 of score arrays: two models with the same one give the same scores on the same rows."""
    digest = hashlib.sha256()
    for array in scores:
        digest.update(array.tobytes())
    return digest.hexdigest()


def register_model(run: TrainedRun, estimator: Any) -> Registration:
    """Log a training run with its model and register the model as a new version, once for each submission key.

    Raises:
        WorkloadError: No tracking store is configured, or the submission key already stands for another model.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    uri = find_tracking_uri()
    prepare_local_store(uri)
    import mlflow
    from mlflow import MlflowClient

    mlflow.set_tracking_uri(uri)
    if uri.partition("://")[0] == "databricks" and not os.environ.get("MLFLOW_REGISTRY_URI"):
        mlflow.set_registry_uri("databricks-uc")
    client = MlflowClient()
    experiment_id = _find_or_create_experiment(client, run.experiment_name, _sqlite_file(uri))
    earlier = _find_registration(client, experiment_id, run)
    if earlier:
        _log.info("submission key %s is already registered as version %s", run.submission_key, earlier.version)
        return earlier
    tags = {**run.tags, "submission_key": run.submission_key, "model_fingerprint": run.fingerprint}
    with mlflow.start_run(experiment_id=experiment_id, run_name=run.tags["adfml_model_version"], tags=tags) as active:
        mlflow.log_params(dict(run.params))
        mlflow.log_metrics({name: value for name, value in run.metrics.items() if value is not None})
        model_uri = _log_model(estimator, run.features)
        created = mlflow.register_model(model_uri, run.registered_model_name, tags=tags)
    return Registration(active.info.run_id, experiment_id, str(created.version), reused=False)


def _sqlite_file(uri: str) -> Path | None:
    if not uri.startswith("sqlite:"):
        return None
    from sqlalchemy.engine import make_url

    name = make_url(uri).database
    return Path(name).absolute() if name else None


def _find_or_create_experiment(client: MlflowClient, name: str, database: Path | None) -> str:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        # Without a location MLflow puts a local experiment's models below the current directory of whoever was first.
        location = str(database.parent / "artifacts") if database else None
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another process was faster
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise WorkloadError(f"the MLflow experiment {name} is deleted: restore it, or give another experiment_name")
    return str(found.experiment_id)


def _find_registration(client: MlflowClient, experiment_id: str, run: TrainedRun) -> Registration | None:
    # Runs are searched by tag and versions by run: Unity Catalog knows no search of versions by tag.
    if not run.submission_key:
        return None
    if "'" in run.submission_key:
        raise WorkloadError(f"submission_key must not contain a quote: {run.submission_key!r}")
    for found in client.search_runs([experiment_id], f"tags.submission_key = '{run.submission_key}'"):
        run_id = found.info.run_id
        versions = client.search_model_versions(f"run_id = '{run_id}'")
        mine = [str(version.version) for version in versions if version.name == run.registered_model_name]
        if not mine:
            if found.info.status == "RUNNING":
                client.set_terminated(run_id, "KILLED")  # its process died before it had registered the model
            continue
        if found.data.tags.get("model_fingerprint") != run.fingerprint:
            raise WorkloadError(
                f"submission key {run.submission_key} is already registered as version {mine[0]} of "
                f"{run.registered_model_name}, and that model gives other scores than this one (other data, "
                "hyperparams or libraries): submit again with a new key",
                version=mine[0],
            )
        return Registration(run_id, experiment_id, mine[0], reused=True)
    return None


def _log_model(estimator: Any, features: tuple[str, ...]) -> str:
    import mlflow.sklearn
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    installed = library_versions()
    logged = mlflow.sklearn.log_model(
        estimator,
        name="model",
        serialization_format="skops",  # the default on Databricks is a pickle
        skops_trusted_types=list(TRUSTED_TYPES),
        signature=ModelSignature(
            inputs=Schema([ColSpec("double", name, required=False) for name in features]),
            outputs=Schema([ColSpec("double")]),
        ),
        # Given, because MLflow would otherwise load the model in another process to find them out.
        pip_requirements=[f"{name}=={installed[name]}" for name in ("mlflow-skinny", "scikit-learn", "numpy", "skops")],
    )
    return str(logged.model_uri)
