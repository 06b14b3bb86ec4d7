"""`adfml advise` and `adfml register-model`, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from typer.testing import CliRunner, Result

from adfml_assets import lake_layout
from adfml_assets.in_database.model_store import list_models
from adfml_cli.cli import app
from resources.control import ControlDatabase
from resources.database import Databases
from resources.lake import Lake
from resources.model_registry import VersionRecord
from tests.in_database.lake_models import BOOSTING, put_model
from tests.in_database.shops import open_customers, open_shop, schema_of


@pytest.fixture(params=["sqlite", "duckdb", "postgresql"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[sa.Engine]:
    with open_customers(request.param, request, monkeypatch) as opened:
        yield opened


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def registered(lake: Lake, control: ControlDatabase) -> ControlDatabase:
    """Version 1 is champion, 2 was refused."""
    for version, verdict in (("1", "passed"), ("2", "refused")):
        content = put_model(lake, version, HistGradientBoostingRegressor(**BOOSTING), "HistGradientBoostingRegressor")
        digest = hashlib.sha256(content).hexdigest()
        control.models.register(VersionRecord("churn", version, "run", "model.skops", digest, "f" * 64))
        control.models.judge("churn", version, verdict, "mae is 13.5.", None)  # type: ignore[arg-type]
    control.models.promote("churn", "1", "gate", "first")
    return control


def test_advise_prints_the_table_and_what_to_declare(registered: ControlDatabase, engine: sa.Engine) -> None:
    table = f"shop.{schema_of(engine)}.Customers"
    result = call("advise", "--model", "churn", "--table", table)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"Model churn version 1, table {table} on ")
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    shown = {row[0]: row[1] for row in cells if row[0]}
    assert shown["rows decides"] == "in the database"
    assert set(shown) == {"data movement", "server", "compute", "model", "latency", "rows decides"}
    assert lines[-1] == "Run it in the database: engine: {service: in_database, way: compiled}."


def test_advise_as_json_has_the_facts_and_the_reasons(registered: ControlDatabase, engine: sa.Engine) -> None:
    table = f"shop.{schema_of(engine)}.Customers"
    arguments = ("--model", "churn", "--version", "2", "--table", table, "--compute", "gpu", "--json")
    found = json.loads(call("advise", *arguments).stdout)
    assert (found["where"], found["engine"], found["decided_by"]) == ("external", "azure_ml_batch", "compute")
    assert (found["model"]["version"], found["model"]["model_class"]) == ("2", "ensemble")
    assert (found["table"]["rows"], found["table"]["is_estimate"]) == (30, False)
    kept = json.loads(call("advise", *arguments, "--data-may-not-leave").stdout)
    assert (kept["where"], kept["way"], kept["decided_by"]) == ("in_database", "compiled", "data movement")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--table", "Customers"), "'Customers' names no table: expected database.schema.table"),
        (("--table", "shop.main.Customers", "--latency", "soon"), "--latency is 'soon': expected batch, realtime."),
        (("--table", "shop.main.Nothing"), "There is no table 'Nothing' in database 'shop'"),
    ],
)
def test_advise_says_what_it_cannot_know(
    registered: ControlDatabase,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    with open_shop("sqlite", request, monkeypatch):
        result = call("advise", "--model", "churn", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(message)


def test_advise_takes_the_newest_version_where_there_is_no_champion(
    lake: Lake, control: ControlDatabase, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("9", "10"):
        put_model(lake, version, LinearRegression(), "LinearRegression")
    with open_shop("sqlite", request, monkeypatch) as engine:
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE TABLE T (a INTEGER)"))
        assert "Model churn version 10," in call("advise", "--model", "churn", "--table", "shop.main.T").stdout
        result = call("advise", "--model", "sales", "--table", "shop.main.T")
    assert result.stderr == "Model 'sales' has no version in the lake: train one, or check the name.\n"


def test_a_version_is_registered_once_and_a_refused_one_only_by_force(
    registered: ControlDatabase, databases: Databases, engine: sa.Engine
) -> None:
    missing = call("register-model", "churn", "1", "--database", "shop")
    assert (missing.exit_code, "has no table MLModels" in missing.stderr) == (1, True)
    first = call("register-model", "churn", "1", "--database", "shop", "--create-table")
    assert first.exit_code == 0, first.stderr
    assert "Version 1 of model churn is in shop.MLModels:" in first.stdout
    assert "It is the active one." in first.stdout
    refused = call("register-model", "churn", "2", "--database", "shop")
    assert refused.exit_code == 1
    assert "Version 2 of model churn is refused (mae is 13.5.): it is not made active in shop." in refused.stderr
    beside = call("register-model", "churn", "2", "--database", "shop", "--inactive")
    assert "It is not active; version 1 is." in beside.stdout
    forced = call("register-model", "churn", "2", "--database", "shop", "--force")
    assert "It is the active one (before: version 1)." in forced.stdout
    found = list_models(databases, "shop", None, "MLModels")
    assert {one.version: one.is_active for one in found} == {"1": False, "2": True}


@pytest.mark.parametrize("given", [("--table", "Others"), ("--schema", "ml")])
def test_only_the_usual_table_is_made(registered: ControlDatabase, engine: sa.Engine, given: tuple[str, ...]) -> None:
    result = call("register-model", "churn", "1", "--database", "shop", "--create-table", *given)
    assert result.exit_code == 1
    assert result.stderr.startswith("--create-table makes MLModels in the login's own schema (dbo on SQL Server)")
    assert "MLModels" not in sa.inspect(engine).get_table_names()


def test_a_version_that_nobody_registered_or_whose_file_was_changed_is_not_stored(
    registered: ControlDatabase, lake: Lake, databases: Databases, engine: sa.Engine
) -> None:
    unknown = call("register-model", "churn", "7", "--database", "shop", "--create-table")
    assert unknown.stderr.startswith("Model churn has no version '7' in the registry (it has: 2, 1).")
    lake.write_bytes(f"{lake_layout.model_folder('churn', '1')}/model.skops", b"another")
    changed = call("register-model", "churn", "1", "--database", "shop", "--create-table")
    assert changed.stderr.startswith("Model churn version 1: its SHA-256 is")
    assert list_models(databases, "shop", None, "MLModels") == []
