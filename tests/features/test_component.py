"""Feature sets in Dagster: what they depend on, what a partition shows, and definitions as SQL beside the defs.yaml."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
import yaml

from adfml_assets.components import FeatureSet
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.features.errors import ExpressionFailed
from tests.features.conftest import DAY, Order, Shop
from tests.features.definitions import HERE, SPEND_SQL

DECLARED: dict[str, Any] = {
    "name": "spend",
    "tables": {
        "orders": {"table": "shop.main.Orders", "timestamp": "OrderedAt", "state": "current"},
        "products": "shop.main.Products",
    },
    "key": "Customer",
    "function": f"{HERE}.categories",
    "feature_dates": {"step_days": 30, "count": 2},
    "owners": ["team:data"],
    "adf_pipeline": "DF_Features",
}


def declare(folder: Path | None = None, **changes: Any) -> dg.Definitions:
    attributes = {name: value for name, value in {**DECLARED, **changes}.items() if value is not None}
    component = FeatureSet.resolve_from_yaml(yaml.safe_dump(attributes))
    return component.build_defs(SimpleNamespace(path=folder))  # type: ignore[arg-type]  # it reads nothing else


def materialize(definitions: dg.Definitions, shop: Shop, **options: Any) -> dg.ExecuteInProcessResult:
    checks = list(definitions.asset_checks or [])
    return dg.materialize(
        [*(definitions.assets or []), *checks],  # type: ignore[list-item]
        partition_key=DAY,
        resources={"lake": shop.lake},
        **options,
    )


def test_a_partition_says_what_it_is_as_of_and_what_is_missing(shop: Shop, orders: list[Order]) -> None:
    for state in ("snapshot", "current"):
        shop.archive_orders(orders, state=state)
    result = materialize(declare(), shop)
    shown = result.asset_materializations_for_node("feature_store__spend")[0].metadata
    assert shown["feature_date"].value == DAY
    assert shown["earlier_feature_dates"].value == 2
    assert shown["features"].value == 3
    assert "| orders | 0.00% |" in str(shown["missing"].value)
    assert "| Büch/er |" in str(shown["categories_of_by_category"].value)
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.check_name == "point_in_time"
    assert evaluation.passed
    assert evaluation.metadata["partition"].value == DAY


def build_graph(definitions: dg.Definitions) -> Any:
    bound = dg.Definitions(resources={name: object() for name in ("lake", "control", "databricks")})
    return dg.Definitions.merge(definitions, bound).resolve_asset_graph()


def test_it_depends_on_the_state_that_it_reads() -> None:
    graph = build_graph(declare())
    node = graph.get(dg.AssetKey(["feature_store", "spend"]))
    assert {key.to_user_string() for key in node.parent_keys} == {
        "current/shop/main/Orders",
        "archive/shop/main/Products",
    }
    assert node.description is not None
    assert node.description.endswith("ADF: `DF_Features`: ExecuteDataFlow activity `RunFeatureEngineering`.")
    assert {"python", "duckdb", "parquet"} <= {tag.rpartition("/")[2] for tag in node.tags}


def test_a_definition_that_sees_the_future_stops_what_follows(shop: Shop, orders: list[Order]) -> None:
    shop.archive_orders(orders)
    tables = {"orders": {"table": "shop.main.Orders", "timestamp": "OrderedAt"}}
    definitions = declare(function=f"{HERE}.leaking", tables=tables)

    @dg.asset(deps=[dg.AssetKey(["feature_store", "spend"])])
    def follows() -> None:
        raise AssertionError("it must not run")

    merged = dg.Definitions.merge(definitions, dg.Definitions(assets=[follows]))
    result = materialize(merged, shop, raise_on_error=False)
    assert not result.success
    (evaluation,) = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.metadata["differing_features"].value == "later"
    assert "looks into the future" in str(evaluation.description)
    assert result.asset_materializations_for_node("follows") == []


def test_sql_lies_beside_the_declaration(shop: Shop, orders: list[Order], tmp_path: Path) -> None:
    shop.archive_orders(orders)
    (tmp_path / "spend.sql").write_text(SPEND_SQL, encoding="utf-8")
    tables = {**DECLARED["tables"], "orders": {"table": "shop.main.Orders", "timestamp": "OrderedAt"}}
    given = {"function": None, "sql": "spend.sql", "tables": tables, "parameters": {"days": 7, "category": "games"}}
    assert materialize(declare(tmp_path, **given), shop).success
    with pytest.raises(DeclarationInvalid, match=r"sql is 'spent.sql'; expected a file beside .*there are: spend.sql"):
        declare(tmp_path, **{**given, "sql": "spent.sql"})
    (tmp_path / "spend.sql").write_text(SPEND_SQL.replace("Amount", "Money"), encoding="utf-8")
    with pytest.raises(dg.Failure, match="Money") as failed:
        materialize(declare(tmp_path, **given), shop)
    assert isinstance(failed.value.__cause__, ExpressionFailed)


def test_a_set_on_databricks_has_a_job_and_no_check() -> None:
    graph = build_graph(declare(engine={"service": "databricks", "job": "adfml_features"}))
    job, features = (dg.AssetKey(["feature_store", name]) for name in ("spend_job", "spend"))
    assert set(graph.materializable_asset_keys) == {job, features}
    assert graph.get(features).parent_keys == {job}
    assert not list(graph.asset_check_keys)
