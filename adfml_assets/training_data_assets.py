"""The asset of a model's training data, one partition a version."""

from typing import TYPE_CHECKING, Any

import dagster as dg

from adfml_assets import lake_layout
from adfml_assets.about import About, find_database_kind
from adfml_assets.archived_partitions import parse_reference
from adfml_assets.asset_keys import features_key, table_key, training_data_key
from adfml_assets.failures import tell_failures
from adfml_assets.features.sources import source_key
from adfml_assets.metadata import describe_partition, order_metadata
from adfml_assets.remote_assets import SUBMITS_POLICY
from adfml_assets.training.choice import Asked, is_same_choice, read_card
from adfml_assets.training.shown import describe_columns, show_card
from adfml_assets.training.spec import FeaturesSource, LabelSpec, QuerySource
from adfml_assets.training.training_data import build_training_data
from resources.control import ControlDatabase, utc_now
from resources.database import Databases
from resources.lake import Lake
from resources.model_registry import VersionKept

if TYPE_CHECKING:
    # The components import this module.
    from adfml_assets.components.training_source import FromFeatures, FromQuery, Label


class TrainingDataConfig(dg.Config):
    """What may be chosen when training data is materialised; what is not chosen stays as the version has it.

    A new version that is told nothing takes what its model declares.
    """

    snapshot_date: str | None = None
    """The features' snapshot to train on, YYYY-MM-DD; without it the one the version was trained on before, else the
    latest. With `snapshots: each` the last one that counts; with `from_query` the last day of the data that counts."""

    start_date: str | None = None
    """The first date of the rows, YYYY-MM-DD (the pipeline's StartDate)."""

    end_date: str | None = None
    """The last date of the rows, YYYY-MM-DD (the pipeline's EndDate)."""


def build_training_data_asset(
    model: str, source: "FromFeatures | FromQuery", label: "Label", options: dict[str, Any]
) -> dg.AssetsDefinition:
    """Features or rows of a table with their labels, split by time.

    Args:
        options: keyword arguments of `dg.asset` that say what it is and to whom it belongs (`build_options`).
    """
    spec, label_spec = source.build_spec(), label.build_spec()

    @dg.asset(
        key=training_data_key(model),
        deps=_list_upstream(spec, label_spec),
        # The policy of the job that follows: both go into one run.
        backfill_policy=SUBMITS_POLICY,
        **options,
    )
    @tell_failures
    def training_data(
        context: dg.AssetExecutionContext,
        config: TrainingDataConfig,
        lake: Lake,
        databases: Databases,
        control: ControlDatabase,
    ) -> dg.MaterializeResult[None]:
        version, asked = context.partition_key, Asked(config.snapshot_date, config.start_date, config.end_date)
        if control.models.was_champion(model, version):
            # Drift is measured against what the model was trained on.
            card = read_card(lake, lake_layout.training_data_folder(model, version))
            if not is_same_choice(spec, asked, card):
                raise VersionKept(model, version)
        folder, manifest, card = build_training_data(
            lake,
            databases,
            model,
            version,
            spec,
            label_spec,
            asked,
            asset=context.asset_key.to_user_string(),
            now=utc_now(),
            run_id=context.run_id,
        )
        shown = describe_partition(lake, folder, manifest, texts=describe_columns(card))
        return dg.MaterializeResult(metadata=order_metadata({**shown, **show_card(card)}))

    return training_data


def describe_training_data(source: "FromFeatures | FromQuery", label: "Label") -> About:
    """What the asset is, for its description."""
    spec, label_spec = source.build_spec(), label.build_spec()
    after = f"with what came after them (`{label_spec.name}`, the following {label_spec.days} days)"
    if isinstance(spec, QuerySource):
        rows = f"Rows of `{spec.table}`"
    elif spec.snapshots == "each":
        rows = f"Features of every snapshot of `{spec.feature_set}`"
    else:
        rows = f"Features of `{spec.feature_set}`"
    return About(
        what=f"{rows} {after}, split by time: train before validation before test, {label_spec.days} days apart.",
        partition="a version of the model: its train, validation and test files, and the data card of them.",
        materialising="keeps the snapshots and dates the version was first made from, unless the run's config names "
        "others. The categories that become columns are those of the train split.",
        failing="leaves the version as it was. Most often the history is too short for the label's days, or a table of "
        "the label is not archived: the error lists the dates there are.",
        activity="Copy activity `ArchiveTrainingData`",
    )


def list_training_data_kinds(source: "FromFeatures | FromQuery") -> set[str]:
    """The asset's kinds."""
    spec = source.build_spec()
    return {"duckdb", "parquet"} | (
        {find_database_kind(parse_reference(spec.table)[0])} if isinstance(spec, QuerySource) else set()
    )


def _list_upstream(source: FeaturesSource | QuerySource, label: LabelSpec) -> list[dg.AssetDep]:
    if isinstance(source, QuerySource):
        keys = [table_key(*parse_reference(source.table))]
    else:
        keys = [features_key(source.feature_set), *(source_key(table) for table in label.tables.values())]
    return [dg.AssetDep(key, partition_mapping=dg.LastPartitionMapping()) for key in dict.fromkeys(keys)]
