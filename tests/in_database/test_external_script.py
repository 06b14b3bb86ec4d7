"""sp_execute_external_script: the shipped procedure is parsed, and its Python is run here as the server runs it."""

from __future__ import annotations

import ast
import builtins
import hashlib
import json
import pickle
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sqlglot import exp

from adfml_assets.in_database.external_script import PROCEDURE, build_external_script, read_script
from adfml_assets.in_database.predict import ServerScoring
from resources.servers.base import TableName
from tests.in_database.tsql import build_dynamic, find_batch, find_insert_execute, find_one, list_errors, parse

FEATURES = ["recency", "order's total"]
VALUES = {
    "KeyColumn": "I]d",
    "DateColumn": "batch_date",
    "Columns": ", CONVERT(float, d.[recency]) AS [recency]",
    "Input": "[dbo].[ScoringData]",
    "Output": "[dbo].[Predictions]",
}


@pytest.fixture(scope="module")
def procedure() -> str:
    return find_batch(PROCEDURE, "CREATE OR ALTER PROCEDURE")


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """As the server hands them over: a key that is text, features that are float, NULL as NaN."""
    random = np.random.default_rng(3)
    frame = pd.DataFrame(random.normal(size=(60, 2)), columns=FEATURES)
    frame.insert(0, "adfml_key", [str(2**53 + number) for number in range(60)])
    return frame


def train(rows: pd.DataFrame, kind: str) -> tuple[Any, bytes]:
    """A model, and its file."""
    label = 3 + rows["recency"] - 2 * rows["order's total"]
    if kind == "onnx":
        from skl2onnx import to_onnx

        model = LinearRegression().fit(rows[FEATURES].to_numpy(), label)
        return model, to_onnx(model, rows[FEATURES].to_numpy()[:1]).SerializeToString()
    boosting = HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=5)
    model = TransformedTargetRegressor(boosting, func=np.sqrt, inverse_func=np.square, check_inverse=False)
    model.fit(rows[FEATURES], label - label.min())
    if kind == "pickle":
        return model, pickle.dumps(model)
    from skops import io

    return model, io.dumps(model)


def run_script(rows: pd.DataFrame, content: bytes, kind: str, **changes: Any) -> pd.DataFrame:
    """Run the script as the server does: with the names of @params and the rows."""
    names = {
        "InputDataSet": rows,
        "features": json.dumps(FEATURES),
        "model_bytes": content,
        "model_format": kind,
        "model_sha256": hashlib.sha256(content).hexdigest(),
        **changes,
    }
    exec(compile(read_script(), "script", "exec"), names)  # noqa: S102 - the shipped script
    return names["OutputDataSet"]


@pytest.mark.parametrize("kind", ["skops", "onnx", "pickle"])
def test_the_script_scores_as_the_model_does_and_keeps_the_keys(rows: pd.DataFrame, kind: str) -> None:
    model, content = train(rows, kind)
    found = run_script(rows, content, kind)
    expected = model.predict(rows[FEATURES] if kind != "onnx" else rows[FEATURES].to_numpy())
    assert list(found.columns) == ["key", "score"]
    assert list(found["key"]) == list(rows["adfml_key"])
    np.testing.assert_allclose(found["score"], expected, rtol=1e-12)


def test_null_is_missing_to_the_model(rows: pd.DataFrame) -> None:
    model, content = train(rows, "skops")
    gaps = rows.copy()
    gaps.loc[3:9, "recency"] = np.nan
    np.testing.assert_array_equal(run_script(gaps, content, "skops")["score"], model.predict(gaps[FEATURES]))


@pytest.mark.parametrize("empty", [pd.DataFrame(), pd.DataFrame(columns=["adfml_key", *FEATURES])])
def test_no_rows_are_no_scores(rows: pd.DataFrame, empty: pd.DataFrame) -> None:
    found = run_script(empty, train(rows, "skops")[1], "skops")
    assert (list(found.columns), len(found)) == (["key", "score"], 0)


class Trap:
    """Runs code when it is unpickled."""

    ran: list[bool] = []  # noqa: RUF012 - what the test looks at

    def __reduce__(self) -> Any:
        return Trap.ran.append, (True,)


def test_bytes_of_another_hash_are_not_loaded(rows: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="not what was registered"):
        run_script(rows, pickle.dumps(Trap()), "pickle", model_sha256="0" * 64)
    assert Trap.ran == []


def test_a_skops_file_of_foreign_types_is_refused(rows: pd.DataFrame) -> None:
    from skops import io

    with pytest.raises(Exception, match="Untrusted types found"):
        run_script(rows, io.dumps(Iterator), "skops")


@pytest.mark.parametrize("scores", [[1.0], [np.nan] * 60, [np.inf] * 60])
def test_a_model_that_does_not_give_each_row_a_number_writes_nothing(rows: pd.DataFrame, scores: list[float]) -> None:
    with pytest.raises(ValueError, match="did not give each row one finite number"):
        run_script(rows, pickle.dumps(Constant(scores)), "pickle")


class Constant:
    def __init__(self, scores: list[float]) -> None:
        self.scores = scores

    def predict(self, rows: pd.DataFrame) -> list[float]:
        return self.scores


def test_an_unknown_format_is_refused(rows: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="a model of kind revoscale cannot be loaded"):
        run_script(rows, b"x", "revoscale")


def list_parameters(call: str) -> tuple[set[str], dict[str, str]]:
    """The names that @params declares, and what each argument of the call is."""
    (declared,) = re.findall(r"@params = N'([^']*)'", call)
    return set(re.findall(r"@(\w+) ", declared)), dict(re.findall(r"(?m)^\s*@(\w+) = (@\w+)[,;]?$", call + ";"))


def test_every_name_in_the_script_is_defined(procedure: str) -> None:
    declared, _ = list_parameters(find_insert_execute(procedure)["call"])
    tree = ast.parse(read_script())
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {alias.name for node in imports for alias in node.names}
    made = {node.id for node in names if isinstance(node.ctx, ast.Store)} | imported | set(dir(builtins))
    used = {node.id for node in names if isinstance(node.ctx, ast.Load)} - made
    assert used == (declared | {"InputDataSet"}) - {"batch_date"}
    # Python 3.5 of SQL Server 2017 has no f-strings.
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]


def test_every_parameter_gets_a_variable(procedure: str) -> None:
    call = find_insert_execute(procedure)["call"]
    declared, given = list_parameters(call)
    assert declared == {"batch_date", "features", "model_bytes", "model_format", "model_sha256"}
    assert {name: given[name] for name in declared} == {
        "batch_date": "@Day",
        "features": "@Features",
        "model_bytes": "@Model",
        "model_format": "@Format",
        "model_sha256": "@Hash",
    }
    assert given["input_data_1"] == "@Query"
    # Neither is allowed: a query as a value, and WITH RESULT SETS after INSERT.
    assert "SELECT" not in call.replace(read_script(), "")
    assert "RESULT SETS" not in call


def test_the_scores_go_into_a_table_that_says_their_types(procedure: str) -> None:
    found = find_insert_execute(procedure)
    assert (found["table"], found["columns"]) == ("#adfml_scores", "RecordId, Score")
    made = find_one(procedure, exp.Schema)
    assert [column.sql("tsql") for column in made.expressions] == [
        "RecordId NVARCHAR(450) COLLATE DATABASE_DEFAULT NULL",
        "Score FLOAT NOT NULL",
    ]


def test_the_procedure_takes_the_date_that_the_adf_activity_passes_and_uses_it(procedure: str) -> None:
    (tree,) = parse(procedure)
    head = tree.sql("tsql").partition(" AS BEGIN")[0]
    assert re.findall(r"@(\w+)", head)[0] == "BatchDate"
    assert "DECLARE @Day date = TRY_CONVERT(date, @BatchDate, 23)" in procedure.replace("\n", " ")
    query = build_dynamic(procedure, "Query", VALUES)
    (select,) = parse(query)
    assert select.args["where"].sql("tsql") == "WHERE CONVERT(DATE, d.[batch_date]) = @batch_date"
    assert select.named_selects == ["adfml_key", "recency"]


def test_what_is_wrong_is_thrown_before_anything_is_written(procedure: str) -> None:
    assert set(list_errors(procedure)) == set(range(51010, 51017))
    begins = procedure.index("BEGIN TRANSACTION")
    assert max(found.start() for found in re.finditer(r"THROW \d+", procedure)) < begins
    assert procedure.index("THROW 51013") < procedure.index("sp_execute_external_script")
    assert "OR (@Format = 'pickle' AND @ModelSha256 IS NULL)" in procedure


def test_the_upsert_is_one_merge_in_one_transaction(procedure: str) -> None:
    merge = find_one(build_dynamic(procedure, "Statement", VALUES), exp.Merge)
    assert merge.args["on"].sql("tsql") == "target.[I]]d] = source.RecordId AND target.ModelName = @ModelName"
    insert = merge.args["whens"].expressions[1].args["then"]
    written = [column.name for column in insert.this.expressions]
    assert written == ["I]d", "Score", "ModelName", "ModelVersion", "ScoredAt", "BatchDate"]
    assert len(insert.expression.expressions) == len(written)
    (tree,) = parse(procedure)
    kinds = [type(n) for n in tree.walk(bfs=False) if isinstance(n, exp.Transaction | exp.Commit)]
    assert kinds == [exp.Transaction, exp.Commit]


def test_the_engines_statement_hands_everything_over_as_parameters() -> None:
    scoring = ServerScoring(
        TableName("dbo", "Customers"),
        "Id",
        tuple(FEATURES),
        TableName("dbo", "#adfml_staging"),
        "churn",
        "3",
        "AB" * 32,
        where="Region = 'UK' -- '?'",
    )
    statement = build_external_script(scoring, "onnx")
    assert statement.text.count("?") == len(statement.parameters) == 8
    assert statement.parameters[:3] == ("churn", "3", "AB" * 32)
    script, query, features, kind, sha256 = statement.parameters[3:]
    assert (script, json.loads(features), kind, sha256) == (read_script(), FEATURES, "onnx", "ab" * 32)
    (select,) = parse(query)
    assert select.named_selects == ["adfml_key", *FEATURES]
    found = find_insert_execute(statement.text)
    assert (found["table"], found["columns"]) == ("[#adfml_staging]", "[RecordId], [Score]")
    declared, given = list_parameters(found["call"])
    assert declared == {"features", "model_bytes", "model_format", "model_sha256"}
    assert declared <= set(given)
    assert parse(statement.text)
