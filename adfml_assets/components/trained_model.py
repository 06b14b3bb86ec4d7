"""`TrainedModel`: training data, a training job, and the model it leaves, one partition a version."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import dagster as dg
from pydantic import ConfigDict

from adfml_assets import lake_layout
from adfml_assets.archived_partitions import find_archived, parse_reference, require_partition
from adfml_assets.asset_keys import archive_key, features_key, job_key, model_key, training_data_key
from adfml_assets.components.batch_endpoint import BatchEndpoint
from adfml_assets.components.declaration import STRICT, build_options
from adfml_assets.components.remote_engine import JobParts, RemoteEngine
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.metadata import describe_partition
from adfml_assets.partitions import build_model_versions
from adfml_assets.remote_assets import (
    COLLECTS_TAGS,
    SUBMITS_POLICY,
    SUBMITS_TAGS,
    describe_job,
    find_ended_job,
    submit_remote_job,
)
from adfml_assets.training.trained import read_metadata, verify_model
from adfml_assets.training.training_data import LabelSpec, build_training_data, find_snapshot
from resources.completion_log import CompletionLog
from resources.control import ControlDatabase, utc_now
from resources.lake import Lake

CHAMPION, CHALLENGER = "champion", "challenger"


class TrainingDataConfig(dg.Config):
    """What may be chosen when training data is materialised."""

    snapshot_date: str | None = None
    """The features' snapshot to train on; without it the one the version was trained on before, else the latest."""


@dataclass
class Label(dg.Resolvable):
    """What the model predicts.

    Attributes:
        name: of the label's column.
        function: `package.module.function`: takes `tables`, `feature_dates` and `days`, gives key, feature_date, label.
        tables: name in the function -> archived table as `database.schema.table`.
        days: how far the label looks ahead of its feature date.
        baseline: a feature that is itself a naive forecast; the model has to beat it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    function: str
    tables: Mapping[str, str]
    days: int
    baseline: str


@dataclass
class TrainedModel(dg.Component, dg.Resolvable):
    """A model and how it is trained.

    Attributes:
        name: of the model.
        feature_set: whose features it learns from.
        label: what it predicts.
        engine: what trains it: a Databricks job, or a pipeline-component deployment of an Azure ML batch endpoint.
        registered_model: its name in the MLflow registry (Unity Catalog: catalog.schema.model).
        experiment: the MLflow experiment.
        hyperparameters: what the training job takes (the pipeline's Hyperparameters).
        adf_pipeline: the pipeline this takes the place of, for the descriptions.
        owners: people or `team:` names.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    feature_set: str
    label: Label
    engine: RemoteEngine | BatchEndpoint
    registered_model: str
    experiment: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    adf_pipeline: str | None = None
    owners: Sequence[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: the engine is a model deployment.
        """
        if isinstance(self.engine, BatchEndpoint) and self.engine.kind == "model":
            expected = "pipeline: a model deployment cannot train"
            raise DeclarationInvalid(f"Model {self.name}", "engine.kind", self.engine.kind, expected)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Training data, the job that trains, and the model with its gate."""
        return dg.Definitions(
            assets=[self._build_training_data(), self._build_job(), self._build_model()],
            asset_checks=[self._build_gate()],
        )

    def _options(self, what: str, kinds: set[str]) -> dict[str, Any]:
        return build_options(
            what,
            adf_pipeline=self.adf_pipeline,
            partitions=build_model_versions(self.name),
            group="training",
            kinds=kinds,
            owners=self.owners,
        )

    def _build_training_data(self) -> dg.AssetsDefinition:
        label = LabelSpec(self.label.name, self.label.function, self.label.days, self.label.baseline)
        references = dict(self.label.tables)
        upstream = [features_key(self.feature_set), *(archive_key(*parse_reference(r)) for r in references.values())]

        @dg.asset(
            key=training_data_key(self.name),
            deps=[dg.AssetDep(key, partition_mapping=dg.LastPartitionMapping()) for key in upstream],
            # The policy of the job that follows: both go into one run.
            backfill_policy=SUBMITS_POLICY,
            **self._options(
                f"Features of `{self.feature_set}` with what came after them (`{label.name}`, the following "
                f"{label.days} days), split by time: train before validation before test, with {label.days} days "
                "between. A version keeps the snapshot it was first made from.",
                {"duckdb", "parquet"},
            ),
        )
        def training_data(
            context: dg.AssetExecutionContext, config: TrainingDataConfig, lake: Lake
        ) -> dg.MaterializeResult[None]:
            version = context.partition_key
            folder = lake_layout.training_data_folder(self.name, version)
            day = find_snapshot(lake, self.feature_set, folder, config.snapshot_date)
            features = require_partition(
                lake,
                lake_layout.features_folder(self.feature_set, day),
                features_key(self.feature_set).to_user_string(),
                day,
            )
            folder, manifest, card = build_training_data(
                lake,
                self.name,
                version,
                label,
                features,
                find_archived(lake, references, day),
                asset=context.asset_key.to_user_string(),
                now=utc_now(),
                run_id=context.run_id,
            )
            return dg.MaterializeResult(
                metadata={
                    **describe_partition(lake, folder, manifest),
                    "snapshot_date": day,
                    "data_card": dg.MetadataValue.json(card),
                }
            )

        return training_data

    def _build_job(self) -> dg.AssetsDefinition:
        service = self.engine.service

        @dg.asset(
            key=job_key(model_key(self.name)),
            deps=[training_data_key(self.name)],
            tags=SUBMITS_TAGS,
            backfill_policy=SUBMITS_POLICY,
            required_resource_keys={service, "lake", "control"},
            **self._options(
                f"The training job, {self.engine.title}, submitted. The run ends when the service has the job; nothing "
                "waits for it but a row in the ledger.",
                self.engine.kinds,
            ),
        )
        def training_job(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
            resources = context.resources
            return submit_remote_job(
                context,
                resources.control.ledger,
                getattr(resources, service),
                collecting_asset=model_key(self.name),
                request=self.engine.build_request(
                    resources.lake, self._build_parts(resources.lake, context.partition_key)
                ),
                deadline_hours=self.engine.deadline_hours,
                max_tries=self.engine.max_tries,
            )

        return training_job

    def _build_parts(self, lake: Lake, version: str) -> JobParts:
        folder = lake_layout.training_data_folder(self.name, version)
        _, manifest = require_partition(lake, folder, training_data_key(self.name).to_user_string(), version)
        hyperparameters = json.dumps(dict(self.hyperparameters), sort_keys=True)
        return JobParts(
            partition=version,
            hashes={file.name: file.sha256 for file in manifest.files},
            files={},
            folders={"training_data_path": folder},
            values={
                "model_name": self.name,
                "model_version": version,
                "experiment_name": self.experiment,
                "registered_model_name": self.registered_model,
                # Azure ML puts literals into a shell's command line, between single quotes.
                "hyperparams": hyperparameters.replace("'", "\\u0027"),
            },
            outputs={"model_path": lake_layout.model_folder(self.name, version)},
            staging=lake_layout.batch_output_folder(self.name, f"version={version}"),
        )

    def _build_model(self) -> dg.AssetsDefinition:
        key = model_key(self.name)

        @dg.asset(
            key=key,
            deps=[job_key(key)],
            tags=COLLECTS_TAGS,
            output_required=False,
            **self._options(
                "The model that the training job left: verified, and named champion where it beats the baseline. Its "
                "run waits in Dagster's queue, without a process, until the job has ended.",
                {"scikitlearn", "mlflow"},
            ),
        )
        def model(
            context: dg.AssetExecutionContext, lake: Lake, control: ControlDatabase, completion_log: CompletionLog
        ) -> Any:
            job = find_ended_job(context, control.ledger)
            if job is None:
                return
            version = context.partition_key
            asset = context.asset_key.to_user_string()
            self.engine.collect_model(lake, self.name, version, job)
            metadata, _ = verify_model(lake, self.name, version, job, asset=asset, now=utc_now(), run_id=context.run_id)
            passed = bool(metadata["gate"]["passed"])
            control.model_aliases.point(self.name, CHALLENGER, version, context.run_id)
            if passed:
                control.model_aliases.point(self.name, CHAMPION, version, context.run_id)
            control.ledger.mark_collected(job.submission_key, context.run_id)
            completion_log.post(
                {
                    "model": self.name,
                    "version": version,
                    "runId": job.remote_id,
                    "runPageUrl": job.url,
                    "status": "TrainingComplete",
                }
            )
            folder = lake_layout.model_folder(self.name, version)
            yield dg.MaterializeResult(
                metadata={**describe_model(metadata), **describe_job(job), "dagster/uri": lake.uri(folder)}
            )

        return model

    def _build_gate(self) -> dg.AssetChecksDefinition:
        # A check of its own: declared on the asset, Dagster would demand it also of a run that came too early.
        @dg.asset_check(
            asset=model_key(self.name),
            name="beats_baseline",
            description="The model is better on the test period than the best naive forecast.",
        )
        def beats_baseline(context: dg.AssetCheckExecutionContext, lake: Lake) -> dg.AssetCheckResult:
            version = context.run.tags["dagster/partition"]
            gate = read_metadata(lake, self.name, version)["gate"]
            return dg.AssetCheckResult(
                passed=bool(gate["passed"]), description=str(gate["reason"]), metadata={"version": version}
            )

        return beats_baseline


def describe_model(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A model's metadata.json as asset metadata: its test metrics by name, the gate, and all of it."""
    shown: dict[str, Any] = {f"test_{name}": float(value) for name, value in metadata["metrics"]["test"].items()}
    return {
        **shown,
        "algorithm": str(metadata["algorithm"]),
        "gate": str(metadata["gate"]["reason"]),
        "alias": CHAMPION if metadata["gate"]["passed"] else CHALLENGER,
        "metadata": dg.MetadataValue.json(dict(metadata)),
    }
