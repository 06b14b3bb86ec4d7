"""The asset of a table whose rows the database itself has scored, and the check whether that is the place for it."""

from typing import Any

import dagster as dg

from adfml_assets.about import extend_options
from adfml_assets.asset_keys import champion_key, model_key, table_key
from adfml_assets.failures import tell_failures
from adfml_assets.in_database.advisor import Advice, Needs, advise
from adfml_assets.in_database.facts import read_model_facts, read_table_facts
from adfml_assets.in_database.plan import ScoringPlan
from adfml_assets.in_database.run import ScoredRows, require_written, score_today
from adfml_assets.in_database.spec import InDatabaseSpec
from adfml_assets.origins import Origin, build_lineage
from adfml_assets.past_days import COVERED_TAGS
from adfml_assets.remote_assets import SUBMITS_POLICY
from adfml_assets.scoring.model_choice import choose_version
from adfml_assets.scoring.scoring_input import RECORD_ID
from adfml_assets.scoring.shown import describe_version
from adfml_assets.scoring.write_back import TEXTS
from adfml_assets.scoring_assets import ScoringInputConfig
from resources.control import ControlDatabase, utc_now
from resources.database import Databases
from resources.lake import Lake
from resources.model_registry import CHAMPION

CHECK = "in_database_or_external"

_SHOWN_CHARACTERS = 4_000


def build_in_database_scores(spec: InDatabaseSpec, options: dict[str, Any]) -> dg.AssetsDefinition:
    """The table: its run scores the rows that wait, where they are."""
    resolved = champion_key(spec.model) if spec.choice.alias == CHAMPION else model_key(spec.model)
    versions = dg.AssetDep(resolved, partition_mapping=dg.LastPartitionMapping())

    @dg.asset(
        key=_find_key(spec),
        deps=[spec.source.asset_key, versions],
        backfill_policy=SUBMITS_POLICY,
        **extend_options(options, tags=COVERED_TAGS),
    )
    @tell_failures
    def scored_in_database(
        context: dg.AssetExecutionContext,
        config: ScoringInputConfig,
        lake: Lake,
        control: ControlDatabase,
        databases: Databases,
    ) -> dg.MaterializeResult[None]:
        day, now = context.partition_key, utc_now()
        today = f"{now:%Y-%m-%d}"
        if day != today:
            rows = require_written(databases, spec, day, today)
            note = "The day is over: what was written then was left as it is."
            return dg.MaterializeResult(metadata={"dagster/row_count": rows, "note": note})
        choice = spec.choice.override(spec.model, config.alias, config.version)
        scored = score_today(lake, control, databases, spec, choice, now=now)
        for reason in scored.plan.way.reasons:
            context.log.info(reason)
        return dg.MaterializeResult(metadata=describe_scored(scored))

    return scored_in_database


def describe_scored(scored: ScoredRows) -> dict[str, Any]:
    """What a run did, as asset metadata."""
    plan, done, compared = scored.plan, scored.done, scored.compared
    chosen, written = plan.model.chosen, done.written
    said = {"version": chosen.version, "alias": chosen.alias, "feature_snapshot": plan.day.isoformat()}
    cut = done.sql[:_SHOWN_CHARACTERS]
    shown: dict[str, Any] = {
        "dagster/row_count": written.rows,
        **_describe_columns(plan),
        "inserted": written.inserted,
        "updated": written.updated,
        "unchanged": written.unchanged,
        "kept_newer": written.kept_newer,
        **describe_version(said),
        "platform": str(plan.platform),
        "way": plan.way.way,
        "way_reason": " ".join(plan.way.reasons),
        "sql_characters": len(done.sql),
        "sql": dg.MetadataValue.md(f"```sql\n{cut}{'' if cut == done.sql else ' ...'}\n```"),
        "seconds_to_compare": round(scored.compare_seconds, 3),
        "seconds_to_score": round(done.score_seconds, 3),
        "seconds_to_write": round(done.write_seconds, 3),
    }
    if compared is not None:
        shown["compared_rows"] = compared.compared
        shown["compared_on"] = "made-up rows" if plan.spec.verify == "synthetic" else "rows of the table"
        shown["largest_difference"] = compared.largest_difference
        shown["compared_without_score"] = compared.without_score
    source = plan.spec.source
    if source.scored_date is not None:
        shown[f"{source.table}.{source.scored_date}"] = f"{written.marked} rows set"
    if written.left_out:
        table = plan.spec.target.table
        missing = ", ".join(written.left_out)
        shown["not_written"] = f"{missing}: {table} was there before and has no such column"
    return shown if written.rows else {**shown, "note": "No row waits to be scored."}


def _describe_columns(plan: ScoringPlan) -> dict[str, Any]:
    """Schema and lineage of what was written. No sample: rows that may not leave the database are shown nowhere."""
    source = plan.spec.source.asset_key.to_user_string()
    origins: dict[str, list[Origin]] = {
        RECORD_ID: [(source, plan.spec.source.key)],
        "Score": [(source, name) for name in plan.model.takes.names],
    }
    columns = [dg.TableColumn(name=name, description=text) for name, text in TEXTS.items()]
    return {"dagster/column_schema": dg.TableSchema(columns=columns), **build_lineage(origins)}


def build_advice_check(spec: InDatabaseSpec) -> dg.AssetChecksDefinition:
    """Whether the database is the right place, by the rows the table has now."""

    @dg.asset_check(
        asset=_find_key(spec),
        name=CHECK,
        description=(
            "The patterns' table `In-Database ML vs External ML`, applied to the model and to the table's rows as they "
            "are: a warning where it says that the model should rather run outside. `adfml advise` says the same."
        ),
    )
    @tell_failures
    def in_database_or_external(lake: Lake, control: ControlDatabase, databases: Databases) -> dg.AssetCheckResult:
        source = spec.source
        chosen = choose_version(lake, control, spec.model, spec.choice)
        registered = control.models.find(chosen.model, chosen.version)
        table = read_table_facts(databases, source.database, source.schema, source.table)
        dialect = databases.engine(source.database).dialect.name
        sha256 = registered.model_sha256 if registered else None
        facts = read_model_facts(lake, chosen.model, chosen.version, dialect, sha256)
        # Whoever lets no row be compared lets none leave.
        advice = advise(facts, table, Needs(data_may_leave=spec.verify == "sample", way=spec.way))
        return dg.AssetCheckResult(
            passed=advice.where == "in_database" and advice.problem is None,
            severity=dg.AssetCheckSeverity.WARN,
            description=advice.problem or advice.decided_by.text,
            metadata={
                "rows": table.rows,
                "rows_are": "estimated by the server" if table.is_estimate else "counted",
                "model_version": chosen.version,
                "engine": advice.engine or "none",
                "way": advice.way or "none",
                "reasons": dg.MetadataValue.md(_list_reasons(advice)),
            },
        )

    return in_database_or_external


def _list_reasons(advice: Advice) -> str:
    lines = ["| | points to | why |", "|---|---|---|"]
    for reason in advice.reasons:
        topic = f"**{reason.topic}** (decides)" if reason.decided else reason.topic
        lines.append(f"| {topic} | {reason.points_to.replace('_', ' ')} | {reason.text} |")
    return "\n".join(lines)


def _find_key(spec: InDatabaseSpec) -> dg.AssetKey:
    return table_key(spec.target.database, spec.target.schema, spec.target.table)
