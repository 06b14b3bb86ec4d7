"""What docs/features.md shows works as it stands there: the set as a function, and the same as SQL."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from adfml_assets.components import FeatureSet
from adfml_assets.features.feature_set import FeatureSetSpec
from resources.lake import Lake
from tests.feature_engineering.declared import DAY, archive, build, read_examples
from tests.feature_engineering.engine import index_rows, make_transactions
from tests.feature_engineering.plain_python import Line

TODAY = date.fromisoformat(DAY)


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, FeatureSetSpec]:
    """The page's set, as a function and as SQL."""
    (function,), (sql,) = read_examples("python"), read_examples("sql")
    (tmp_path / "account_features.py").write_text(function)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = {}
    for text in read_examples("yaml"):
        attributes = yaml.safe_load(text.replace("shop.dbo.", "shop.main."))["attributes"]
        if attributes["name"] == "account_features":
            component = FeatureSet.resolve_from_yaml(yaml.safe_dump(attributes))
            found["sql" if component.sql else "function"] = component.build_spec(sql if component.sql else None)
    return found


@pytest.fixture
def shop(lake: Lake) -> Lake:
    bought = [
        (1, "2026-01-10", 2, "10.50"),
        (1, "2026-03-01", 1, "4.25"),
        (1, "2026-03-10", 3, "1.00"),
        (1, "2026-03-11", 9, "9.00"),  # after the snapshot's day
        (2, "2026-02-18", 1, "8.00"),
        (None, "2026-03-01", 1, "7.00"),
    ]
    lines = [
        Line(number, f"I{number}", customer, "P", quantity, Decimal(price), datetime.fromisoformat(f"{day} 23:59:59"))
        for number, (customer, day, quantity, price) in enumerate(bought)
    ]
    archive(lake, {"Transactions": make_transactions(lines)})
    return lake


def test_function_and_sql_give_the_same(shop: Lake, specs: dict[str, FeatureSetSpec]) -> None:
    tables = {name: build(shop, spec) for name, spec in specs.items()}
    assert sorted(tables) == ["function", "sql"]
    assert tables["sql"].schema == tables["function"].schema
    rows = {name: index_rows(table.to_pylist(), "CustomerId", "feature_date") for name, table in tables.items()}
    assert rows["sql"] == rows["function"]
    assert rows["function"][1, TODAY] == {"recency_days": 0, "lines": 3, "spend": 7.25}
    assert rows["function"][2, TODAY] == {"recency_days": 20, "lines": 1, "spend": 8.0}
    assert rows["function"][1, date(2026, 2, 28)] == {"recency_days": 49, "lines": 1, "spend": 0.0}
    assert (2, date(2026, 1, 19)) not in rows["function"]


def test_features_are_floats_and_whole_numbers(shop: Lake, specs: dict[str, FeatureSetSpec]) -> None:
    schema = build(shop, specs["sql"]).schema
    assert [(name, schema.field(name).type) for name in ("recency_days", "lines", "spend")] == [
        ("recency_days", pa.int64()),
        ("lines", pa.int64()),
        ("spend", pa.float64()),
    ]
