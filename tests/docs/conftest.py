"""A small deployment that the commands of the docs act on: a shop, extracts of it, and four versions of a model."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import Result
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, BulkActionStatus
from typer.testing import CliRunner

from adfml_assets import lake_layout
from demo.home import DemoHome
from demo.sample_shop import ensure_sample_shop
from resources.control import ControlDatabase
from resources.lake import Lake
from resources.manifest import FILE_NAME, Manifest, ManifestFile
from resources.model_registry import VersionRecord
from tests.docs.pages import ROOT

MODEL = "sales_forecast"
EXTRACTED = ["incremental/shop/main/Transactions", "archive/shop/main/Products"]
BASELINE = {"reference": "net_spend_per_30_days", "kind": "baseline"}
FINDINGS: dict[str, dict[str, Any]] = {
    "passed": {**BASELINE, "passed": True, "reason": "Beats baseline net_spend_per_30_days: test mae 50.7, ..."},
    "refused": {
        **BASELINE,
        "passed": False,
        "reason": "Is better than baseline net_spend_per_30_days, but not surely: test mae 55.8, ...",
    },
}
WORSE: dict[str, Any] = {
    "reference": "champion",
    "kind": "champion",
    "passed": False,
    "reason": "Is worse than the champion, version 1: test mae 55.8, champion 50.7, ...",
}
FEATURES = ("recency_days", "net_spend_30d")


@dataclass
class Deployment:
    """What is prepared once; a test gets it as it was."""

    home: DemoHome
    environment: dict[str, str]
    repository: dg.RepositoryDefinition
    control: bytes

    def run(self, *words: str, given: str | None = None, width: int = 120) -> Result:
        """A command of this project, in this process."""
        from adfml_cli.cli import app

        return CliRunner().invoke(app, list(words), input=given, env={"COLUMNS": str(width)})

    @contextmanager
    def everything_there(self) -> Iterator[None]:
        """As if every partition of today and every version had been materialised."""
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        with dg.DagsterInstance.get() as instance:
            graph = self.repository.asset_graph
            for key in graph.materializable_asset_keys:
                partitions = graph.get(key).partitions_def
                of_versions = isinstance(partitions, dg.DynamicPartitionsDefinition)
                # A version that was refused is never champion.
                versions = ("1",) if key.path[:2] == ["ml", "champions"] else ("1", "2")
                for partition in versions if of_versions else (today,):
                    instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))
            yield
            instance.wipe_assets(list(graph.materializable_asset_keys))

    def forget(self) -> None:
        """Take back what commands launched."""
        with dg.DagsterInstance.get() as instance:
            for backfill in instance.get_backfills():
                if backfill.status not in BULK_ACTION_TERMINAL_STATUSES:
                    instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELED))


@pytest.fixture(scope="package")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    from adfml_assets.definitions import defs

    home = DemoHome(tmp_path_factory.mktemp("docs"))
    (home.folder / "first_day").write_text(f"{datetime.now(UTC) - timedelta(days=5):%Y-%m-%d}")
    home.prepare()
    ensure_sample_shop(home.shop, customers=60, days=60)
    with closing(sqlite3.connect(home.shop)) as shop:
        shop.execute("CREATE TABLE Events (EventId INTEGER PRIMARY KEY, What VARCHAR(20))")
        shop.commit()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        for name in [name for name in os.environ if name.startswith(("ADFML_", "DAGSTER_", "AZURE_"))]:
            patch.delenv(name)
        environment = {name: value for name, value in home.environment().items() if name.startswith("ADFML_")}
        environment["DAGSTER_HOME"] = str(home.dagster)
        for name, value in environment.items():
            patch.setenv(name, value)
        repository = defs().get_repository_def()
        with dg.DagsterInstance.get() as instance:
            instance.add_dynamic_partitions(f"{MODEL}_versions", list("1234"))
            job = repository.get_implicit_global_asset_job_def()
            done = job.execute_in_process(
                instance=instance,
                partition_key=datetime.now(UTC).strftime("%Y-%m-%d"),
                asset_selection=[dg.AssetKey.from_user_string(name) for name in EXTRACTED],
            )
            assert done.success
        _put_models(Lake(), ControlDatabase())
        with closing(sqlite3.connect(home.control)) as control:
            control.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        yield Deployment(home, environment, repository, home.control.read_bytes())


@pytest.fixture
def deployment(prepared: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Deployment]:
    from adfml_cli import workflow

    for name, value in prepared.environment.items():
        monkeypatch.setenv(name, value)
    # Of one's own: what a command changes in it is no other test's.
    (tmp_path / "control.sqlite").write_bytes(prepared.control)
    monkeypatch.setenv("ADFML_CONTROL_URL", f"sqlite:///{tmp_path}/control.sqlite")
    monkeypatch.setattr(workflow, "load_repository", lambda: prepared.repository)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    monkeypatch.chdir(tmp_path)
    yield prepared
    prepared.forget()


def _put_models(lake: Lake, control: ControlDatabase) -> None:
    """Version 1 is champion, 2 and 3 were refused, 4 has passed."""
    content = _fit()
    for version, verdict in (("1", "passed"), ("2", "refused"), ("3", "refused"), ("4", "passed")):
        digest = hashlib.sha256(content).hexdigest()
        folder = lake_layout.model_folder(MODEL, version)
        metadata = {
            "model": MODEL,
            "version": version,
            "algorithm": "HistGradientBoostingRegressor",
            "features": FEATURES,
            "features_sha256": "f" * 64,
            "model_file": "model.skops",
            "model_sha256": digest,
            "metrics": {"test": {"mae": 50.7, "r2": 0.35}},
            "library_versions": {"scikit-learn": library_version("scikit-learn")},
        }
        manifest = Manifest(
            asset=f"ml/models/{MODEL}",
            partition=version,
            files=(ManifestFile(name="model.skops", rows=0, bytes=len(content), sha256=digest),),
            columns=(),
            schema_sha256="f" * 64,
            written_at=datetime.now(UTC),
            run_id="r",
            facts={"metrics": metadata["metrics"]},
        )
        lake.write_bytes(f"{folder}/model.skops", content)
        lake.write_bytes(f"{folder}/metadata.json", json.dumps(metadata).encode())
        lake.write_bytes(f"{folder}/{FILE_NAME}", manifest.model_dump_json().encode())
        metrics: Any = metadata["metrics"]
        record = VersionRecord(MODEL, version, "run", "model.skops", digest, "f" * 64, metrics)
        control.models.register(record)
        compared_to = None if version == "1" else "1"
        findings = [FINDINGS[verdict], *([WORSE] if verdict == "refused" else [])]
        reason = " ".join(finding["reason"] for finding in findings)
        control.models.judge(MODEL, version, verdict, reason, compared_to, findings=findings)  # type: ignore[arg-type]
        if version == "1":
            control.models.promote(MODEL, "1", "gate", "first")


def _fit() -> bytes:
    import numpy as np
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingRegressor
    from skops import io

    rows = pd.DataFrame(np.random.default_rng(1).normal(size=(80, 2)), columns=list(FEATURES))
    return bytes(io.dumps(HistGradientBoostingRegressor(max_iter=5).fit(rows, rows[FEATURES[0]])))
