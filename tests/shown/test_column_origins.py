"""Which columns a feature is made of: exact where its SQL can be followed, and nothing where it cannot."""

from __future__ import annotations

import ibis
import pytest
from ibis import _

from adfml_assets.features.column_origins import trace_columns, trace_expression
from adfml_assets.origins import build_facts, build_lineage, describe_origins, find_personal

TABLES = {"t": ["Id", "amount", "At"], "u": ["Id", "name"]}
ID, AMOUNT, AT, NAME = ("t", "Id"), ("t", "amount"), ("t", "At"), ("u", "name")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT id, amount + 1 AS more FROM t", {"Id": [ID], "more": [AMOUNT]}),
        ("SELECT * FROM t", {"Id": [ID], "amount": [AMOUNT], "At": [AT]}),
        ("SELECT count(*) AS n, 1 AS one FROM t", {"n": [], "one": []}),
        ("SELECT sum(amount) FILTER (WHERE At > DATE '2026-01-01') AS s FROM t", {"s": [AT, AMOUNT]}),
        ("SELECT sum(amount) OVER (PARTITION BY Id ORDER BY At) AS s FROM t", {"s": [AT, ID, AMOUNT]}),
        ("WITH a AS (SELECT Id, max(name) AS n FROM u GROUP BY Id) SELECT n FROM t JOIN a USING (Id)", {"n": [NAME]}),
        ("SELECT amount AS v FROM t UNION ALL SELECT length(name) FROM u", {"v": [AMOUNT, NAME]}),
        ("SELECT (SELECT max(name) FROM u) AS m FROM t", {"m": [NAME]}),
        ("SELECT k.x AS y FROM t, unnest(range(t.amount)) AS k(x)", {"y": [AMOUNT]}),
    ],
)
def test_what_can_be_followed(sql: str, expected: dict[str, list[tuple[str, str]]]) -> None:
    assert trace_columns(sql, TABLES, list(expected)) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT t AS v FROM t",  # a whole row
        "SELECT columns(*) + 1 AS v FROM t",
        "PIVOT t ON Id USING sum(amount) AS v",
        "SELECT v FROM elsewhere",
        "SELECT no sense",
    ],
)
def test_what_cannot_be_followed_is_made_of_nobody_knows_what(sql: str) -> None:
    assert trace_columns(sql, TABLES, ["v"]) == {}


def test_constants_are_no_origin() -> None:
    tables = {**TABLES, "dates": ["feature_date"]}
    sql = "SELECT feature_date, feature_date - At AS age FROM t CROSS JOIN dates"
    found = trace_columns(sql, tables, ["feature_date", "age"], {"dates"})
    assert found == {"feature_date": [], "age": [AT]}


def test_an_expression_with_a_table_in_memory() -> None:
    t = ibis.table({"Id": "int64", "amount": "float64", "At": "timestamp"}, name="t")
    dates = ibis.memtable({"day": ["2026-01-01"]})
    made = t.cross_join(dates).group_by("Id", "day").aggregate(label=_.amount.sum())
    assert trace_expression(made, TABLES) == {"Id": [ID], "day": [], "label": [AMOUNT]}


def test_what_is_made_of_personal_data_is_personal_and_so_is_what_may_be() -> None:
    origins = {"key": [("a", "email")], "spent": [("a", "amount")], "n": []}
    columns = ["key", "spent", "n", "unknown"]
    assert find_personal(origins, {"a": ["email"]}, columns) == ["key", "unknown"]
    assert find_personal(origins, {"a": []}, columns) == []
    facts = build_facts(origins, {"a": ["email"]}, columns)
    assert facts["personal"] == ["key", "unknown"]


def test_the_lineage_names_assets_and_leaves_out_what_is_made_of_nothing() -> None:
    lineage = build_lineage({"spent": [("archive/shop/t", "amount")], "n": []})["dagster/column_lineage"]
    (dep,) = lineage.deps_by_column["spent"]
    assert (dep.asset_key.to_user_string(), dep.column_name) == ("archive/shop/t", "amount")
    assert set(lineage.deps_by_column) == {"spent"}


def test_it_is_said_in_words_too() -> None:
    assert describe_origins([("a/t", "x"), ("b/u", "z"), ("a/t", "y")]) == "Made of `x`, `y` of a/t; `z` of b/u."
    assert describe_origins([("a/t", f"f{at}") for at in range(7)]) == "Made of 7 columns of a/t."
    assert describe_origins([]) == ""


def test_a_lineage_that_would_fill_the_event_log_is_left_out() -> None:
    origins = {f"f{number}": [("a", f"c{at}") for at in range(100)] for number in range(51)}
    assert build_lineage(origins) == {}
