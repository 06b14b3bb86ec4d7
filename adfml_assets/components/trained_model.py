"""`TrainedModel`: training data, a training job, the model it leaves with its gate, and the champion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.about import About
from adfml_assets.components.batch_endpoint import BatchEndpoint
from adfml_assets.components.declaration import STRICT, Schedule, build_options
from adfml_assets.components.gate import Gate
from adfml_assets.components.remote_engine import RemoteEngine
from adfml_assets.components.training_source import FromFeatures, FromQuery, Label, choose_source
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.model_assets import build_champion_asset, build_gate_checks, build_model_asset
from adfml_assets.models.hyperparameters import EXPECTED, NoObject, format_hyperparameters
from adfml_assets.partitions import build_model_versions
from adfml_assets.scheduled_training import build_scheduled_training
from adfml_assets.training_data_assets import (
    build_training_data_asset,
    describe_training_data,
    list_training_data_kinds,
)
from adfml_assets.training_job import TrainingSpec, build_job_asset
from resources.unity_catalog import NAME_RULE, is_registered_name


@dataclass
class TrainedModel(dg.Component, dg.Resolvable):
    """A model, how it is trained, and what it has to be better than.

    Attributes:
        name: of the model.
        label: what it predicts.
        engine: what trains it: a Databricks job, or a pipeline-component deployment of an Azure ML batch endpoint.
        registered_model: its name in the MLflow registry (Unity Catalog: catalog.schema.model).
        experiment: the MLflow experiment.
        from_features: a feature set that it learns from; its name alone: the newest snapshot.
        from_query: rows of a table or view of a source database, label and all; one of the two.
        gate: what a version has to achieve before it may be champion.
        hyperparameters: what the training job takes: a mapping, or a JSON object as text (the pipeline's
            Hyperparameters).
        schedule: when a new version is trained; it has to pass its gate like any other. On in production
            (`ADFML_ENVIRONMENT`), elsewhere when it is turned on.
        adf_pipeline: the pipeline this takes the place of, for the descriptions.
        owners: people or `team:` names.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    label: Label
    engine: RemoteEngine | BatchEndpoint
    registered_model: str
    experiment: str
    from_features: FromFeatures | str | None = None
    from_query: FromQuery | None = None
    gate: Gate = field(default_factory=Gate)
    hyperparameters: Mapping[str, Any] | str = field(default_factory=dict)
    schedule: Schedule | None = None
    adf_pipeline: str | None = None
    owners: Sequence[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: says which field.
        """
        what = f"Model {self.name}"
        choose_source(what, self.from_features, self.from_query, self.label)
        if isinstance(self.engine, BatchEndpoint) and self.engine.kind == "model":
            expected = "pipeline: a model deployment cannot train"
            raise DeclarationInvalid(what, "engine.kind", self.engine.kind, expected)
        if not is_registered_name(self.registered_model):
            raise DeclarationInvalid(what, "registered_model", self.registered_model, NAME_RULE)
        try:
            format_hyperparameters(self.hyperparameters)
        except NoObject as error:
            raise DeclarationInvalid(what, "hyperparameters", error.found, EXPECTED) from None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Training data, the job that trains, the model with its gate, and the champion."""
        spec = TrainingSpec(
            model=self.name,
            engine=self.engine,
            registered_model=self.registered_model,
            experiment=self.experiment,
            hyperparameters=format_hyperparameters(self.hyperparameters),
            rules=self.gate.build_rules(),
            build_options=self._options,
        )
        trained = dg.Definitions(
            assets=[
                self._build_training_data(),
                build_job_asset(spec),
                build_model_asset(spec),
                build_champion_asset(spec),
            ],
            asset_checks=build_gate_checks(self.name),
        )
        if self.schedule is None:
            return trained
        scheduled = build_scheduled_training(self.name, self.schedule.expression, self.schedule.timezone)
        return dg.Definitions.merge(trained, scheduled)

    def _build_training_data(self) -> dg.AssetsDefinition:
        source = choose_source(f"Model {self.name}", self.from_features, self.from_query, self.label)
        described = describe_training_data(source, self.label)
        options = self._options(described, list_training_data_kinds(source), self.label.function)
        return build_training_data_asset(self.name, source, self.label, options)

    def _options(self, about: About, kinds: set[str], function: str | None = None) -> dict[str, Any]:
        return build_options(
            about,
            adf_pipeline=self.adf_pipeline,
            partitions=build_model_versions(self.name),
            group="training",
            kinds=kinds,
            owners=self.owners,
            functions=[function] if function else [],
        )
