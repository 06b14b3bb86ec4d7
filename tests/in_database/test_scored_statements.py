"""The statements for SQL Server and Azure SQL Database, which no server here can run: built, parsed, and looked at."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa
import sqlglot
from sqlalchemy.dialects import mssql
from sqlalchemy.schema import CreateTable
from sqlglot import exp

from adfml_assets.in_database.compile import compile_model
from adfml_assets.in_database.opened_model import OpenedModel
from adfml_assets.in_database.plan import ScoringPlan
from adfml_assets.in_database.platform import ChosenWay, ModelKind, Way, describe_sql_server
from adfml_assets.in_database.scoring_statements import (
    build_staging,
    count_staged,
    drop_unchanged,
    find_unscored,
    find_written,
    fit_moment,
    list_values,
    mark_scored,
    select_scores,
    stage_scores,
)
from adfml_assets.in_database.server_errors import WayUnavailable
from adfml_assets.in_database.server_scoring import build_statement, require_transactions
from adfml_assets.in_database.source_table import SourceTable
from adfml_assets.in_database.spec import InDatabaseSpec
from adfml_assets.scoring.model_choice import ChosenVersion, ModelChoice
from adfml_assets.scoring.model_features import ModelFeatures
from adfml_assets.scoring.predictions import Target
from adfml_assets.scoring.source_rows import SourceSpec
from resources.servers.base import Column
from tests.conftest import NOW
from tests.in_database.scored import FEATURES, train
from tests.in_database.tsql import find_insert_execute, find_predict, parse

DAY = date(2026, 3, 10)
MSSQL = mssql.dialect(paramstyle="qmark")  # type: ignore[no-untyped-call]
LATIN = "Latin1_General_CI_AS"
SPEC = InDatabaseSpec(
    "spend",
    ModelChoice("champion", None),
    SourceSpec("crm", "dbo", "Waiting] rows", "Key:id", "Note = ':a ?' AND ScoredDate IS NULL", "ScoredDate"),
    Target("crm", "dbo", "Predictions", ("RecordId", "ModelName")),
)
SOURCE = SourceTable(
    SPEC.source, tuple(Column(name, "float", pa.float64()) for name in ("Key:id", "ScoredDate", *FEATURES))
)
MODEL = OpenedModel(
    ChosenVersion("spend", "3", "champion"),
    ModelFeatures("spend", "3", FEATURES, "f" * 64, "", {}, {}, None),
    "spend_30d",
    "skops",
    b"",
    "a" * 64,
)


def build_target(collation: str | None = None) -> sa.Table:
    """A table of scores as SQL Server describes it."""
    text = {name: sa.Column(name, sa.Unicode(60)) for name in ("ModelName", "ModelVersion", "ModelAlias")}
    return sa.Table(
        "Predictions",
        sa.MetaData(),
        sa.Column("RecordId", sa.Unicode(200, collation) if collation else sa.BigInteger()),
        sa.Column("Score", sa.Float(53)),
        *text.values(),
        sa.Column("ScoredAt", mssql.DATETIME2(6)),
        sa.Column("FeatureSnapshot", sa.Date()),
        sa.Column("SnapshotDate", sa.Date()),
        schema="dbo",
    )


def build_source(key: Any, dated: Any = None) -> sa.Table:
    dates = sa.Column("ScoredDate", dated or sa.DateTime())
    return sa.Table("Waiting] rows", sa.MetaData(), sa.Column("Key:id", key), dates, schema="dbo")


def compile_and_parse(statement: Any) -> tuple[str, exp.Expression]:
    text = str(statement.compile(dialect=MSSQL, compile_kwargs={"render_postcompile": True}))
    (tree,) = sqlglot.parse(text, read="tsql")
    assert tree is not None
    return text, tree


def build_plan(way: Way, kind: ModelKind, edition: int = 3) -> ScoringPlan:
    platform = describe_sql_server(edition, "16.0", installed=True, enabled=True)
    model = OpenedModel(MODEL.chosen, MODEL.takes, MODEL.label, kind, b"", MODEL.sha256)
    return ScoringPlan(SPEC, model, SOURCE, platform, ChosenWay(way, ("why",)), DAY, NOW)


def test_scores_are_staged_by_one_insert_of_a_select() -> None:
    staging = build_staging(build_target(), "mssql")
    made = " ".join(str(CreateTable(staging).compile(dialect=MSSQL)).split())
    assert made == "CREATE TABLE [#adfml_scored] ( [RecordId] BIGINT NULL, [Score] FLOAT(53) NULL )"
    sql = select_scores(compile_model(train(), FEATURES), "mssql", SOURCE)
    text, tree = compile_and_parse(stage_scores(staging, sql, SPEC.source.key))
    assert isinstance(tree, exp.Insert)
    assert sql in text
    assert "Note = ':a ?' AND ScoredDate IS NULL" in text
    tables = [table for table in tree.find_all(exp.Table) if table.name == "Waiting] rows"]
    assert [table.db for table in tables] == ["dbo"]
    assert not list(tree.find_all(exp.With))
    # Nothing is bound: a question mark in a text stays one.
    assert stage_scores(staging, sql, SPEC.source.key).compile(dialect=MSSQL).params == {}


def test_what_is_looked_at_before_the_rows_are_written() -> None:
    target = build_target()
    staging = build_staging(target, "mssql")
    text, _ = compile_and_parse(count_staged(staging))
    assert "count(*)" in text
    text, tree = compile_and_parse(find_unscored(staging))
    assert text.startswith("SELECT TOP ")
    assert isinstance(tree, exp.Select)
    text, tree = compile_and_parse(find_written(target, "spend", DAY))
    assert [(table.db, table.name) for table in tree.find_all(exp.Table)] == [("dbo", "Predictions")]


def test_rows_that_are_there_just_so_are_taken_out() -> None:
    target = build_target()
    staging = build_staging(target, "mssql")
    plan = build_plan("compiled", "skops")
    values = list_values(target, staging, plan.constants, "mssql")
    assert list(values) == [column.name for column in target.columns]
    text, tree = compile_and_parse(drop_unchanged(target, staging, values, SPEC.target.keys))
    assert isinstance(tree, exp.Delete)
    # NULL is NULL: older servers have no IS NOT DISTINCT FROM.
    assert "INTERSECT" in text
    assert "ScoredAt" not in text
    assert "DISTINCT" not in text


def test_rows_are_noted_as_scored_at_their_source() -> None:
    staging = build_staging(build_target(), "mssql")
    text, tree = compile_and_parse(mark_scored(build_source(sa.Integer()), "Key:id", "ScoredDate", staging, NOW))
    assert isinstance(tree, exp.Update)
    assert text.startswith("UPDATE dbo.[Waiting]] rows] SET [ScoredDate]=? FROM")
    assert "IS NULL OR" in text
    text, _ = compile_and_parse(
        mark_scored(build_source(sa.Integer()), "Key:id", "ScoredDate", staging, NOW, unset_only=True)
    )
    assert "IS NULL OR" not in text


def test_keys_are_compared_as_they_are_staged() -> None:
    staging = build_staging(build_target(LATIN), "mssql")
    given = (staging, NOW)
    text, _ = compile_and_parse(mark_scored(build_source(sa.Uuid()), "Key:id", "ScoredDate", *given))
    assert f"CAST(dbo.[Waiting]] rows].[Key:id] AS NVARCHAR(200)) COLLATE {LATIN}" in text
    text, _ = compile_and_parse(mark_scored(build_source(sa.Unicode(9, "Thai_CI_AS")), "Key:id", "ScoredDate", *given))
    assert f"COLLATE {LATIN}" in text
    text, _ = compile_and_parse(mark_scored(build_source(sa.Unicode(9, LATIN)), "Key:id", "ScoredDate", *given))
    assert "COLLATE" not in text


def test_moments_go_into_columns_of_any_kind() -> None:
    moment = datetime(2026, 3, 10, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert fit_moment(moment, sa.Date()) == date(2026, 3, 9)
    assert fit_moment(moment, sa.DateTime()) == datetime(2026, 3, 9, 23, 30)
    assert fit_moment(moment, sa.DateTime(timezone=True)) == datetime(2026, 3, 9, 23, 30, tzinfo=UTC)


def test_predict_scores_into_the_staging_table() -> None:
    statement = build_statement(build_plan("predict", "revoscale"), "#adfml_scored")
    assert parse(statement.text)
    assert find_predict(statement.text)["prediction"] == "[spend_30d_Pred]"
    assert "INSERT INTO [#adfml_scored] ([RecordId], [Score])" in statement.text
    assert str(SPEC.source.where) in statement.text
    assert statement.parameters == ("spend", "3", "a" * 64)


def test_an_external_script_scores_into_the_staging_table() -> None:
    statement = build_statement(build_plan("external_script", "skops"), "#adfml_scored")
    call = find_insert_execute(statement.text)
    assert (call["table"], call["columns"]) == ("[#adfml_scored]", "[RecordId], [Score]")
    assert statement.text.count("?") == len(statement.parameters)
    assert '["recency", "amount"]' in statement.parameters


def test_a_dedicated_pool_is_sent_to_its_procedure() -> None:
    with pytest.raises(WayUnavailable) as refused:
        require_transactions(build_plan("predict", "onnx", edition=6))
    assert "call dbo.usp_ScoreWithPredict of resources/sql/usp_ScoreWithPredict_synapse.sql" in refused.value.use
    require_transactions(build_plan("predict", "revoscale"))
