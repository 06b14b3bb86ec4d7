"""The assets of a scored model: its scoring input, the job that scores, its scores, and the table they go to."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from adfml_assets import lake_layout
from adfml_assets.about import extend_options
from adfml_assets.archived_partitions import require_partition
from adfml_assets.asset_keys import (
    champion_key,
    features_key,
    job_key,
    model_key,
    scores_key,
    scoring_input_key,
    table_key,
)
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.failures import tell_failures
from adfml_assets.metadata import describe_partition, order_metadata
from adfml_assets.past_days import COVERED_TAGS
from adfml_assets.remote_assets import (
    COLLECTS_TAGS,
    SUBMITS_POLICY,
    SUBMITS_TAGS,
    describe_job,
    find_ended_job,
    submit_remote_job,
)
from adfml_assets.scoring.day_records import find_feature_records, find_row_records
from adfml_assets.scoring.empty_day import materialise_no_scores
from adfml_assets.scoring.errors import ScoresOutdated
from adfml_assets.scoring.model_choice import ChosenVersion, ModelChoice, choose_version, read_chosen, require_current
from adfml_assets.scoring.model_features import read_model_features
from adfml_assets.scoring.predictions import Target, write_predictions
from adfml_assets.scoring.scores import FEATURE_SNAPSHOT, build_expected, verify_scores
from adfml_assets.scoring.scoring_input import FILE as INPUT_FILE
from adfml_assets.scoring.scoring_input import RECORD_ID, Records, build_scoring_input
from adfml_assets.scoring.shown import TEXTS, describe_scores, describe_version
from adfml_assets.scoring.source_rows import SourceSpec, gather_rows
from adfml_assets.written_back import build_written_back
from resources.control import ControlDatabase, utc_now
from resources.database import Databases
from resources.lake import Lake
from resources.manifest import Manifest
from resources.model_registry import CHAMPION

if TYPE_CHECKING:
    from adfml_assets.components.batch_endpoint import BatchEndpoint
    from adfml_assets.components.remote_engine import JobParts, RemoteEngine


class ScoringInputConfig(dg.Config):
    """What a run may score with in place of what is declared."""

    alias: str | None = None
    """The version that has this alias now."""

    version: str | None = None
    """This version; not together with an alias."""


class ScoringJobConfig(dg.Config):
    """What a run may be scored by in place of what is declared."""

    job: str | None = None
    """A Databricks job's name or id (the pipeline's ScoringJobId)."""


@dataclass(frozen=True)
class ScoringSpec:
    """A scored model, as its assets need it.

    Attributes:
        model: its name.
        choice: the alias or version that scores, as declared.
        source: the feature set's name, or the table whose rows wait to be scored.
        target: where the scores go.
    """

    model: str
    choice: ModelChoice
    source: str | SourceSpec
    target: Target

    def require_input(self, lake: Lake, day: str) -> Manifest:
        """The manifest of a day's scoring input.

        Raises:
            PartitionMissing: there is none.
        """
        folder = lake_layout.scoring_input_folder(self.model, day)
        return require_partition(lake, folder, scoring_input_key(self.model).to_user_string(), day)[1]


def build_input(spec: ScoringSpec, options: dict[str, Any]) -> dg.AssetsDefinition:
    """The asset of the records to be scored: the version that scores is resolved here, once."""
    resolved = champion_key(spec.model) if spec.choice.alias == CHAMPION else model_key(spec.model)
    versions = dg.AssetDep(resolved, partition_mapping=dg.LastPartitionMapping())
    source = features_key(spec.source) if isinstance(spec.source, str) else spec.source.asset_key

    @dg.asset(
        key=scoring_input_key(spec.model),
        deps=[source, versions],
        # The policy of the job that follows: both go into one run.
        backfill_policy=SUBMITS_POLICY,
        # Rows that wait in a table are read on the day itself; features are kept.
        **extend_options(options, tags={} if isinstance(spec.source, str) else COVERED_TAGS),
    )
    @tell_failures
    def scoring_input(
        context: dg.AssetExecutionContext,
        config: ScoringInputConfig,
        lake: Lake,
        control: ControlDatabase,
        databases: Databases,
    ) -> dg.MaterializeResult[None]:
        day, now = context.partition_key, utc_now()
        choice = spec.choice.override(spec.model, config.alias, config.version)
        chosen = choose_version(lake, control, spec.model, choice)
        takes = read_model_features(lake, spec.model, chosen.version)
        records = _find_records(lake, databases, spec, day, f"{now:%Y-%m-%d}")
        asset = context.asset_key.to_user_string()
        folder, manifest = build_scoring_input(
            lake, chosen, takes, records, day, asset=asset, now=now, run_id=context.run_id
        )
        for column, names in manifest.facts["unknown_categories"].items():
            context.log.warning("%s: categories that the model does not know: %s", column, ", ".join(names))
        texts = {RECORD_ID: f"Which record it is: `{records.key}`."}
        shown = describe_partition(lake, folder, manifest, texts=texts)
        return dg.MaterializeResult(metadata={**shown, **_describe_input(control, chosen, manifest)})

    return scoring_input


def _find_records(lake: Lake, databases: Databases, spec: ScoringSpec, day: str, today: str) -> Records:
    if isinstance(spec.source, str):
        return find_feature_records(lake, spec.source, day)
    return find_row_records(lake, spec.source, gather_rows(lake, databases, spec.source, spec.model, day, today), day)


def _describe_input(control: ControlDatabase, chosen: ChosenVersion, manifest: Manifest) -> dict[str, Any]:
    facts = manifest.facts
    registered = control.models.find(chosen.model, chosen.version)
    expected = build_expected(facts, chosen.model)
    shown: dict[str, Any] = {
        **describe_version(expected),
        "verdict": (registered.verdict if registered else None) or "not judged",
        "unknown_categories": dg.MetadataValue.json(facts["unknown_categories"]),
    }
    return shown | {name: facts[name] for name in ("feature_date", "waiting", "kept") if facts.get(name) is not None}


def build_job(
    spec: ScoringSpec, engine: "RemoteEngine | BatchEndpoint", options: dict[str, Any]
) -> dg.AssetsDefinition:
    """The asset that submits the scoring job, for the version its scoring input was made for."""
    service = engine.service

    @dg.asset(
        key=job_key(scores_key(spec.model)),
        deps=[scoring_input_key(spec.model)],
        backfill_policy=SUBMITS_POLICY,
        required_resource_keys={service, "lake", "control"},
        pool=service,
        **extend_options(options, tags=SUBMITS_TAGS),
    )
    @tell_failures
    def scoring_job(context: dg.AssetExecutionContext, config: ScoringJobConfig) -> dg.MaterializeResult[None]:
        resources = context.resources
        lake: Lake = resources.lake
        control: ControlDatabase = resources.control
        records = spec.require_input(lake, context.partition_key)
        if records.rows == 0:
            context.log.info("Nothing to score on %s: no job is submitted.", context.partition_key)
            return dg.MaterializeResult(metadata={"records": 0})
        chosen = require_current(control, spec.model, records)
        used = _choose_engine(spec.model, engine, config.job)
        parts = _build_parts(control, chosen, records)
        return submit_remote_job(
            context,
            control.ledger,
            getattr(resources, service),
            collecting_asset=scores_key(spec.model),
            request=used.build_request(lake, parts),
            input_written_at=parts.written_at,
            deadline_hours=used.deadline_hours,
            max_tries=used.max_tries,
        )

    return scoring_job


def _choose_engine(
    model: str, engine: "RemoteEngine | BatchEndpoint", job: str | None
) -> "RemoteEngine | BatchEndpoint":
    # Declarations import this module; it may be imported without them.
    from adfml_assets.components.remote_engine import RemoteEngine

    if job is None:
        return engine
    if isinstance(engine, RemoteEngine):
        return dataclasses.replace(engine, job=job)
    expected = f"nothing: the engine is {engine.title}, which has no jobs to choose from"
    raise DeclarationInvalid(f"Model {model}, the run's config", "job", job, expected)


def _build_parts(control: ControlDatabase, chosen: ChosenVersion, records: Manifest) -> "JobParts":
    from adfml_assets.components.remote_engine import JobParts

    model, day = chosen.model, records.partition
    registered = control.models.find(model, chosen.version)
    return JobParts(
        partition=day,
        hashes=_hash_files(records),
        files={"input_path": f"{lake_layout.scoring_input_folder(model, day)}/{INPUT_FILE}"},
        folders={"model_path": lake_layout.model_folder(model, chosen.version)},
        values={
            "model_name": model,
            "model_version": chosen.version,
            "model_alias": chosen.alias,
            FEATURE_SNAPSHOT: str(records.facts[FEATURE_SNAPSHOT]),
            # What the control database has of the file, which whoever can write the lake cannot change.
            "model_sha256": registered.model_sha256 if registered else "",
        },
        optional=frozenset({"model_alias", "model_sha256"}),
        outputs={"output_path": lake_layout.scores_folder(model, day)},
        staging=lake_layout.batch_output_folder(model, day),
        written_at=records.written_at,
    )


def _hash_files(records: Manifest) -> dict[str, str]:
    return {file.name: file.sha256 for file in records.files}


def build_scores(
    spec: ScoringSpec, engine: "RemoteEngine | BatchEndpoint", options: dict[str, Any]
) -> dg.AssetsDefinition:
    """The asset that collects a job's scores, of the version that the job was submitted for."""
    key = scores_key(spec.model)

    @dg.asset(
        key=key,
        deps=[job_key(key), scoring_input_key(spec.model)],
        output_required=False,
        **extend_options(options, tags=COLLECTS_TAGS),
    )
    @tell_failures
    def scores(context: dg.AssetExecutionContext, lake: Lake, control: ControlDatabase) -> Any:
        day, model = context.partition_key, spec.model
        records = spec.require_input(lake, day)
        read_chosen(model, records)
        common: dict[str, Any] = {
            "asset": context.asset_key.to_user_string(),
            "now": utc_now(),
            "run_id": context.run_id,
        }
        if records.rows == 0:
            yield dg.MaterializeResult(metadata=materialise_no_scores(lake, model, records, **common))
            return
        job = find_ended_job(context, control.ledger)
        if job is None:
            return
        if job.request["inputs"] != _hash_files(records):
            raise ScoresOutdated(model, day, job.submission_key)
        expected = build_expected(job.request["parameters"], model)
        source = {"submission_key": job.submission_key, "url": job.url}
        engine.collect_scores(lake, model, day, job, expected)
        manifest, table = verify_scores(lake, model, day, expected, source=source, **common)
        control.ledger.mark_collected(job.submission_key, context.run_id)
        folder = lake_layout.scores_folder(model, day)
        shown = {**describe_partition(lake, folder, manifest, texts=TEXTS), **describe_version(expected)}
        shown |= {**describe_scores(table["score"]), **describe_job(job)}
        yield dg.MaterializeResult(metadata=order_metadata(shown))

    return scores


def build_predictions(spec: ScoringSpec, options: dict[str, Any]) -> dg.AssetsDefinition:
    """The table that the scores go to."""

    source = spec.source if isinstance(spec.source, SourceSpec) else None

    def write(lake: Lake, databases: Databases, folder: str, manifest: Manifest) -> Mapping[str, Any]:
        return write_predictions(lake, databases, spec.target, source, folder, manifest)

    return build_written_back(
        table_key(spec.target.database, spec.target.schema, spec.target.table),
        scores_key(spec.model),
        lambda day: lake_layout.scores_folder(spec.model, day),
        write,
        options,
    )
