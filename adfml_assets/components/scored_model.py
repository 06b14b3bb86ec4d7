"""`ScoredModel`: records to score, a scoring job, its scores, and the scores back in SQL, one partition a day."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.about import About, find_database_kind
from adfml_assets.archived_partitions import parse_reference
from adfml_assets.components.batch_endpoint import BatchEndpoint
from adfml_assets.components.declaration import STRICT, build_options
from adfml_assets.components.drift import Drift
from adfml_assets.components.in_database_engine import InDatabaseEngine
from adfml_assets.components.online_endpoint import OnlineEndpoint
from adfml_assets.components.remote_engine import RemoteEngine
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.in_database_assets import build_advice_check, build_in_database_scores
from adfml_assets.partitions import build_daily_partitions
from adfml_assets.scoring.model_choice import ModelChoice
from adfml_assets.scoring.online_assets import build_online_scores
from adfml_assets.scoring.predictions import Target
from adfml_assets.scoring.source_rows import SourceSpec
from adfml_assets.scoring.texts import ScoringTexts
from adfml_assets.scoring_assets import ScoringSpec, build_input, build_job, build_predictions, build_scores
from resources.model_registry import CHAMPION, is_alias_name


@dataclass
class WriteBack(dg.Resolvable):
    """Where the scores go.

    Attributes:
        table: `database.schema.table`; made where it does not exist.
        keys: the columns that identify a row.
        batch_rows: rows of a transaction at most, where one for all of a day would be too long, for example 10000; a
            run that goes on after one that died begins where that one ended.
        overwrite_newer: whether an older day's scores overwrite those of a newer one.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    table: str
    keys: Sequence[str] = ("RecordId",)
    batch_rows: int | None = None
    overwrite_newer: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: says which field.
        """
        if self.batch_rows is not None and self.batch_rows < 1:
            raise DeclarationInvalid(f"Write-back to {self.table}", "batch_rows", self.batch_rows, "1 or more")

    def build_target(self) -> Target:
        """Where the scores go."""
        return Target(*parse_reference(self.table), tuple(self.keys), self.batch_rows, self.overwrite_newer)


@dataclass
class ScoringQuery(dg.Resolvable):
    """Rows of a table or view that wait to be scored (the pipeline's ExtractScoringData).

    They are read when the day's scoring input is made, and so only today: what was read on a day stays in the lake.

    Attributes:
        table: `database.schema.table`, of the live database.
        key: the column that identifies a row; it becomes RecordId.
        where: a SQL condition in the server's own words, such as `ScoredDate IS NULL`; without it all rows.
        scored_date: the column of the table that is set, in UTC, when a row's score is written back.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    table: str
    key: str
    where: str | None = None
    scored_date: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: says which field.
        """
        if len(self.table.split(".")) < 3:
            expected = "database.schema.table, such as shop.dbo.ScoringFeatures"
            raise DeclarationInvalid(f"Records of {self.table}", "table", self.table, expected)
        if self.scored_date == self.key:
            expected = "another column than the key"
            raise DeclarationInvalid(f"Records of {self.table}", "scored_date", self.scored_date, expected)

    def build_spec(self) -> SourceSpec:
        """What the rows are read by."""
        database, schema, table = parse_reference(self.table)
        return SourceSpec(database, schema, table, self.key, self.where, self.scored_date)


@dataclass
class ScoredModel(dg.Component, dg.Resolvable):
    """A model that scores what is known of a day.

    Attributes:
        name: of the model.
        engine: what scores: a Databricks job, a batch endpoint or an online endpoint of Azure ML, or the database that
            the rows of `from_query` are in.
        write_back: the table the scores go to.
        from_features: the feature set whose newest features are scored.
        from_query: the rows that are scored in place of a feature set's; one of the two.
        alias: which version scores: the one that has this alias when the scoring input is made; `champion` where
            neither alias nor version is given.
        version: the version that scores, whatever alias it has.
        drift: how far a day may be from the training data, and when that asks for a new version; left out: unwatched.
        adf_pipeline: the pipeline this takes the place of, for the descriptions.
        owners: people or `team:` names.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    engine: RemoteEngine | BatchEndpoint | OnlineEndpoint | InDatabaseEngine
    write_back: WriteBack
    from_features: str | None = None
    from_query: ScoringQuery | None = None
    alias: str | None = None
    version: str | None = None
    drift: Drift | None = None
    adf_pipeline: str | None = None
    owners: Sequence[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: says which field.
        """
        what = f"Model {self.name}"
        if (self.from_features is None) == (self.from_query is None):
            found = "neither" if self.from_query is None else "both"
            raise DeclarationInvalid(what, "from_features", found, "from_features or from_query, one of both")
        if self.from_query is not None and self.from_query.table == self.write_back.table:
            expected = "another table than from_query reads: its rows are replaced"
            raise DeclarationInvalid(what, "write_back.table", self.write_back.table, expected)
        if self.alias is not None and self.version is not None:
            raise DeclarationInvalid(what, "version", self.version, "alias or version, not both")
        if self.alias is not None and not is_alias_name(self.alias):
            expected = "an alias: letters, digits, _ and -, not `latest` and not `v` followed by a number"
            raise DeclarationInvalid(what, "alias", self.alias, expected)
        if self.version is not None and not self.version.strip():
            raise DeclarationInvalid(what, "version", self.version, "a version of the model, such as 3")
        retrain = self.drift.retrain if self.drift is not None else None
        if retrain is not None and (self.version is not None or self.alias not in (None, CHAMPION)):
            expected = f"none where another version than the {CHAMPION} scores: only its drift asks for a new one"
            raise DeclarationInvalid(what, "drift.retrain", f"over: {retrain.over}, of: {retrain.of}", expected)
        if isinstance(self.engine, OnlineEndpoint):
            self.engine.check(what)
        if isinstance(self.engine, InDatabaseEngine):
            source = self.from_query.build_spec() if self.from_query is not None else None
            self.engine.check(what, source, self.write_back.table, watches_drift=self.drift is not None)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Scoring input, the job that scores, the scores, and the table they are written back to; drift where declared.

        An online endpoint has no job: the scores are made by the run that asks for them. Inside a database there is
        only the table, and the check whether that is the place for it.
        """
        spec = self._build_spec()
        if isinstance(self.engine, InDatabaseEngine):
            return self._build_in_database(self.engine, spec)
        scoring = dg.Definitions(
            assets=[
                build_input(spec, self._options(self._texts.describe_records(), self._list_input_kinds())),
                *self._build_scored(spec, self.engine),
                build_predictions(spec, self._options(self._texts.describe_write_back(), {self._target_kind})),
            ]
        )
        if self.drift is None:
            return scoring
        return dg.Definitions.merge(scoring, self.drift.build_defs(self.name, self._options))

    def _build_in_database(self, engine: InDatabaseEngine, spec: ScoringSpec) -> dg.Definitions:
        assert isinstance(spec.source, SourceSpec)  # noqa: S101 - the engine was checked
        inside = engine.build_spec(self.name, spec.choice, spec.source, spec.target)
        about = self._texts.describe_in_database(engine.sample_rows if engine.verify == "sample" else 0)
        table = build_in_database_scores(inside, self._options(about, {self._target_kind, "sql"}))
        return dg.Definitions(assets=[table], asset_checks=[build_advice_check(inside)])

    def _build_spec(self) -> ScoringSpec:
        choice = ModelChoice(None, self.version) if self.version else ModelChoice(self.alias or CHAMPION, None)
        source = self.from_query.build_spec() if self.from_query is not None else str(self.from_features)
        return ScoringSpec(self.name, choice, source, self.write_back.build_target())

    @property
    def _texts(self) -> ScoringTexts:
        query = self.from_query
        return ScoringTexts(
            model=self.name,
            version=f"version {self.version}"
            if self.version
            else f"the version that is `{self.alias or CHAMPION}` then",
            feature_set=self.from_features,
            source=query.build_spec() if query is not None else None,
            target=self.write_back.build_target(),
            service=self.engine.service,
        )

    @property
    def _target_kind(self) -> str:
        return find_database_kind(parse_reference(self.write_back.table)[0])

    def _list_input_kinds(self) -> set[str]:
        read_from = find_database_kind(parse_reference(self.from_query.table)[0]) if self.from_query else "duckdb"
        return {read_from, "parquet"}

    def _options(self, about: About, kinds: set[str]) -> dict[str, Any]:
        return build_options(
            about,
            adf_pipeline=self.adf_pipeline,
            partitions=build_daily_partitions(),
            group="scoring",
            kinds=kinds,
            owners=self.owners,
        )

    def _build_scored(
        self, spec: ScoringSpec, engine: RemoteEngine | BatchEndpoint | OnlineEndpoint
    ) -> list[dg.AssetsDefinition]:
        scores = self._texts.describe_scores()
        if isinstance(engine, OnlineEndpoint):
            options = self._options(scores, {"azureml", "parquet"})
            return [
                build_online_scores(model=self.name, engine=engine, options=options, require_input=spec.require_input)
            ]
        return [
            build_job(spec, engine, self._options(self._texts.describe_job(engine.title), engine.kinds)),
            build_scores(spec, engine, self._options(scores, {*engine.kinds, "parquet"})),
        ]
