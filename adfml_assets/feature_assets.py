"""Feature sets as assets: built by the run itself, or submitted to Databricks and collected."""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from adfml_assets import lake_layout
from adfml_assets.about import About, extend_options
from adfml_assets.asset_keys import features_key, job_key
from adfml_assets.failures import tell_failures
from adfml_assets.features.definition import FEATURE_DATE, FeatureSetSpec
from adfml_assets.features.feature_set import Plan, build_features, plan_features
from adfml_assets.features.remote_features import collect_features, write_statement
from adfml_assets.features.sources import find_partitions, source_key
from adfml_assets.metadata import describe_partition, describe_speed
from adfml_assets.remote_assets import (
    COLLECTS_TAGS,
    SUBMITS_POLICY,
    SUBMITS_TAGS,
    describe_job,
    find_ended_job,
    submit_remote_job,
)
from resources.control import ControlDatabase, utc_now
from resources.lake import Lake
from resources.manifest import Manifest

if TYPE_CHECKING:
    from adfml_assets.components.remote_engine import JobParts, RemoteEngine

Options = Callable[[About, set[str]], dict[str, Any]]
"""Builds the keyword arguments of `dg.asset` from what an asset is, and its kinds."""

_DATE = "The features are as of the end of this day (UTC)."
_ENGINES = {"duckdb": "DuckDB", "spark": "Spark"}


def build_features_asset(spec: FeatureSetSpec, options: dict[str, Any]) -> dg.AssetsDefinition:
    """The features of a day, built in the run: on DuckDB or Spark."""

    @dg.asset(
        key=features_key(spec.name),
        deps=_list_sources(spec),
        **extend_options(options, metadata=_describe_declared(spec)),
    )
    @tell_failures
    def features(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult[None]:
        day, started = context.partition_key, time.monotonic()
        folder, manifest = build_features(
            lake,
            spec,
            find_partitions(lake, spec.tables, day),
            day,
            asset=context.asset_key.to_user_string(),
            now=utc_now(),
            run_id=context.run_id,
        )
        speed = describe_speed(manifest.rows, time.monotonic() - started)
        return dg.MaterializeResult(metadata={**describe_features(lake, folder, manifest), **speed})

    return features


def build_remote_features(spec: FeatureSetSpec, engine: "RemoteEngine", options: Options) -> list[dg.AssetsDefinition]:
    """The job that builds the features on Databricks, and what collects them when it has ended."""
    return [_build_job(spec, engine, options), _build_collected(spec, options)]


def _build_job(spec: FeatureSetSpec, engine: "RemoteEngine", options: Options) -> dg.AssetsDefinition:
    service = engine.service

    @dg.asset(
        key=job_key(features_key(spec.name)),
        deps=_list_sources(spec),
        backfill_policy=SUBMITS_POLICY,
        required_resource_keys={service, "lake", "control"},
        pool=service,
        **extend_options(options(_describe_job(spec, engine.title), engine.kinds), tags=SUBMITS_TAGS),
    )
    @tell_failures
    def features_job(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        resources = context.resources
        lake: Lake = resources.lake
        control: ControlDatabase = resources.control
        day = context.partition_key
        plan = plan_features(lake, spec, find_partitions(lake, spec.tables, day), day)
        return submit_remote_job(
            context,
            control.ledger,
            getattr(resources, service),
            collecting_asset=features_key(spec.name),
            request=engine.build_request(lake, _build_parts(lake, plan)),
            deadline_hours=engine.deadline_hours,
            max_tries=engine.max_tries,
        )

    return features_job


def _build_parts(lake: Lake, plan: Plan) -> "JobParts":
    from adfml_assets.components.remote_engine import JobParts

    written = write_statement(lake, plan)
    return JobParts(
        partition=plan.day,
        hashes={written.name: written.sha256},
        files={"statement_path": written.path},
        folders={},
        values={},
        outputs={"output_path": plan.folder},
        staging=lake_layout.features_job_folder(plan.spec.name, plan.day),
    )


def _build_collected(spec: FeatureSetSpec, options: Options) -> dg.AssetsDefinition:
    key = features_key(spec.name)

    @dg.asset(
        key=key,
        deps=[job_key(key)],
        output_required=False,
        **extend_options(
            options(describe_feature_set(spec), {"databricks", "parquet"}),
            tags=COLLECTS_TAGS,
            metadata=_describe_declared(spec),
        ),
    )
    @tell_failures
    def features(context: dg.AssetExecutionContext, lake: Lake, control: ControlDatabase) -> Any:
        job = find_ended_job(context, control.ledger)
        if job is None:
            return
        (statement,) = job.request["inputs"]
        folder, manifest = collect_features(
            lake,
            spec,
            context.partition_key,
            statement,
            submission={"submission_key": job.submission_key, "url": job.url},
            asset=key.to_user_string(),
            now=utc_now(),
            run_id=context.run_id,
        )
        control.ledger.mark_collected(job.submission_key, context.run_id)
        yield dg.MaterializeResult(metadata={**describe_features(lake, folder, manifest), **describe_job(job)})

    return features


def describe_feature_set(spec: FeatureSetSpec) -> About:
    """What the features are, for the asset's description."""
    whose = (
        f"What is known of each event (`{spec.key}`) at its own time: nothing that happened later is in its features."
        if spec.rows == "event"
        else f"What is known of each `{spec.key}` at the end of a day, and of earlier days to learn from: nothing that "
        "happened after a feature date is in its features."
    )
    defined = f"Function `{spec.function}`." if spec.function else "Defined in SQL."
    rows = "every event up to the day" if spec.rows == "event" else f"a row a `{spec.key}` and `feature_date`"
    where = (
        "collects what the job on Databricks made and verifies it; its run waits in Dagster's queue, without a "
        "process, until the job has ended."
        if spec.engine == "databricks"
        else f"runs the definition on {_ENGINES[spec.engine]} over the day's archived tables: all of it, or nothing."
    )
    return About(
        what=f"{whose} {defined}",
        partition=f"a UTC day: {rows}, made of the tables archived on that day.",
        materialising=where,
        failing="is the job's own, or it left something else than was asked for: then the day has no features until it "
        "is made again."
        if spec.engine == "databricks"
        else "leaves the features as they were. Either a table has no partition of the day (materialise it first), "
        "or the definition asks for what the tables do not have: the error shows both.",
        activity="ExecuteDataFlow activity `RunFeatureEngineering`",
    )


def _describe_job(spec: FeatureSetSpec, title: str) -> About:
    return About(
        what=f"The statement of feature set `{spec.name}` for a day, written into the lake and submitted as {title}.",
        partition="a UTC day: the submission for the features of that day.",
        materialising="checks the definition against the tables, submits the job once, whatever crashes, and ends; a "
        "sensor sees to the rest.",
        failing="means that the job was not submitted: the definition, a missing partition, or the service's refusal, "
        "in the error. What the job itself fails of is at the features.",
        activity="ExecuteDataFlow activity `RunFeatureEngineering`, its start",
    )


def _describe_declared(spec: FeatureSetSpec) -> dict[str, Any]:
    return {"parameters": dict(spec.parameters), "as_of": spec.as_of, "rows": spec.rows}


def _list_sources(spec: FeatureSetSpec) -> list[dg.AssetKey]:
    return list(dict.fromkeys(source_key(table) for table in spec.tables.values()))


def describe_features(lake: Lake, folder: str, manifest: Manifest) -> dict[str, Any]:
    """A features partition as asset metadata: what it is as of, its features, and how often each has no value."""
    facts = manifest.facts
    shown: dict[str, Any] = {
        **describe_partition(lake, folder, manifest, texts=_describe_columns(facts)),
        "feature_date": facts["feature_date"] or "none",
        "earlier_feature_dates": max(0, len(facts["feature_dates"]) - 1),
        "period": f"{facts['first_event'] or 'none'} to {facts['last_event'] or 'none'}",
        "features": len(facts["features"]),
        "definition_sha256": facts["definition_sha256"],
    }
    if manifest.rows:
        missing = {name: f"{facts['missing'][name] / manifest.rows:.2%}" for name in facts["features"]}
        shown["missing"] = _build_table(("feature", "rows without a value"), missing)
    for column, found in facts["categories"].items():
        title = f"categories_of_{column}"
        shown[title] = _build_table((f"{found['distinct']} categories, largest first", "count"), found["largest"])
    return shown


def _describe_columns(facts: Mapping[str, Any]) -> dict[str, str]:
    texts = dict.fromkeys(facts["category_columns"], "Counts by category; a column each where a model is trained.")
    texts[str(facts["key"])] = "The event." if facts.get("rows") == "event" else "Whose features they are."
    time = str(facts["event_time"]) if facts.get("rows") == "event" else FEATURE_DATE
    return {**texts, time: "The features are as of this moment (UTC)." if "event" in str(facts.get("rows")) else _DATE}


def _build_table(titles: tuple[str, str], rows: dict[str, Any]) -> dg.MarkdownMetadataValue:
    lines = [f"| {str(name).replace('|', '/')} | {value} |" for name, value in rows.items()]
    return dg.MetadataValue.md("\n".join([f"| {' | '.join(titles)} |", "|---|---:|", *lines]))
