"""The assets of texts scored by an Azure OpenAI batch: what is asked, what came back, and the table it goes to."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from adfml_assets import lake_layout
from adfml_assets.about import extend_options, find_database_kind
from adfml_assets.archived_partitions import find_archived, parse_reference, require_partition
from adfml_assets.asset_keys import archive_key, job_key, text_scores_key, written_text_key
from adfml_assets.errors import DeclarationInvalid, WrongResult
from adfml_assets.failures import tell_failures
from adfml_assets.metadata import describe_partition, describe_speed, describe_written
from adfml_assets.remote_assets import (
    COLLECTS_TAGS,
    SUBMITS_POLICY,
    SUBMITS_TAGS,
    find_ended_jobs,
    submit_remote_jobs,
)
from adfml_assets.text.answer_schema import RESERVED, load_schema
from adfml_assets.text.costs import BATCH_SHARE, compute_standard_cost
from adfml_assets.text.prompts import compile_prompt
from adfml_assets.text.requests import RequestSpec, build_requests
from adfml_assets.text.results import Result, collect_answers
from adfml_assets.text.texts import BATCH_TEXTS, describe_answers, describe_requests
from adfml_assets.text.texts import describe_written as describe_columns
from adfml_assets.text.written_text import write_answers
from adfml_assets.written_back import build_written_back
from resources.control import ControlDatabase, utc_now
from resources.database import Databases
from resources.lake import Lake
from resources.manifest import Manifest

if TYPE_CHECKING:
    from adfml_assets.components.openai_batch_engine import OpenAIBatchEngine
    from adfml_assets.components.scored_text import ScoredText

_REJECT_COLUMNS = ("code", "reason", "tries", "final")
_SHOWN_JOBS = 20
_MEGABYTE = 1_000_000


class AskConfig(dg.Config):
    """How a day is asked about."""

    again: bool = Field(
        default=False, description="Ask about every row anew and pay for it, also where there is an answer already."
    )


def build_batch_assets(
    declaration: "ScoredText", engine: "OpenAIBatchEngine", folder: Path
) -> list[dg.AssetsDefinition]:
    """The job that asks, the answers, and the columns they are written to where that is declared.

    Args:
        folder: of the defs.yaml, where a schema's file is looked for.

    Raises:
        TemplateInvalid, SchemaInvalid, DeclarationInvalid: what is declared cannot work.
    """
    spec = build_spec(declaration, engine, folder)
    assets = [_build_job(declaration, engine, spec), _build_scores(declaration, engine, spec)]
    if declaration.write_back is not None:
        _check_write_back(declaration, spec)
        assets.append(_build_write_back(declaration))
    return assets


def build_spec(declaration: "ScoredText", engine: "OpenAIBatchEngine", folder: Path) -> RequestSpec:
    """A declaration as what `build_requests` takes.

    Raises:
        TemplateInvalid, SchemaInvalid, DeclarationInvalid: it cannot work.
    """
    name = f"Scored text {declaration.name}"
    schema = load_schema(name, engine.answer_schema, folder)
    parse_reference(declaration.source)
    taken = {*RESERVED, *_REJECT_COLUMNS, *(field.lower() for field in schema.columns)}
    if not declaration.key:
        raise DeclarationInvalid(name, "key", [], "at least one column")
    if any(key.lower() in taken for key in declaration.key):
        raise DeclarationInvalid(
            name, "key", list(declaration.key), f"columns that are none of {', '.join(sorted(taken))}"
        )
    return RequestSpec(
        name=declaration.name,
        source=declaration.source,
        key=tuple(declaration.key),
        text=declaration.text,
        where=declaration.where,
        prompt=compile_prompt(name, engine.template),
        template=engine.template,
        schema=schema,
        deployment=engine.deployment,
        system=engine.system,
        max_output_tokens=engine.max_output_tokens,
        temperature=engine.temperature,
        rows_per_shard=engine.rows_per_shard,
        bytes_per_shard=int(engine.megabytes_per_shard * _MEGABYTE),
        row_tries=engine.row_tries,
        row_misses=engine.max_tries,
        expiry_days=engine.expiry_days,
        secret=engine.secret,
    )


def _check_write_back(declaration: "ScoredText", spec: RequestSpec) -> None:
    wanted = declaration.write_back
    assert wanted is not None  # noqa: S101 - asked for by the caller
    name = f"Scored text {declaration.name}"
    parse_reference(wanted.table)
    known = [*spec.schema.columns, *RESERVED]
    for field in wanted.columns:
        if field not in known:
            raise DeclarationInvalid(name, "write_back.columns", field, f"a field of the answer: {', '.join(known)}")
    if wanted.keys and len(wanted.keys) != len(declaration.key):
        expected = f"one for each column of key: {', '.join(declaration.key)}"
        raise DeclarationInvalid(name, "write_back.keys", list(wanted.keys), expected)


def _build_job(declaration: "ScoredText", engine: "OpenAIBatchEngine", spec: RequestSpec) -> dg.AssetsDefinition:
    key = text_scores_key(declaration.name)
    service = engine.service

    @dg.asset(
        key=job_key(key),
        deps=[archive_key(*parse_reference(declaration.source))],
        backfill_policy=SUBMITS_POLICY,
        required_resource_keys={service, "lake", "control"},
        pool=service,
        **extend_options(
            declaration.build_options(describe_requests(engine.deployment, declaration.source), {"openai"}),
            tags=SUBMITS_TAGS,
        ),
    )
    @tell_failures
    def text_job(context: dg.AssetExecutionContext, config: AskConfig) -> dg.MaterializeResult[None]:
        lake: Lake = context.resources.lake
        control: ControlDatabase = context.resources.control
        day = context.partition_key
        snapshot = find_archived(lake, {"source": declaration.source}, day)["source"]
        built: list[Manifest] = []

        def build() -> Sequence[dict[str, Any]]:
            manifest, requests = build_requests(
                lake,
                spec,
                snapshot,
                day,
                asset=context.asset_key.to_user_string(),
                now=utc_now(),
                run_id=context.run_id,
                again=config.again,
            )
            built.append(manifest)
            return requests

        jobs = submit_remote_jobs(
            context,
            control.ledger,
            getattr(context.resources, service),
            collecting_asset=key,
            build_requests=build,
            deadline_hours=engine.deadline_hours,
            max_tries=engine.max_tries,
            identity=spec.identify(snapshot[1]),
        )
        facts = dict(built[0].facts) if built else {}
        if not jobs:
            context.log.info("Nothing to ask on %s: no batch is submitted.", day)
        shown: dict[str, Any] = {
            name: facts[name] for name in ("asked", "answered_before", "rejected", "bytes_sent") if name in facts
        }
        return dg.MaterializeResult(
            metadata={
                **shown,
                "rows": built[0].rows if built else sum(job.request["rows"] for job in jobs),
                "batches": len(jobs),
                "submission_keys": [job.submission_key for job in jobs[:_SHOWN_JOBS]],
                "remote_ids": [job.remote_id or job.state for job in jobs[:_SHOWN_JOBS]],
                "deployment": engine.deployment,
            }
        )

    return text_job


def _build_scores(declaration: "ScoredText", engine: "OpenAIBatchEngine", spec: RequestSpec) -> dg.AssetsDefinition:
    key = text_scores_key(declaration.name)

    @dg.asset(
        key=key,
        deps=[job_key(key)],
        output_required=False,
        **extend_options(
            declaration.build_options(describe_answers(engine.deployment), {"openai", "parquet"}), tags=COLLECTS_TAGS
        ),
    )
    @tell_failures
    def text_scores(context: dg.AssetExecutionContext, lake: Lake, control: ControlDatabase) -> Any:
        day = context.partition_key
        folder = lake_layout.text_requests_folder(declaration.name, day)
        rows = require_partition(lake, folder, job_key(key).to_user_string(), day)[1]
        source: dict[str, Any] = {"requests": {"folder": folder, "run_id": rows.run_id}}
        jobs = []
        if rows.facts["shards"]:
            ended = find_ended_jobs(context, control.ledger)
            if ended is None:
                return
            jobs = ended
            found = {str(job.request.get("basis")) for job in jobs}
            if found != {rows.facts["basis"]}:
                # The run that wrote the rows was killed before its jobs were in the ledger.
                expected = f"the batches of the rows that run {rows.run_id} wrote"
                raise WrongResult(job_key(key).to_user_string(), expected, "those of an earlier run")
            source["submission_keys"] = [job.submission_key for job in jobs]
        result = collect_answers(
            lake,
            declaration.name,
            spec.key,
            spec.schema.columns,
            rows,
            day,
            asset=context.asset_key.to_user_string(),
            now=utc_now(),
            run_id=context.run_id,
            source=source,
        )
        if jobs:
            control.ledger.mark_collected(jobs[-1].submission_key, context.run_id)
        if rows.rows == 0:
            context.log.info("%s has no rows to score: the partition is empty.", day)
        scores_folder = lake_layout.text_scores_folder(declaration.name, day)
        yield dg.MaterializeResult(
            metadata={
                **describe_partition(lake, scores_folder, result.manifest, texts=BATCH_TEXTS),
                **_describe_result(result, engine, rows),
                "batches": len(jobs),
            }
        )

    return text_scores


def _describe_result(result: Result, engine: "OpenAIBatchEngine", rows: Manifest) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "dagster/row_count": result.predictions,
        "rows": rows.rows,
        "rejects": result.rejects,
        "reject_reasons": dg.MetadataValue.json(dict(result.reasons)),
        "input_tokens": result.input_tokens,
        "output_tokens": result.output_tokens,
        "deployment": str(rows.facts["deployment"]),
    }
    if engine.price is not None:
        price = engine.price
        standard = compute_standard_cost(
            result.input_tokens, result.output_tokens, input_price=price.input, output_price=price.output
        )
        shown["cost"] = round(standard * BATCH_SHARE, 6)
        shown["cost_at_standard_price"] = round(standard, 6)
        shown["currency"] = price.currency
    return shown


def _build_write_back(declaration: "ScoredText") -> dg.AssetsDefinition:
    wanted = declaration.write_back
    assert wanted is not None  # noqa: S101 - asked for by the caller
    key = written_text_key(declaration.name, *parse_reference(wanted.table))

    keys = zip(wanted.keys or declaration.key, declaration.key, strict=True)
    columns = {**dict(keys), **{column: field for field, column in wanted.columns.items()}}

    def write(lake: Lake, databases: Databases, folder: str, manifest: Manifest) -> dict[str, Any]:
        started = time.monotonic()
        written = write_answers(lake, databases, wanted, declaration.key, folder)
        return {
            **describe_written(lake, folder, manifest, columns),
            **describe_speed(written.answered, time.monotonic() - started),
            "dagster/row_count": written.answered,
            "rows_marked_rejected": written.rejected,
        }

    return build_written_back(
        key,
        text_scores_key(declaration.name),
        lambda day: lake_layout.text_scores_folder(declaration.name, day),
        write,
        declaration.build_options(
            describe_columns(wanted.table, list(wanted.columns.values())),
            {find_database_kind(parse_reference(wanted.table)[0])},
        ),
    )
