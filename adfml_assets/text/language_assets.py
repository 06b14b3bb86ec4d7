"""The asset of a `ScoredText` whose engine is Azure AI Language: scores in the lake and in the table, in one step."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from adfml_assets import lake_layout
from adfml_assets.about import extend_options, find_database_kind
from adfml_assets.archived_partitions import parse_reference
from adfml_assets.asset_keys import archive_key, text_scores_key, written_text_key
from adfml_assets.components.language_engine import LanguageEngine
from adfml_assets.failures import tell_failures
from adfml_assets.metadata import describe_partition, describe_written
from adfml_assets.past_days import COVERED_TAGS
from adfml_assets.text.language_rows import RowsToScore
from adfml_assets.text.language_run import LanguageRun, Marks, Progress, score_rows
from adfml_assets.text.language_scoring import TextRules
from adfml_assets.text.texts import LANGUAGE_TEXTS, describe_sentiment
from adfml_assets.text.texts import describe_written as describe_columns
from resources.control import ControlDatabase
from resources.database import Databases
from resources.lake import Lake
from resources.language import Language
from resources.manifest import Manifest

if TYPE_CHECKING:
    from adfml_assets.components.scored_text import ScoredText


def build_language_assets(declaration: "ScoredText", engine: LanguageEngine) -> list[dg.AssetsDefinition]:
    """One step with two assets: the day's scores in the lake, and the columns of the table they are written to.

    Needs the resources `language`, `databases`, `lake` and `control`.

    Raises:
        DagsterInvalidDefinitionError: the declaration has a `write_back`: this engine writes to the table it reads.
    """
    if declaration.write_back is not None:
        raise dg.DagsterInvalidDefinitionError(
            f"{declaration.name}: the language engine writes to the table it reads ({declaration.source}). Remove "
            "`write_back`, and name the columns that differ under `engine: columns:`."
        )
    database, schema, table = parse_reference(declaration.source)
    scores, written = text_scores_key(declaration.name), written_text_key(declaration.name, database, schema, table)
    columns = engine.columns
    about = describe_sentiment(declaration.text, declaration.source, columns.scored, engine.page_rows)
    options = declaration.build_options(about, {"azure", "parquet"})
    set_columns = [columns.sentiment, columns.positive, columns.neutral, columns.negative, columns.scored]
    about = describe_columns(declaration.source, set_columns, "a page a transaction")
    back = declaration.build_options(about, {find_database_kind(database)})
    partitions = options.pop("partitions_def")
    back.pop("partitions_def")
    source = archive_key(database, schema, table)
    answers = {name: getattr(columns, name) for name in ("sentiment", "positive", "neutral", "negative")}
    written_columns = {**{name: name for name in declaration.key}, **{name: field for field, name in answers.items()}}

    @dg.multi_asset(
        name="__".join(scores.path),
        specs=[
            # What waits in the table is taken on the day itself.
            dg.AssetSpec(scores, deps=[source], **extend_options(options, tags=COVERED_TAGS)),
            dg.AssetSpec(written, deps=[scores], **extend_options(back, tags=COVERED_TAGS)),
        ],
        partitions_def=partitions,
        pool="language",
    )
    @tell_failures
    def language_scores(
        context: dg.AssetExecutionContext,
        databases: Databases,
        lake: Lake,
        control: ControlDatabase,
        language: Language,
    ) -> Iterator[dg.MaterializeResult[None]]:
        day = context.partition_key
        run = build_run(declaration, engine, databases, scores.to_user_string())
        manifest, progress, left = score_rows(
            run, day, lake=lake, control=control, language=language, run_id=context.run_id, log=context.log
        )
        if progress.sending.resent_documents:
            context.log.warning(
                "%d documents were sent again because an answer was lost: they may be billed twice.",
                progress.sending.resent_documents,
            )
        folder = lake_layout.text_scores_folder(declaration.name, day)
        if not manifest.rows:
            context.log.info("%s has no rows to score: the partition is empty.", day)
        in_lake = {
            **describe_partition(lake, folder, manifest, texts=LANGUAGE_TEXTS),
            **describe_day(manifest),
            **describe_run(progress),
        }
        yield dg.MaterializeResult(asset_key=scores, metadata=in_lake)
        yield dg.MaterializeResult(
            asset_key=written,
            metadata={
                **describe_written(lake, folder, manifest, written_columns),
                "dagster/row_count": progress.scored,
                "written_back_for_a_killed_run": progress.recovered,
                "gone_or_scored_meanwhile": progress.gone,
                "still_to_be_scored": left,
            },
        )

    return [language_scores]


def build_run(declaration: "ScoredText", engine: LanguageEngine, databases: Databases, asset: str) -> LanguageRun:
    """What a run of a declaration does."""
    database, schema, table = parse_reference(declaration.source)
    columns = engine.columns
    return LanguageRun(
        name=declaration.name,
        asset=asset,
        rows=RowsToScore(
            databases,
            database,
            schema,
            table,
            tuple(declaration.key),
            declaration.text,
            columns.scored,
            engine.language_column,
            declaration.where,
        ),
        rules=TextRules(engine.language, engine.long_texts, engine.language_column is not None),
        marks=Marks(
            columns.sentiment, columns.positive, columns.neutral, columns.negative, columns.scored, engine.error_mark
        ),
        page_rows=engine.page_rows,
        concurrency=engine.concurrency,
        model_version=engine.model_version,
        api_version=engine.api_version,
        secret=engine.secret,
    )


def describe_day(manifest: Manifest) -> dict[str, Any]:
    """What the day's files hold, by all of its runs: rows scored and rejected, and what was billed for them."""
    facts = manifest.facts
    return {
        "dagster/row_count": facts["scored"],
        "rejected": facts["rejected"],
        "sentiments": dg.MetadataValue.json(facts["sentiments"]),
        "reject_codes": dg.MetadataValue.json(facts["reject_codes"]),
        "characters": facts["characters"],
        "text_records": facts["text_records"],
    }


def describe_run(progress: Progress) -> dict[str, Any]:
    """What this run did, and was billed for: a text record is up to 1,000 characters of one document."""
    sending = progress.sending
    return {
        "run_scored": progress.scored,
        "run_rejected": progress.rejected,
        "run_characters": progress.characters,
        "run_text_records": progress.text_records,
        "run_requests": sending.requests,
        "run_requests_repeated": sending.repeated,
        "run_documents_maybe_billed_twice": sending.resent_documents,
    }
