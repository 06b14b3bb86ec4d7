"""`FeatureSet`: features over archived tables, from one definition, a snapshot a day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.about import About, extend_options
from adfml_assets.code_references import refer_to_file
from adfml_assets.components.declaration import STRICT, build_options
from adfml_assets.components.remote_engine import RemoteEngine
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.feature_assets import build_features_asset, build_remote_features, describe_feature_set
from adfml_assets.features.definition import FeatureSetSpec, TableRef
from adfml_assets.partitions import build_daily_partitions
from adfml_assets.point_in_time_check import build_point_in_time_check


@dataclass
class ArchivedTable(dg.Resolvable):
    """A table that features are made of.

    Attributes:
        table: `database.schema.table`.
        timestamp: the column that says when a row happened (UTC): of a feature date, only rows up to its end are seen.
            None: the table is a dimension, its rows have no time.
        state: `snapshot`: the day's full snapshot; `current`: the state as of the day, put together from full
            snapshots and incremental extracts.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    table: str
    timestamp: str | None = None
    state: Literal["snapshot", "current"] = "snapshot"


def _resolve_tables(context: dg.ResolutionContext, tables: Mapping[str, Any]) -> dict[str, ArchivedTable | str]:
    return {
        name: table if isinstance(table, str) else ArchivedTable.resolve_from_model(context.at_path(name), table)
        for name, table in tables.items()
    }


_TABLES = dg.Resolver(_resolve_tables, model_field_type=dict[str, ArchivedTable.model() | str])  # type: ignore[arg-type, misc]


@dataclass
class FeatureDates(dg.Resolvable):
    """The dates features are built for: the snapshot's own, and `count` earlier ones, every `step_days` days."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    step_days: int = 30
    count: int = 0


@dataclass
class FeatureSet(dg.Component, dg.Resolvable):
    """Features of a key (a customer, a product ...) as of dates, or of events as of the events themselves.

    Attributes:
        name: of the set.
        tables: name in the definition -> archived table: with its timestamp, or `database.schema.table` for one
            without.
        key: the column that says whose features they are; for `rows: event` the event's own id.
        function: `package.module.function`: takes the tables and `feature_dates` as ibis tables and the parameters,
            and gives one row a key and `feature_date`. Exactly one of it and `sql`.
        sql: a file beside the defs.yaml: a SELECT of DuckDB's SQL over the tables and `feature_dates`, parameters as
            `$name`.
        rows: `feature_date`, or `event`: one row an event, without feature dates.
        event_time: for `rows: event`, the result's column with the event's time.
        parameters: what else the definition takes.
        as_of: `snapshot_date`, or `last_transaction` for data that has ended (recorded history, demo data).
        feature_dates: earlier dates to build features for; training needs them.
        partition_by: a column whose different values have nothing to do with each other: the work is done in parts, in
            constant memory.
        engine: `duckdb`; `spark`: Spark in this process (SPARK_REMOTE: over Spark Connect); or a Databricks job.
        adf_pipeline: the data flow this takes the place of, for the description.
        owners: people or `team:` names.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    tables: Annotated[Mapping[str, ArchivedTable | str], _TABLES]
    key: str
    function: str | None = None
    sql: str | None = None
    rows: Literal["feature_date", "event"] = "feature_date"
    event_time: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    as_of: Literal["snapshot_date", "last_transaction"] = "snapshot_date"
    feature_dates: FeatureDates = field(default_factory=FeatureDates)
    partition_by: str | None = None
    engine: Literal["duckdb", "spark"] | RemoteEngine = "duckdb"
    adf_pipeline: str | None = None
    owners: Sequence[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: says which field.
        """
        self.build_spec(self.sql)

    def build_spec(self, sql: str | None) -> FeatureSetSpec:
        """The set as the work takes it.

        Args:
            sql: the text of the file that `sql` names.

        Raises:
            DeclarationInvalid: it cannot be.
        """
        tables = {
            name: TableRef(table) if isinstance(table, str) else TableRef(table.table, table.timestamp, table.state)
            for name, table in self.tables.items()
        }
        return FeatureSetSpec(
            name=self.name,
            key=self.key,
            tables=tables,
            function=self.function,
            sql=sql,
            rows=self.rows,
            event_time=self.event_time,
            parameters=dict(self.parameters),
            as_of=self.as_of,
            step_days=self.feature_dates.step_days,
            count=self.feature_dates.count,
            partition_by=self.partition_by,
            engine=self.engine if isinstance(self.engine, str) else self.engine.service,
        )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """One asset in daily partitions with its check; on Databricks the job and what collects it."""
        spec = self.build_spec(self._read_sql(context) if self.sql else None)
        if not isinstance(self.engine, str):
            return dg.Definitions(assets=build_remote_features(spec, self.engine, self._options))
        kinds = {"sql" if self.sql else "python", self.engine, "parquet"}
        options = self._options(describe_feature_set(spec), kinds)
        if self.sql:
            options = extend_options(options, metadata=refer_to_file(Path(context.path) / self.sql, self.sql))
        asset = build_features_asset(spec, options)
        return dg.Definitions(assets=[asset], asset_checks=[build_point_in_time_check(spec)])

    def _read_sql(self, context: dg.ComponentLoadContext) -> str:
        file = Path(context.path) / str(self.sql)
        if not file.is_file():
            found = ", ".join(sorted(one.name for one in file.parent.glob("*.sql"))) or "none"
            expected = f"a file beside the defs.yaml; there are: {found}"
            raise DeclarationInvalid(f"Feature set {self.name}", "sql", self.sql, expected)
        return file.read_text(encoding="utf-8")

    def _options(self, about: About, kinds: set[str]) -> dict[str, Any]:
        return build_options(
            about,
            adf_pipeline=self.adf_pipeline,
            partitions=build_daily_partitions(),
            group="features",
            kinds=kinds,
            owners=self.owners,
            functions=[self.function] if self.function else [],
        )
