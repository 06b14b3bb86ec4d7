"""A deployment in small at DAGSTER_HOME: an asset that submits to the local cloud, one that collects, one behind it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
import yaml
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from typer.testing import CliRunner, Result

from adfml_assets.partitions import build_daily_partitions
from adfml_assets.remote_assets import COLLECTS_TAGS, SUBMITS_POLICY, SUBMITS_TAGS, find_ended_job, submit_remote_job
from adfml_cli import workflow
from adfml_cli.cli import app
from adfml_cli.job_adoption import QUIET
from local_cloud.process import LocalCloud
from resources.control import ControlDatabase
from resources.databricks import Databricks
from resources.remote_jobs import RemoteJob
from tests.remote_jobs.conftest import BUNDLE, WORK, Bench

DAY = "2026-03-01"
JOB, RESULT, BEHIND = "ml/m_job", "ml/m", "database/shop/main/M"


def call(*arguments: str, answer: str | None = None) -> Result:
    """The command, as a shell runs it; `answer` is typed where it asks."""
    return CliRunner().invoke(app, arguments, input=answer)


def key(name: str) -> dg.AssetKey:
    return dg.AssetKey(name.split("/"))


class JobConfig(dg.Config):
    mode: str = "ok"


def build_definitions() -> dg.Definitions:
    days = build_daily_partitions()

    @dg.asset(key=key(JOB), partitions_def=days, tags=SUBMITS_TAGS, backfill_policy=SUBMITS_POLICY)
    def job(context: dg.AssetExecutionContext, config: JobConfig) -> dg.MaterializeResult[None]:
        return submit_remote_job(
            context,
            ControlDatabase().ledger,
            Databricks(retry_seconds=3, request_timeout_seconds=5),
            collecting_asset=key(RESULT),
            request={"job": "tiny", "parameters": {"mode": config.mode}},
            deadline_hours=1,
            max_tries=2,
        )

    @dg.asset(key=key(RESULT), partitions_def=days, deps=[job], tags=COLLECTS_TAGS, output_required=False)
    def result(context: dg.AssetExecutionContext) -> Any:
        ledger = ControlDatabase().ledger
        ended = find_ended_job(context, ledger)
        if ended is not None:
            ledger.mark_collected(ended.submission_key, context.run_id)
            yield dg.MaterializeResult()

    @dg.asset(key=key(BEHIND), partitions_def=days, deps=[result])
    def behind() -> None: ...

    return dg.Definitions(assets=[job, result, behind], executor=dg.in_process_executor)


@dataclass
class Deployment:
    """The small deployment, and what tests do with it."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    jobs: Bench

    def materialise(
        self, name: str, day: str = DAY, config: Mapping[str, Any] | None = None, **options: Any
    ) -> dg.DagsterRun:
        """Materialise an asset in this process, as the daemon's runs would. Returns the run, however it ended."""
        done = self.definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            partition_key=day,
            asset_selection=[key(name)],
            run_config={**QUIET, **(config or {})},
            raise_on_error=False,
            **options,
        )
        return done.dagster_run

    def submit(self, mode: str, day: str = DAY) -> RemoteJob:
        """A job of a mode (ok, fail, slow), submitted by a run."""
        self.materialise(JOB, day, {"ops": {"ml__m_job": {"config": {"mode": mode}}}})
        return self.latest(day)

    def end(self, mode: str, day: str = DAY) -> RemoteJob:
        """The same, once it has ended."""
        job = self.submit(mode, day)
        self.jobs.tick_until(lambda: not self.jobs.get(job).outstanding)
        return self.jobs.get(job)

    def latest(self, day: str = DAY) -> RemoteJob:
        job = self.jobs.ledger.find_latest(RESULT, day)
        assert job is not None
        return job

    def list_targets(self, backfill_id: str) -> dict[str, list[str]]:
        """Asset -> partitions of a backfill."""
        data = self.require_backfill(backfill_id).asset_backfill_data
        assert data is not None
        subsets = data.target_subset.partitions_subsets_by_asset_key
        return {asset.to_user_string(): sorted(subset.get_partition_keys()) for asset, subset in subsets.items()}

    def require_backfill(self, backfill_id: str) -> PartitionBackfill:
        backfill = self.instance.get_backfill(backfill_id)
        assert backfill is not None
        return backfill

    def list_backfills(self) -> Sequence[PartitionBackfill]:
        return self.instance.get_backfills()


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dagster")
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return folder


@pytest.fixture(scope="package")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "work.py").write_text(WORK)
    (folder / "databricks.yml").write_text(yaml.safe_dump(BUNDLE))
    with LocalCloud(tmp_path_factory.mktemp("cloud"), bundle=folder / "databricks.yml") as started:
        yield started


@pytest.fixture
def deployment(
    home: Path, cloud: LocalCloud, control: ControlDatabase, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Deployment]:
    """With its storage in DAGSTER_HOME and its services on the local cloud, where the command finds them."""
    for name, value in cloud.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    definitions = build_definitions()
    monkeypatch.setattr(workflow, "load_repository", definitions.get_repository_def)
    bench = Bench(cloud, control.ledger, Databricks(retry_seconds=3, request_timeout_seconds=5))
    with dg.DagsterInstance.get() as instance:
        yield Deployment(definitions, instance, bench)
        for backfill in instance.get_backfills():
            instance.update_backfill(backfill.with_status(BulkActionStatus.CANCELED))
        instance.wipe_assets(list(instance.all_asset_keys()))
    httpx.delete(f"{cloud.url}/_local/faults").raise_for_status()
