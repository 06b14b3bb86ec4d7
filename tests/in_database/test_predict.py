"""T-SQL PREDICT: the shipped procedures and the statement of the engine, put together and parsed; none is run here."""

from __future__ import annotations

import re

import pytest
import sqlglot
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sqlglot import exp

from adfml_assets.in_database.predict import ServerScoring, build_predict
from resources.servers.base import TableName
from tests.in_database.tsql import build_dynamic, find_batch, find_one, find_predict, list_errors, parse

BOX, POOL = "usp_ScoreWithPredict.sql", "usp_ScoreWithPredict_synapse.sql"
PROCEDURES = {BOX: "CREATE OR ALTER PROCEDURE", POOL: "CREATE PROCEDURE"}
NAMES = st.text(st.characters(exclude_characters="\0\r\n", codec="utf-8"), min_size=1, max_size=20)
VALUES = {"KeyColumn": "Id", "PredictionColumn": "Spend_Pred", "Input": "[shop].[Customers]", "Output": "[ml].[Scores]"}


def read_procedure(file: str) -> str:
    return find_batch(file, PROCEDURES[file])


@pytest.mark.parametrize("file", PROCEDURES)
def test_the_procedure_takes_what_the_adf_activity_passes_and_the_rest_has_defaults(file: str) -> None:
    (tree,) = parse(read_procedure(file))
    assert isinstance(tree, exp.Create)
    assert tree.kind == "PROCEDURE"
    head = tree.sql("tsql").partition(" AS BEGIN")[0]
    parameters = re.findall(r"@(\w+) (?:AS )?\w+(?:\(\d+\))?( = N?'\w+')?", head)
    assert [name for name, _ in parameters[:3]] == ["ModelName", "InputTable", "OutputTable"]
    assert [bool(default) for _, default in parameters] == [False, False, False, True, True]


@pytest.mark.parametrize("file", PROCEDURES)
def test_both_parts_of_a_tables_name_are_quoted_and_a_name_of_one_part_is_refused(file: str) -> None:
    text = read_procedure(file)
    for name, variable in (("InputTable", "Input"), ("OutputTable", "Output")):
        quoted = f"QUOTENAME(PARSENAME(@{name}, 2)) + N'.' + QUOTENAME(PARSENAME(@{name}, 1))"
        assert text.count(f"SET @{variable} = {quoted};") == 1
        assert f"PARSENAME(@{name}, 3) IS NOT NULL" in text
    # A part that is missing is NULL, and so is the whole.
    refusal = text.index("IF @Input IS NULL OR @Output IS NULL")
    assert refusal < text.index("THROW 51010") < text.index("FROM dbo.MLModels")


@pytest.mark.parametrize(("file", "errors"), [(BOX, range(51010, 51016)), (POOL, (51010, 51011, 51012, 51014, 51015))])
def test_what_is_wrong_is_thrown_before_anything_is_written(file: str, errors: range) -> None:
    text = read_procedure(file)
    assert set(list_errors(text)) == set(errors)
    outside = text.replace("THROW 51015, N''", "")
    assert max(found.start() for found in re.finditer(r"THROW \d+", outside)) < text.index("BEGIN TRANSACTION")


def test_only_the_active_version_is_read_and_its_hash_is_looked_at() -> None:
    (tree,) = parse(read_procedure(BOX))
    reading = [table.find_ancestor(exp.Select) for table in tree.find_all(exp.Table) if table.name == "MLModels"]
    (read,) = [select for select in reading if select is not None]
    assert read.args["where"].sql("tsql") == "WHERE model_name = @ModelName AND is_active = 1"
    text = read_procedure(BOX)
    assert text.index("HASHBYTES('SHA2_256', @Model)") < text.index("THROW 51013") < text.index("PREDICT(")


@pytest.mark.parametrize("file", PROCEDURES)
def test_one_transaction_holds_what_is_written(file: str) -> None:
    (tree,) = parse(read_procedure(file))
    kinds = [n for n in tree.walk(bfs=False) if isinstance(n, exp.Transaction | exp.Commit)]
    assert [type(kind) for kind in kinds] == [exp.Transaction, exp.Commit]
    text = read_procedure(file)
    assert "SET NOCOUNT ON" in text
    assert "ROLLBACK" not in text
    # A pool ends a transaction at any error by itself, and takes no such setting.
    assert ("SET XACT_ABORT ON" in text) == (file == BOX)


def test_the_statement_scores_then_looks_for_doubled_keys_then_merges() -> None:
    statement = build_dynamic(read_procedure(BOX), "Statement", VALUES)
    assert find_predict(statement) == {
        "model": "@Model",
        "data": "[shop].[Customers]",
        "runtime": "",
        "prediction": "[Spend_Pred]",
    }
    assert statement.index("PREDICT(") < statement.index("HAVING COUNT_BIG(*) > 1") < statement.index("MERGE ")
    assert "MERGE [ml].[Scores] WITH (HOLDLOCK) AS target" in statement
    merge = find_one(statement, exp.Merge)
    assert merge.args["on"].sql("tsql") == "target.[Id] = source.RecordId AND target.ModelName = @ModelName"
    update, insert = (when.args["then"] for when in merge.args["whens"].expressions)
    written = [column.name for column in insert.this.expressions]
    assert written == ["Id", "Score", "ModelName", "ModelVersion", "ScoredAt"]
    assert len(insert.expression.expressions) == len(written)
    assert [equal.this.name for equal in update.expressions] == ["Score", "ModelVersion", "ScoredAt"]


def test_a_pool_scores_by_onnx_and_replaces_rows() -> None:
    procedure = read_procedure(POOL)
    score, replace = (build_dynamic(procedure, name, VALUES) for name in ("Score", "Replace"))
    assert find_predict(score)["runtime"] == ", RUNTIME = ONNX"
    assert "MERGE" not in procedure
    (insert,) = parse(score)
    assert [column.name for column in insert.this.expressions] == ["RecordId", "Score"]
    delete, insert = parse(replace)
    assert isinstance(delete, exp.Delete)
    assert isinstance(insert, exp.Insert)
    assert [column.name for column in insert.this.expressions] == [
        "Id",
        "Score",
        "ModelName",
        "ModelVersion",
        "ScoredAt",
    ]
    # A temporary table is made before the transaction: a pool makes none inside of one.
    assert procedure.index("EXECUTE sp_executesql @Prepare") < procedure.index("BEGIN TRANSACTION")


@settings(max_examples=30, deadline=None)
@given(key=NAMES, prediction=NAMES, schema=NAMES, table=NAMES)
def test_no_name_leaves_its_brackets(key: str, prediction: str, schema: str, table: str) -> None:
    # sqlglot takes a leading # even in brackets for a temporary table's mark, and keeps it elsewhere.
    assume(not schema.startswith("#") and not table.startswith("#"))
    quoted = "[{}].[{}]".format(schema.replace("]", "]]"), table.replace("]", "]]"))
    values = {"KeyColumn": key, "PredictionColumn": prediction, "Input": quoted, "Output": quoted}
    statement = build_dynamic(read_procedure(BOX), "Statement", values)
    assert find_predict(statement)["data"] == quoted
    merge = find_one(statement, exp.Merge)
    assert (merge.this.db, merge.this.name) == (schema, table)
    assert merge.args["whens"].expressions[1].args["then"].this.expressions[0].name == key


def test_what_was_wrong_in_the_pattern_is_said_in_the_file() -> None:
    assert "What was wrong with the procedure of the patterns" in find_batch(BOX, "-- What was wrong")


SCORING = ServerScoring(
    source=TableName("d]bo", "Cust'omers"),
    key="Id",
    features=("recency", "a]b"),
    staging=TableName("dbo", "adfml_staging"),
    model="churn",
    version="3",
    sha256="ab" * 32,
    where="Region = 'UK' -- all of it",
)


def test_the_engines_statement_inserts_key_and_prediction_of_the_rows_of_the_condition() -> None:
    statement = build_predict(SCORING, "Spend_Pred")
    assert statement.parameters == ("churn", "3", "ab" * 32)
    assert statement.text.count("?") == 3
    assert find_predict(statement.text) == {
        "model": "@adfml_model",
        "data": "adfml_rows",
        "runtime": "",
        "prediction": "[Spend_Pred]",
    }
    insert = find_one(statement.text, exp.Insert)
    assert insert.this.sql("tsql") == "[dbo].[adfml_staging] ([RecordId], [Score])"
    assert [select.sql("tsql") for select in insert.expression.selects] == ["d.adfml_key", "p.[Spend_Pred]"]
    rows = next(cte.this for cte in sqlglot.parse_one(read_rows(statement.text), read="tsql").find_all(exp.CTE))
    assert rows.named_selects == ["adfml_key", "recency", "a]b"]
    assert (rows.find(exp.Table).db, rows.find(exp.Table).name) == ("d]bo", "Cust'omers")
    assert isinstance(rows.args["where"].this, exp.Paren)


def read_rows(text: str) -> str:
    """The common table expression of a batch, as a query."""
    found = re.search(r"WITH adfml_rows AS \(\n.*?\n\)\nINSERT", text, re.DOTALL)
    assert found is not None
    return found[0].removesuffix("INSERT") + "SELECT 1 FROM adfml_rows"


def test_the_model_is_refused_before_a_row_is_scored() -> None:
    text = build_predict(SCORING).text
    assert text.index("THROW 51012") < text.index("THROW 51013") < text.index("PREDICT(")
    assert "FROM [dbo].[MLModels] WHERE model_name = ? AND model_version = ?" in text


def test_for_a_pool_the_condition_comes_after_predict() -> None:
    text = build_predict(SCORING, runtime="onnx").text
    assert find_predict(text)["runtime"] == ", RUNTIME = ONNX"
    assert "WITH adfml_rows" not in text
    insert = find_one(text, exp.Insert)
    assert insert.expression.args["where"].this.this.sql("tsql").startswith("Region = 'UK'")
