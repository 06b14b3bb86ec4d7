"""The asset that submits a model's training job, and what the job is told."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
from pydantic import Field

from adfml_assets import lake_layout
from adfml_assets.about import About, extend_options
from adfml_assets.archived_partitions import require_partition
from adfml_assets.asset_keys import job_key, model_key, training_data_key
from adfml_assets.components.batch_endpoint import BatchEndpoint
from adfml_assets.components.remote_engine import JobParts, RemoteEngine
from adfml_assets.failures import tell_failures
from adfml_assets.models.errors import TrainingConfigInvalid
from adfml_assets.models.gate import GateRules
from adfml_assets.models.hyperparameters import EXPECTED, NoObject, format_hyperparameters
from adfml_assets.remote_assets import SUBMITS_POLICY, SUBMITS_TAGS, submit_remote_job
from resources.control import ControlDatabase
from resources.databricks import SERVICE as DATABRICKS
from resources.lake import Lake
from resources.model_registry import CHAMPION, VersionKept

_CHAMPION_PARTS = frozenset({"champion_path", "champion_version", "champion_sha256"})


@dataclass(frozen=True)
class TrainingSpec:
    """How a model is trained and judged.

    Attributes:
        model: its name.
        engine: what trains it.
        registered_model: its name in the MLflow registry.
        experiment: the MLflow experiment.
        hyperparameters: a JSON object, as text.
        rules: of the gate.
        build_options: description and kinds -> the keyword arguments of `dg.asset` that say what an asset is.
    """

    model: str
    engine: RemoteEngine | BatchEndpoint
    registered_model: str
    experiment: str
    hyperparameters: str
    rules: GateRules
    build_options: Callable[[About, set[str]], dict[str, Any]]

    @property
    def services(self) -> set[str]:
        """The resource that tells Unity Catalog, where the models are registered there."""
        return {DATABRICKS} if self.engine.service == DATABRICKS else set()


class TrainingJobConfig(dg.Config):
    """What may be chosen when a training job is submitted."""

    hyperparameters: str | None = Field(
        default=None, description='A JSON object in place of the declared ones, such as {"learning_rate": 0.1}.'
    )
    job: str | None = Field(
        default=None, description="The Databricks job's name or id in place of the declared one (DatabricksJobId)."
    )


def build_job_asset(spec: TrainingSpec) -> dg.AssetsDefinition:
    """`<model>_job`: submits the training of a version, and says which version it has to compare itself with."""
    service = spec.engine.service

    @dg.asset(
        key=job_key(model_key(spec.model)),
        deps=[training_data_key(spec.model)],
        backfill_policy=SUBMITS_POLICY,
        required_resource_keys={service, "lake", "control"},
        pool=service,
        **extend_options(spec.build_options(_describe(spec), spec.engine.kinds), tags=SUBMITS_TAGS),
    )
    @tell_failures
    def training_job(context: dg.AssetExecutionContext, config: TrainingJobConfig) -> dg.MaterializeResult[None]:
        resources, version = context.resources, context.partition_key
        control: ControlDatabase = resources.control
        engine, hyperparameters = choose_engine(spec, config), choose_hyperparameters(spec, config)
        if control.models.was_champion(spec.model, version):
            raise dg.Failure(str(VersionKept(spec.model, version)), allow_retries=False)
        parts = _build_parts(spec, resources.lake, control, version, hyperparameters)
        return submit_remote_job(
            context,
            control.ledger,
            getattr(resources, service),
            collecting_asset=model_key(spec.model),
            request=engine.build_request(resources.lake, parts),
            input_written_at=parts.written_at,
            deadline_hours=engine.deadline_hours,
            max_tries=engine.max_tries,
        )

    return training_job


def _describe(spec: TrainingSpec) -> About:
    return About(
        what=f"The training of `{spec.model}`, submitted as {spec.engine.title}.",
        partition="a version of the model: the job that trains it.",
        materialising="submits the job once, whatever crashes, and ends when the service has it; nothing waits for it "
        "but a row in the ledger. The version's training data has to be there.",
        failing="means that the job was not submitted: the service's refusal is in the error. What the job itself "
        f"fails of fails the run of `{model_key(spec.model).to_user_string()}`, with the job's page.",
        activity="DatabricksJob activity `RunMLTraining`"
        if spec.engine.service == DATABRICKS
        else "AzureMLExecutePipeline activity `RunMLTrainingPipeline`",
    )


def choose_engine(spec: TrainingSpec, config: TrainingJobConfig) -> RemoteEngine | BatchEndpoint:
    """The declared engine, with the job that a run's config names.

    Raises:
        TrainingConfigInvalid: the engine has no jobs.
    """
    if config.job is None:
        return spec.engine
    if not isinstance(spec.engine, RemoteEngine):
        raise TrainingConfigInvalid(spec.model, "job", config.job, f"nothing: it is trained by {spec.engine.title}")
    return replace(spec.engine, job=config.job)


def choose_hyperparameters(spec: TrainingSpec, config: TrainingJobConfig) -> str:
    """The declared hyperparameters, or those of a run's config in their place.

    Raises:
        TrainingConfigInvalid: they are no JSON object.
    """
    if config.hyperparameters is None:
        return spec.hyperparameters
    try:
        return format_hyperparameters(config.hyperparameters)
    except NoObject as error:
        raise TrainingConfigInvalid(spec.model, "hyperparameters", error.found, EXPECTED) from None


def _build_parts(
    spec: TrainingSpec, lake: Lake, control: ControlDatabase, version: str, hyperparameters: str
) -> JobParts:
    folder = lake_layout.training_data_folder(spec.model, version)
    _, manifest = require_partition(lake, folder, training_data_key(spec.model).to_user_string(), version)
    champion = control.models.aliases(spec.model).get(CHAMPION)
    return JobParts(
        partition=version,
        hashes={file.name: file.sha256 for file in manifest.files},
        files={},
        folders={
            "training_data_path": folder,
            "champion_path": lake_layout.model_folder(spec.model, champion) if champion else "",
        },
        values={
            "model_name": spec.model,
            "model_version": version,
            "experiment_name": spec.experiment,
            "registered_model_name": spec.registered_model,
            # Azure ML puts literals into a shell's command line, between single quotes.
            "hyperparams": hyperparameters.replace("'", "\\u0027"),
            "champion_version": champion or "",
            "champion_sha256": _find_sha256(control, spec.model, champion) if champion else "",
        },
        outputs={"model_path": lake_layout.model_folder(spec.model, version)},
        staging=lake_layout.batch_output_folder(spec.model, f"version={version}"),
        optional=_CHAMPION_PARTS,
        written_at=manifest.written_at,
    )


def _find_sha256(control: ControlDatabase, model: str, version: str) -> str:
    """The hash that a version's file was registered with; "" of one that is older than the registry.

    Not that of metadata.json: by a hash from beside the file the job would load any pickle.
    """
    found = control.models.find(model, version)
    return found.model_sha256 if found is not None else ""
