"""`FeatureSet`: features over archived tables, from one ibis expression, a snapshot a day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.archived_partitions import find_archived, parse_reference
from adfml_assets.asset_keys import archive_key, features_key
from adfml_assets.components.declaration import STRICT, build_options
from adfml_assets.features.feature_set import FeatureSetSpec, build_features
from adfml_assets.metadata import describe_partition
from adfml_assets.partitions import build_daily_partitions
from resources.control import utc_now
from resources.lake import Lake


@dataclass
class FeatureDates(dg.Resolvable):
    """The dates features are built for: the snapshot's own, and `count` earlier ones, every `step_days` days."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    step_days: int = 30
    count: int = 0


@dataclass
class FeatureSet(dg.Component, dg.Resolvable):
    """Features of a key (a customer, a product ...) as of dates.

    Attributes:
        name: of the set.
        function: `package.module.function`: takes the tables and `feature_dates` as ibis tables and the parameters,
            and gives one row a key and `feature_date`.
        tables: name in the function -> archived table as `database.schema.table`.
        key: the column that says whose features they are.
        timestamp: `name.column`: when things happened. Nothing after a feature date may be used for it.
        parameters: what else the function takes.
        as_of: `snapshot_date`, or `last_transaction` for data that has ended (recorded history, demo data).
        feature_dates: earlier dates to build features for; training needs them.
        adf_pipeline: the data flow this takes the place of, for the description.
        owners: people or `team:` names.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    function: str
    tables: Mapping[str, str]
    key: str
    timestamp: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    as_of: Literal["snapshot_date", "last_transaction"] = "snapshot_date"
    feature_dates: FeatureDates = field(default_factory=FeatureDates)
    adf_pipeline: str | None = None
    owners: Sequence[str] = field(default_factory=list)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """One asset in daily partitions."""
        spec = self._build_spec()
        references = dict(self.tables)
        options = build_options(
            f"What is known of each `{self.key}` at the end of a day, and of earlier days: nothing that happened "
            f"after a feature date is in its features. Function: `{self.function}`.",
            adf_pipeline=self.adf_pipeline,
            partitions=build_daily_partitions(),
            group="features",
            kinds={"ibis", "duckdb", "parquet"},
            owners=self.owners,
        )

        @dg.asset(
            key=features_key(self.name),
            deps=[archive_key(*parse_reference(reference)) for reference in references.values()],
            metadata={"parameters": dict(self.parameters), "as_of": self.as_of},
            **options,
        )
        def features(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult[None]:
            day = context.partition_key
            folder, manifest = build_features(
                lake,
                spec,
                find_archived(lake, references, day),
                day,
                asset=context.asset_key.to_user_string(),
                now=utc_now(),
                run_id=context.run_id,
            )
            dates = manifest.facts["feature_dates"]
            return dg.MaterializeResult(
                metadata={
                    **describe_partition(lake, folder, manifest),
                    "feature_date": manifest.facts["feature_date"] or "none",
                    "earlier_feature_dates": max(0, len(dates) - 1),
                }
            )

        return dg.Definitions(assets=[features])

    def _build_spec(self) -> FeatureSetSpec:
        table, dot, column = self.timestamp.partition(".")
        if not (dot and column) or table not in self.tables:
            raise dg.DagsterInvalidDefinitionError(
                f"Feature set {self.name}: timestamp {self.timestamp!r} names no column of its tables. Expected "
                f"<table>.<column> with a table of: {', '.join(self.tables)}."
            )
        return FeatureSetSpec(
            name=self.name,
            function=self.function,
            key=self.key,
            timestamp_table=table,
            timestamp=column,
            parameters=dict(self.parameters),
            as_of=self.as_of,
            step_days=self.feature_dates.step_days,
            count=self.feature_dates.count,
        )
