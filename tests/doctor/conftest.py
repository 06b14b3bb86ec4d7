"""A deployment that uses every service there is, and a look at it with faults planted."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient
from dagster._daemon.types import DaemonHeartbeat

from adfml_cli.doctor.examining import examine
from adfml_cli.doctor.findings import Finding, Report
from local_cloud.process import LocalCloud
from resources.control import ControlDatabase
from resources.identity import DATABRICKS_SCOPE
from resources.key_vault import forget_secrets
from tests.postgresql_server import RunningPostgresql, connect, run_postgresql

PROJECT = Path(__file__).resolve().parent.parent.parent
PASSWORD = "planted-Passw0rd"
SECRET = "warehouse-password"
REGISTERED = "main.ml.sales_forecast"

DECLARED = """
type: adfml_assets.components.ArchivedDatabase
attributes:
  database: warehouse
  tables: [{ table: public.orders }, { table: public.customers }]
  schedule: { cron: "0 5 * * *", timezone: Europe/Vienna }
---
type: adfml_assets.components.ArchivedDatabase
attributes:
  database: shop
  tables: [{ table: main.Feedback }]
---
type: adfml_assets.components.TrainedModel
attributes:
  name: sales_forecast
  from_features: customer_features
  label: { name: spend, function: some.module.build, days: 30, baseline: spend_before }
  engine: { service: databricks, job: adfml_training }
  registered_model: main.ml.sales_forecast
  experiment: /Shared/sales_forecast
---
type: adfml_assets.components.ScoredModel
attributes:
  name: sales_forecast
  from_features: customer_features
  engine: { service: databricks, job: adfml_scoring }
  write_back: { table: warehouse.public.predictions }
---
type: adfml_assets.components.ScoredModel
attributes:
  name: churn
  from_features: customer_features
  engine: { service: azure_ml_batch, endpoint: adfml-scoring, deployment: score }
  write_back: { table: warehouse.public.churn }
---
type: adfml_assets.components.ScoredModel
attributes:
  name: upsell
  from_features: customer_features
  engine: { service: azure_ml_online, endpoint: sales-forecast, deployment: champion }
  write_back: { table: shop.main.Upsell }
---
type: adfml_assets.components.ScoredText
attributes:
  name: verdicts
  source: shop.main.Feedback
  key: [FeedbackId]
  text: FeedbackText
  engine:
    service: openai_batch
    deployment: gpt-4o-mini
    template: "{{ FeedbackText }}"
    answer_schema: { type: object }
  write_back: { table: shop.main.Feedback, columns: { sentiment: Sentiment } }
---
type: adfml_assets.components.ScoredText
attributes:
  name: sentiment
  source: shop.main.Feedback
  key: [FeedbackId]
  text: FeedbackText
  engine: { service: language }
"""


@dataclass
class Site:
    """A deployment in a folder of its own.

    Attributes:
        settings: its environment, local cloud and databases included.
        declared: its defs.yaml.
        dagster_yaml: its dagster.yaml; None: there is none.
    """

    folder: Path
    cloud: LocalCloud
    settings: dict[str, str]
    repository: dg.RepositoryDefinition
    declared: str = DECLARED
    dagster_yaml: str | None = field(default_factory=lambda: (PROJECT / "dagster.yaml").read_text())
    prepare: Callable[[dg.DagsterInstance], None] = lambda _instance: None

    @property
    def control(self) -> Path:
        return self.folder / "control.sqlite"

    @property
    def shop(self) -> Path:
        return self.folder / "shop.sqlite"

    def order(self, **fault: Any) -> None:
        httpx.post(f"{self.cloud.url}/_local/faults", json=fault).raise_for_status()

    @contextmanager
    def running(self) -> Iterator[None]:
        """The deployment as its processes see it: settings, Dagster's home with beating daemons, its declarations."""
        home = self.folder / "dagster"
        home.mkdir(exist_ok=True)
        (self.folder / "defs").mkdir(exist_ok=True)
        (self.folder / "defs" / "defs.yaml").write_text(self.declared)
        forget_secrets()
        with pytest.MonkeyPatch.context() as patch:
            clear_settings(patch)
            for name, value in {**self.settings, "DAGSTER_HOME": str(home)}.items():
                patch.setenv(name, value)
            if self.dagster_yaml is not None:
                (home / "dagster.yaml").write_text(self.dagster_yaml)
                with dg.DagsterInstance.get() as instance:
                    beat(instance, instance.get_required_daemon_types())
                    self.prepare(instance)
            yield
        forget_secrets()
        httpx.delete(f"{self.cloud.url}/_local/faults").raise_for_status()

    def examine(self, *only: str, seconds: float = 15.0) -> Seen:
        """Look at it."""
        with self.running():
            found = examine(self.folder / "defs", lambda: self.repository, only=only, limit_seconds=seconds)
        return Seen(found.report, found.hanging)


@dataclass(frozen=True)
class Seen:
    """What a look found."""

    report: Report
    hanging: int

    def find(self, check: str, subject: str) -> Finding:
        """The worst finding about a subject."""
        found = [one for one in self.report.findings if (one.check, one.subject) == (check, subject)]
        assert found, f"nothing is said of {check}, {subject}; findings are:\n{self.describe()}"
        return max(found, key=lambda one: ("unused", "ok", "warning", "failed").index(one.status))

    def describe(self, *statuses: str) -> str:
        found = [one for one in self.report.findings if not statuses or one.status in statuses]
        return "\n".join(f"{one.check} | {one.subject} | {one.status} | {one.found} | {one.advice}" for one in found)


def clear_settings(patch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("ADFML_", "DAGSTER_", "IDENTITY_", "MLFLOW_", "AZURE_", "AZUREML_", "ARM_", "DATABRICKS_")):
            patch.delenv(name)


def beat(instance: dg.DagsterInstance, daemons: Sequence[str]) -> None:
    for name in daemons:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time(), name, "test"))


@pytest.fixture(scope="package")
def repository() -> dg.RepositoryDefinition:
    from adfml_cli.workflow import load_repository

    return load_repository()


@pytest.fixture(scope="package")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """With a registered model, which is an online endpoint too, and a secret."""
    with LocalCloud(tmp_path_factory.mktemp("cloud")) as started, pytest.MonkeyPatch.context() as patch:
        clear_settings(patch)
        for name, value in {**started.environment(), "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential"}.items():
            patch.setenv(name, value)
        _register(started)
        environment = started.environment()
        options = {"verify_challenge_resource": False, "connection_verify": environment["ADFML_CA_BUNDLE"]}
        vault = SecretClient(environment["ADFML_KEY_VAULT_URL"], DefaultAzureCredential(), **options)
        vault.set_secret(SECRET, PASSWORD)
        yield started


def _register(cloud: LocalCloud) -> None:
    from mlflow import MlflowClient

    # By address: MLflow remembers the one that was set last in this process.
    environment = cloud.environment()
    tracking = environment["MLFLOW_TRACKING_URI"]
    client = MlflowClient(tracking, environment.get("MLFLOW_REGISTRY_URI", tracking))
    client.create_registered_model(REGISTERED)
    client.create_model_version(REGISTERED, source=str(cloud.state))
    client.set_registered_model_alias(REGISTERED, "champion", "1")
    # The first look at the registry imports MLflow: no test shall wait for that.
    token = DefaultAzureCredential().get_token(DATABRICKS_SCOPE).token
    address = f"{cloud.url}/api/2.1/unity-catalog/models/{REGISTERED}"
    httpx.get(address, headers={"Authorization": f"Bearer {token}"}, timeout=120).raise_for_status()


@pytest.fixture(scope="package")
def warehouse() -> Iterator[RunningPostgresql]:
    """A PostgreSQL whose role `adfml` has a password, reads `orders` and `customers`, and writes `predictions`."""
    with run_postgresql() as running:
        with connect(running.url) as connection:
            row = connection.execute("SHOW hba_file").fetchone()
        assert row is not None
        rules = Path(row[0])
        rules.write_text(f"local all adfml scram-sha-256\n{rules.read_text()}")
        running.execute(
            f"CREATE ROLE adfml LOGIN PASSWORD '{PASSWORD}'",
            "GRANT CREATE ON SCHEMA public TO adfml",
            *(f"CREATE TABLE {name} (id integer PRIMARY KEY)" for name in ("orders", "customers", "predictions")),
            "GRANT SELECT ON orders, customers, predictions TO adfml",
            "GRANT INSERT, UPDATE, DELETE ON predictions TO adfml",
            "SELECT pg_reload_conf()",
        )
        yield running


@pytest.fixture(scope="package")
def build_site(
    tmp_path_factory: pytest.TempPathFactory,
    cloud: LocalCloud,
    warehouse: RunningPostgresql,
    repository: dg.RepositoryDefinition,
) -> Callable[[], Site]:
    """Makes a deployment in which all is well."""

    def build() -> Site:
        folder = tmp_path_factory.mktemp("site")
        (folder / "lake").mkdir()
        settings: Mapping[str, str] = {
            **cloud.environment(),
            # Other ways to sign in only take time to fail.
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "ADFML_LAKE": str(folder / "lake"),
            "ADFML_CONTROL_URL": f"sqlite:///{folder}/control.sqlite",
            "ADFML_SHOP_URL": f"sqlite:///{folder}/shop.sqlite",
            "ADFML_WAREHOUSE_URL": str(warehouse.url.set(username="adfml")),
            "ADFML_WAREHOUSE_PASSWORD_SECRET": SECRET,
        }
        site = Site(folder, cloud, dict(settings), repository)
        with closing(sqlite3.connect(site.shop)) as shop:
            shop.execute("CREATE TABLE Feedback (FeedbackId INTEGER PRIMARY KEY, FeedbackText TEXT, Sentiment TEXT)")
        with site.running():
            assert ControlDatabase().ledger.list_jobs() == []
        return site

    return build
