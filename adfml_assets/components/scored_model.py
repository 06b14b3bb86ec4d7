"""`ScoredModel`: records to score, a scoring job, its scores, and the scores back in SQL, one partition a day."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import dagster as dg
from pydantic import ConfigDict

from adfml_assets import lake_layout
from adfml_assets.archived_partitions import parse_reference, require_partition
from adfml_assets.asset_keys import features_key, job_key, model_key, scores_key, scoring_input_key, table_key
from adfml_assets.components.batch_endpoint import BatchEndpoint
from adfml_assets.components.declaration import STRICT, build_options
from adfml_assets.components.online_endpoint import OnlineEndpoint
from adfml_assets.components.remote_engine import JobParts, RemoteEngine
from adfml_assets.metadata import describe_partition
from adfml_assets.partitions import build_daily_partitions
from adfml_assets.remote_assets import (
    COLLECTS_TAGS,
    SUBMITS_POLICY,
    SUBMITS_TAGS,
    describe_job,
    find_ended_job,
    submit_remote_job,
)
from adfml_assets.scoring.model_choice import choose_version
from adfml_assets.scoring.online_assets import build_online_scores
from adfml_assets.scoring.scores import FILE as SCORES_FILE
from adfml_assets.scoring.scores import verify_scores, write_no_scores
from adfml_assets.scoring.scoring_input import FILE as INPUT_FILE
from adfml_assets.scoring.scoring_input import build_scoring_input
from adfml_assets.scoring.write_back import write_back
from adfml_assets.written_back import build_written_back
from resources.control import ControlDatabase, utc_now
from resources.database import Databases
from resources.lake import Lake
from resources.manifest import Manifest


@dataclass
class WriteBack(dg.Resolvable):
    """Where the scores go.

    Attributes:
        table: `database.schema.table`; made where it does not exist.
        keys: the columns that identify a row.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    table: str
    keys: Sequence[str] = ("RecordId",)


@dataclass
class ScoredModel(dg.Component, dg.Resolvable):
    """A model that scores what is known of a day.

    Attributes:
        name: of the model.
        feature_set: whose newest features are scored.
        engine: what scores: a Databricks job, a batch endpoint, or an online endpoint of Azure ML.
        write_back: the table the scores go to.
        alias: which version scores: the one that has this alias when the job is submitted.
        adf_pipeline: the pipeline this takes the place of, for the descriptions.
        owners: people or `team:` names.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    feature_set: str
    engine: RemoteEngine | BatchEndpoint | OnlineEndpoint
    write_back: WriteBack
    alias: str = "champion"
    adf_pipeline: str | None = None
    owners: Sequence[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: says which field.
        """
        if isinstance(self.engine, OnlineEndpoint):
            self.engine.check(f"Model {self.name}")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Scoring input, the job that scores, the scores, and the table they are written back to.

        An online endpoint has no job: the scores are made by the run that asks for them.
        """
        if isinstance(self.engine, OnlineEndpoint):
            scored = [self._build_online_scores(self.engine)]
        else:
            scored = [self._build_job(self.engine), self._build_scores(self.engine)]
        return dg.Definitions(assets=[self._build_input(), *scored, self._build_write_back()])

    def _options(self, what: str, kinds: set[str]) -> dict[str, Any]:
        return build_options(
            what,
            adf_pipeline=self.adf_pipeline,
            partitions=build_daily_partitions(),
            group="scoring",
            kinds=kinds,
            owners=self.owners,
        )

    def _build_input(self) -> dg.AssetsDefinition:
        source = features_key(self.feature_set)

        @dg.asset(
            key=scoring_input_key(self.name),
            deps=[source],
            # The policy of the job that follows: both go into one run.
            backfill_policy=SUBMITS_POLICY,
            **self._options("The records to be scored: the features of the day's newest feature date.", {"parquet"}),
        )
        def scoring_input(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult[None]:
            day = context.partition_key
            folder = lake_layout.features_folder(self.feature_set, day)
            features = require_partition(lake, folder, source.to_user_string(), day)
            asset = context.asset_key.to_user_string()
            folder, manifest = build_scoring_input(
                lake, self.name, features, day, asset=asset, now=utc_now(), run_id=context.run_id
            )
            shown = {"feature_date": str(manifest.facts["feature_date"])}
            return dg.MaterializeResult(metadata={**describe_partition(lake, folder, manifest), **shown})

        return scoring_input

    def _build_online_scores(self, engine: OnlineEndpoint) -> dg.AssetsDefinition:
        return build_online_scores(
            model=self.name,
            alias=self.alias,
            engine=engine,
            options=self._options(
                "The scores of a day, by an Azure ML online endpoint: one for every record that the model did not "
                "refuse, each naming its model, version and when it was scored.",
                {"azureml", "parquet"},
            ),
            require_input=self._require_input,
        )

    def _build_job(self, engine: RemoteEngine | BatchEndpoint) -> dg.AssetsDefinition:
        service = engine.service
        newest_model = dg.AssetDep(model_key(self.name), partition_mapping=dg.LastPartitionMapping())

        @dg.asset(
            key=job_key(scores_key(self.name)),
            deps=[dg.AssetDep(scoring_input_key(self.name)), newest_model],
            tags=SUBMITS_TAGS,
            backfill_policy=SUBMITS_POLICY,
            required_resource_keys={service, "lake", "control"},
            **self._options(
                f"The scoring job, {engine.title}, submitted for the version that is `{self.alias}` at that moment: a "
                "later change of champion changes nothing in it.",
                engine.kinds,
            ),
        )
        def scoring_job(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
            resources = context.resources
            records = self._require_input(resources.lake, context.partition_key)
            if records.rows == 0:
                context.log.info("Nothing to score on %s: no job is submitted.", context.partition_key)
                return dg.MaterializeResult(metadata={"records": 0})
            control: ControlDatabase = resources.control
            version = choose_version(resources.lake, control.model_aliases, self.name, self.alias, records)
            return submit_remote_job(
                context,
                control.ledger,
                getattr(resources, service),
                collecting_asset=scores_key(self.name),
                request=engine.build_request(
                    resources.lake, self._build_parts(context.partition_key, version, records)
                ),
                deadline_hours=engine.deadline_hours,
                max_tries=engine.max_tries,
            )

        return scoring_job

    def _require_input(self, lake: Lake, day: str) -> Manifest:
        folder = lake_layout.scoring_input_folder(self.name, day)
        return require_partition(lake, folder, scoring_input_key(self.name).to_user_string(), day)[1]

    def _build_parts(self, day: str, version: str, records: Manifest) -> JobParts:
        return JobParts(
            partition=day,
            hashes={file.name: file.sha256 for file in records.files},
            files={"input_path": f"{lake_layout.scoring_input_folder(self.name, day)}/{INPUT_FILE}"},
            folders={"model_path": lake_layout.model_folder(self.name, version)},
            values={"model_name": self.name, "model_version": version, "model_alias": self.alias},
            outputs={"output_path": lake_layout.scores_folder(self.name, day)},
            staging=lake_layout.batch_output_folder(self.name, day),
        )

    def _build_scores(self, engine: RemoteEngine | BatchEndpoint) -> dg.AssetsDefinition:
        key = scores_key(self.name)

        @dg.asset(
            key=key,
            deps=[job_key(key), scoring_input_key(self.name)],
            tags=COLLECTS_TAGS,
            output_required=False,
            **self._options(
                "The scores of a day: one for every record, each naming its model, version and when it was scored. "
                "Its run waits in Dagster's queue, without a process, until the job has ended.",
                {"parquet"},
            ),
        )
        def scores(context: dg.AssetExecutionContext, lake: Lake, control: ControlDatabase) -> Any:
            day = context.partition_key
            records = self._require_input(lake, day)
            common: dict[str, Any] = {
                "asset": context.asset_key.to_user_string(),
                "now": utc_now(),
                "run_id": context.run_id,
            }
            if records.rows == 0:
                write_no_scores(lake, self.name, day)
                manifest, _ = verify_scores(lake, self.name, day, {}, source={}, **common)
                yield dg.MaterializeResult(metadata=self._describe(lake, day, manifest))
                return
            job = find_ended_job(context, control.ledger)
            if job is None:
                return
            asked = job.request["parameters"]
            expected = {"model": self.name, "version": asked["model_version"], "alias": asked["model_alias"]}
            source = {"submission_key": job.submission_key, "url": job.url}
            engine.collect_scores(lake, self.name, day, job, expected)
            manifest, table = verify_scores(lake, self.name, day, expected, source=source, **common)
            control.ledger.mark_collected(job.submission_key, context.run_id)
            import pyarrow.compute as pc

            shown = {
                "model_version": asked["model_version"],
                "mean_score": float(pc.mean(table["score"]).as_py()),
                "max_score": float(pc.max(table["score"]).as_py()),
            }
            yield dg.MaterializeResult(metadata={**self._describe(lake, day, manifest), **shown, **describe_job(job)})

        return scores

    def _describe(self, lake: Lake, day: str, manifest: Manifest) -> dict[str, Any]:
        return describe_partition(lake, lake_layout.scores_folder(self.name, day), manifest)

    def _build_write_back(self) -> dg.AssetsDefinition:
        database, schema, table = parse_reference(self.write_back.table)
        keys = list(self.write_back.keys)

        def write(lake: Lake, databases: Databases, folder: str, manifest: Manifest) -> dict[str, Any]:
            scores = lake.read_table(f"{folder}/{SCORES_FILE}")
            written = write_back(databases, database, schema, table, keys, scores, manifest.partition)
            return {"dagster/row_count": written.rows, "kept_newer": written.kept_newer, "keys": ", ".join(keys)}

        return build_written_back(
            table_key(database, schema, table),
            scores_key(self.name),
            lambda day: lake_layout.scores_folder(self.name, day),
            write,
            self._options(
                f"The scores in `{self.write_back.table}`, upserted by {', '.join(keys)} in one transaction. "
                "Writing a day twice changes nothing, and an older day never overwrites a newer one.",
                {"sql"},
            ),
        )
