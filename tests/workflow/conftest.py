"""A deployment in small: two databases, two feature sets, and two models that are trained and score."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.job_base import RepoBackedJob
from dagster._core.execution.api import execute_run_iterator
from dagster._core.execution.backfill import PartitionBackfill

from adfml_assets.components.end_to_end_workflow import EndToEndWorkflow
from adfml_assets.partitions import build_daily_partitions, build_model_versions
from resources.control import ControlDatabase
from resources.model_registry import VersionRecord

JOB = "train_or_score"
DAY = "2026-03-01"
COMMON = "group:archive or group:incremental or group:current or group:features"


class TrainingDataConfig(dg.Config):
    snapshot_date: str | None = None
    start_date: str | None = None
    end_date: str | None = None


class TrainingJobConfig(dg.Config):
    hyperparameters: str | None = None
    job: str | None = None


class ScoringInputConfig(dg.Config):
    alias: str | None = None
    version: str | None = None


class ScoringJobConfig(dg.Config):
    job: str | None = None


@dataclass
class Told:
    """What the assets were told when they were materialised."""

    config: dict[str, dict[str, Any]] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)


def key(name: str) -> dg.AssetKey:
    return dg.AssetKey(name.split("/"))


def build_asset(
    told: Told,
    name: str,
    group: str,
    partitions: dg.PartitionsDefinition,
    deps: Sequence[str] = (),
    config_class: type[dg.Config] | None = None,
) -> dg.AssetsDefinition:
    def is_of_days(dep: str) -> bool:
        return not dep.startswith(("ml/training_data", "ml/models", "ml/champions"))

    of_versions = isinstance(partitions, dg.DynamicPartitionsDefinition)
    last = dg.LastPartitionMapping()
    upstream = [
        dg.AssetDep(key(dep), partition_mapping=last if is_of_days(dep) == of_versions else None) for dep in deps
    ]

    def note(values: dict[str, Any]) -> None:
        if name in told.failing:
            raise dg.Failure(f"{name} cannot be made")
        told.config[name] = {field: value for field, value in values.items() if value is not None}

    options: dict[str, Any] = {"key": key(name), "group_name": group, "partitions_def": partitions, "deps": upstream}
    if config_class is not None:
        options["config_schema"] = config_class.to_config_schema()

    @dg.asset(**options)
    def made(context: dg.AssetExecutionContext) -> None:
        note(context.op_execution_context.op_config if config_class else {})

    return made


def build_model(told: Told, model: str, features: str, *, online: bool = False) -> list[dg.AssetsDefinition]:
    versions, days = build_model_versions(model), build_daily_partitions()
    data, job, trained = f"ml/training_data/{model}", f"ml/models/{model}_job", f"ml/models/{model}"
    records, scoring, scores = f"ml/scoring_input/{model}", f"ml/scores/{model}_job", f"ml/scores/{model}"
    scored = [] if online else [build_asset(told, scoring, "scoring", days, [records, trained], ScoringJobConfig)]
    return [
        build_asset(told, data, "training", versions, [f"feature_store/{features}"], TrainingDataConfig),
        build_asset(told, job, "training", versions, [data], TrainingJobConfig),
        build_asset(told, trained, "training", versions, [job]),
        build_asset(told, f"ml/champions/{model}", "training", versions, [trained]),
        build_asset(told, records, "scoring", days, [f"feature_store/{features}"], ScoringInputConfig),
        *scored,
        build_asset(told, scores, "scoring", days, [records if online else scoring]),
        build_asset(told, f"database/shop/main/{model}", "scoring", days, [scores]),
        build_asset(told, f"ml/drift/{model}", "monitoring", days, [scores, records]),
    ]


def build_small_definitions(told: Told, *, online: bool = False) -> dg.Definitions:
    days = build_daily_partitions()
    assets = [
        build_asset(told, "archive/shop/main/Sales", "archive", days),
        build_asset(told, "archive/shop/main/Staff", "archive", days),
        build_asset(told, "incremental/shop/main/Sales", "incremental", days),
        build_asset(
            told, "current/shop/main/Sales", "current", days, ["archive/shop/main/Sales", "incremental/shop/main/Sales"]
        ),
        build_asset(told, "archive/crm/dbo/Calls", "archive", days),
        build_asset(told, "feature_store/buyers", "features", days, ["current/shop/main/Sales"]),
        build_asset(told, "feature_store/callers", "features", days, ["archive/crm/dbo/Calls"]),
        *build_model(told, "sales", "buyers", online=online),
        *build_model(told, "churn", "callers"),
    ]
    workflow = EndToEndWorkflow(
        name=JOB, train=f"{COMMON} or group:training", score=f"{COMMON} or group:scoring or group:monitoring"
    )
    declared = workflow.build_defs(None)  # type: ignore[arg-type]
    bound = dg.Definitions(assets=assets, resources={"control": ControlDatabase()}, executor=dg.in_process_executor)
    return dg.Definitions.merge(declared, bound)


@dataclass(frozen=True)
class Launched:
    """What a run of the workflow's job did."""

    run_id: str
    said: list[str]
    failure: str


@dataclass
class Deployment:
    """The small deployment, and what tests do with it."""

    told: Told
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    def launch(self, **parameters: Any) -> Launched:
        """A run of the workflow's job with its parameters."""
        repository = self.definitions.get_repository_def()
        run = self.instance.create_run_for_job(
            repository.get_job(JOB), run_config={"ops": {"launch_workflow": {"config": parameters}}}
        )
        events = list(execute_run_iterator(RepoBackedJob(JOB, repository), run, self.instance))
        said = [
            record.message
            for record in self.instance.all_logs(run.run_id)
            if record.step_key and not record.dagster_event
        ]
        failures = [event.step_failure_data for event in events if event.is_step_failure]
        failed = [one.user_failure_data.description if one.user_failure_data else str(one.error) for one in failures]
        return Launched(run.run_id, said, "".join(str(one) for one in failed))

    def list_backfills(self) -> list[PartitionBackfill]:
        return list(self.instance.get_backfills())

    def require_backfill(self) -> PartitionBackfill:
        """The one that was launched."""
        (backfill,) = self.list_backfills()
        return backfill

    def list_targets(self, backfill: PartitionBackfill) -> dict[str, list[str]]:
        """Asset -> partitions of a backfill."""
        data = backfill.asset_backfill_data
        assert data is not None
        subsets = data.target_subset.partitions_subsets_by_asset_key
        return {asset.to_user_string(): sorted(subset.get_partition_keys()) for asset, subset in subsets.items()}

    def materialise(self, names: Sequence[str], partition: str, run_config: Any = None, **options: Any) -> bool:
        """Materialise assets in this process, as the daemon's runs would. Returns whether it went well."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        done = job.execute_in_process(
            instance=self.instance,
            partition_key=partition,
            asset_selection=[key(name) for name in names],
            run_config=run_config,
            raise_on_error=False,
            **options,
        )
        return done.success

    def run(self, backfill: PartitionBackfill, *names: str) -> None:
        """Materialise some of what a backfill is about, each asset in a run of its own, with the backfill's config."""
        for name in names:
            (partition,) = self.list_targets(backfill)[name]
            assert self.materialise([name], partition, backfill.run_config)

    def finish(self, backfill: PartitionBackfill, *, without: Sequence[str] = ()) -> None:
        """Let what a backfill is about be there, as after its runs."""
        for name, partitions in self.list_targets(backfill).items():
            for partition in [] if name in without else partitions:
                self.instance.report_runless_asset_event(dg.AssetMaterialization(key(name), partition=partition))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def deployment(instance: dg.DagsterInstance) -> Deployment:
    told = Told()
    return Deployment(told, build_small_definitions(told), instance)


def register(
    control: ControlDatabase, model: str, version: str, verdict: str | None = "passed", compared_to: str | None = None
) -> None:
    """A version as a training leaves it, judged."""
    control.models.register(
        VersionRecord(
            model=model,
            version=version,
            run_id="run",
            model_file="model.skops",
            model_sha256="a" * 64,
            features_sha256="b" * 64,
            metrics={"test": {"mae": 12.5 + int(version)}},
        )
    )
    if verdict is not None:
        reason = f"mae of version {version} against the baseline's"
        control.models.judge(model, version, verdict, reason, compared_to)  # type: ignore[arg-type]
