"""What is declared: values that cannot be, the identity of a definition, the dates that features are built for."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from adfml_assets.declarations import find_mistakes
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.features.definition import FeatureSetSpec, TableRef, hash_definition
from adfml_assets.features.errors import ExpressionNotFound
from adfml_assets.features.sources import choose_feature_dates
from tests.features.conftest import EVENTS, SPEND
from tests.features.definitions import SPEND_SQL

YAML = """\
type: adfml_assets.components.FeatureSet
attributes:
  name: spend
  function: a.b.c
  tables:
    orders: { table: shop.main.Orders, timestamp: OrderedAt }
    products: shop.main.Products
  key: Customer
"""


@pytest.mark.parametrize(
    ("given", "instead", "expected"),
    [
        ("", "", []),
        ("  function: a.b.c\n", "", ["2: attributes.function: expected package.module.function, or sql in its place"]),
        (
            "  function: a.b.c\n",
            "  function: a.b.c\n  sql: x.sql\n",
            ["5: attributes.sql: expected either function or sql, not both, found 'x.sql'."],
        ),
        (
            "timestamp: OrderedAt }",
            "timestamp: OrderedAt, state: yesterday }",
            ["6: attributes.tables.orders.state: expected 'snapshot' or 'current', found 'yesterday'."],
        ),
        (
            "timestamp: OrderedAt }",
            "time: OrderedAt }",
            [
                "6: attributes.tables.orders.time: there is no field 'time'. Expected one of: state, table, timestamp. "
                "Did you mean 'timestamp'?"
            ],
        ),
        (
            "products: shop.main.Products",
            "products: 7",
            ["7: attributes.tables.products: expected a valid string, found 7."],
        ),
        (
            "products: shop.main.Products",
            "products: Products",
            ["7: attributes.tables.products: expected database.schema.table, found 'Products'."],
        ),
        (
            "products: shop.main.Products",
            "feature_dates: shop.main.Products",
            ["5: attributes.tables: expected names as Python takes them, other than feature_dates"],
        ),
        (
            "  key: Customer\n",
            "  key: Customer\n  rows: event\n",
            ["2: attributes.event_time: expected the result's column with the event's time (rows: event), found None."],
        ),
        (
            "  key: Customer\n",
            "  key: Customer\n  event_time: OrderedAt\n",
            ["9: attributes.event_time: expected nothing: it belongs to rows: event, found 'OrderedAt'."],
        ),
        (
            "  key: Customer\n",
            "  key: Customer\n  feature_dates:\n    step_days: 0\n",
            ["10: attributes.feature_dates.step_days: expected 1 or more, found 0."],
        ),
        (
            "  key: Customer\n",
            "  key: Customer\n  engine: sparc\n",
            ["9: attributes.engine: expected 'duckdb' or 'spark', found 'sparc'."],
        ),
        (
            "  key: Customer\n",
            "  key: Customer\n  engine: { service: databrick, job: x }\n",
            [
                "9: attributes.engine.service: there is no service 'databrick'. Expected one of: databricks. Did you "
                "mean 'databricks'?"
            ],
        ),
        ("  key: Customer\n", "  key: Customer\n  engine: { service: databricks, job: x }\n", []),
        (
            "  tables:\n    orders: { table: shop.main.Orders, timestamp: OrderedAt }",
            "  as_of: last_transaction\n  tables:\n    orders: shop.main.Orders",
            ["6: attributes.tables: expected at least one table with a `timestamp`"],
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, given: str, instead: str, expected: list[str]) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text(YAML.replace(given, instead) if given else YAML)
    found = [mistake.describe().removeprefix(f"{file}:") for mistake in find_mistakes(file)]
    assert len(found) == len(expected)
    for one, wanted in zip(found, expected, strict=True):
        assert one.startswith(wanted)


@pytest.mark.parametrize(
    "changes",
    [
        {"count": -1},
        {"key": ""},
        {"key": "feature_date"},
        {"parameters": {"orders": 1}},
        {"tables": {}},
        {"tables": {"a b": TableRef("a.b.c", "t")}},
        {"engine": "pandas"},
        {"function": None, "sql": "SELECT 1", "parameters": {"x": {"a": 1}}},
    ],
)
def test_a_specification_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(DeclarationInvalid, match="Feature set spend: "):
        replace(SPEND, **changes)


def test_tables_without_time_have_the_features_of_the_day_alone() -> None:
    spec = FeatureSetSpec(name="n", key="Id", tables={"t": TableRef("a.b.c")}, function="a.b.c")
    assert choose_feature_dates(spec, date(2026, 3, 10), None, None) == [date(2026, 3, 10)]


def test_feature_dates_begin_where_the_data_begins_and_end_with_it() -> None:
    first, last = datetime(2026, 1, 5, 8), datetime(2026, 1, 31, 20)
    day = date(2026, 3, 10)
    closed = replace(SPEND, as_of="last_transaction", count=12)
    assert choose_feature_dates(closed, day, first, last) == [date(2026, 1, 11), date(2026, 1, 21), date(2026, 1, 31)]
    assert choose_feature_dates(SPEND, day, first, last)[-1] == day
    assert choose_feature_dates(SPEND, day, None, None) == []


SOURCE = '''
"""What it is."""
import ibis

def build(orders, *, days):
    """Features."""
    # Money.
    return orders.filter(orders.Amount > days)
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "some_features.py"
    file.write_text(SOURCE)
    return file


def test_a_function_is_the_same_whatever_is_said_of_it(module: Path) -> None:
    spec = replace(SPEND, function="some_features.build")
    before = hash_definition(spec)
    module.write_text(
        SOURCE.replace("What it is", "What it was").replace("# Money.", "").replace("    ret", "\n    ret")
    )
    assert hash_definition(spec) == before
    module.write_text(SOURCE.replace("Amount > days", "Amount >= days"))
    assert hash_definition(spec) != before


def test_sql_is_the_same_whatever_is_said_of_it() -> None:
    spec = replace(SPEND, function=None, sql=SPEND_SQL)
    before = hash_definition(spec)
    spaced = SPEND_SQL.replace("-- The same as `spend`, as SQL.", "/* New. */").replace("\n", "\n\n")
    assert hash_definition(replace(spec, sql=spaced)) == before
    assert hash_definition(replace(spec, sql=SPEND_SQL.replace("BOOL_OR", "BOOL_AND"))) != before
    assert hash_definition(replace(spec, sql=SPEND_SQL.replace("'$that'", "'$them'"))) == before, "in a comment"


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"parameters": {"days": 31, "category": "books"}}, False),
        ({"parameters": {"category": "books", "days": 30}}, True),
        ({"tables": {**SPEND.tables, "orders": TableRef("crm.main.Orders", "OrderedAt")}}, False),
        ({"tables": {**SPEND.tables, "orders": TableRef("shop.main.Orders", "OrderedAt", "current")}}, True),
        ({"engine": "spark", "partition_by": "Customer", "count": 7, "as_of": "last_transaction"}, True),
        ({"key": "Product"}, False),
    ],
)
def test_what_may_change_a_value_changes_the_identity(changes: dict[str, Any], same: bool) -> None:
    assert (hash_definition(replace(SPEND, **changes)) == hash_definition(SPEND)) is same


def test_another_process_gives_the_same_identity() -> None:
    code = (
        "from adfml_assets.features.definition import hash_definition\nfrom tests.features.conftest import EVENTS\n"
        "print(hash_definition(EVENTS))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hash_definition(EVENTS)


def test_a_module_that_is_not_there_has_no_identity() -> None:
    for function in ("nowhere.build", "nowhere.at.all", "build"):
        with pytest.raises(ExpressionNotFound, match="cannot be used"):
            hash_definition(replace(SPEND, function=function))
