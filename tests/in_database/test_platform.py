"""What a server can score by, read from the server; what it cannot is refused in one sentence that says what to use."""

from __future__ import annotations

from typing import Any

import pytest
import sqlglot

from adfml_assets.in_database.platform import (
    SELECT_PLATFORM,
    SELECT_SCRIPTS,
    Platform,
    choose_way,
    describe_dialect,
    describe_sql_server,
    read_platform,
)
from adfml_assets.in_database.server_errors import WayUnavailable
from resources.database import Databases
from tests.in_database.shops import open_shop

EDITIONS = {"box": 3, "express": 4, "azure_sql": 5, "dedicated_pool": 6, "managed_instance": 8, "serverless": 11}


def describe(name: str, *, version: str = "16.0.4185.3", installed: bool = True, enabled: bool = True) -> Platform:
    return describe_sql_server(EDITIONS[name], version, installed=installed, enabled=enabled)


@pytest.mark.parametrize(
    ("name", "compiled", "predict", "external_script"),
    [
        ("box", True, ("revoscale",), ("skops", "onnx", "pickle")),
        ("express", True, ("revoscale",), ("skops", "onnx", "pickle")),
        ("azure_sql", True, (), ()),
        ("dedicated_pool", False, ("onnx",), ()),
        ("managed_instance", True, ("revoscale",), ("onnx",)),
        ("serverless", False, (), ()),
    ],
)
def test_every_edition_has_the_ways_that_are_documented(
    name: str, compiled: bool, predict: tuple[str, ...], external_script: tuple[str, ...]
) -> None:
    found = describe(name)
    assert (found.compiled, found.predict_kinds, found.script_kinds) == (compiled, predict, external_script)
    assert (found.predict, found.external_script) == (bool(predict), bool(external_script))
    ways = {"compiled": found.compiled, "predict": found.predict, "external_script": found.external_script}
    assert set(found.reasons) == {way for way, there in ways.items() if not there}


def test_predict_on_azure_sql_database_is_refused_in_one_sentence() -> None:
    with pytest.raises(WayUnavailable) as raised:
        choose_way(describe("azure_sql"), "revoscale", "predict")
    assert str(raised.value) == (
        "PREDICT does not exist on Azure SQL Database: use an engine outside (databricks, azure_ml_batch or "
        "azure_ml_online)."
    )
    with pytest.raises(WayUnavailable) as raised:
        choose_way(describe("azure_sql"), "skops", "predict")
    assert str(raised.value) == (
        "PREDICT does not exist on Azure SQL Database: use compiled SQL (way: compiled), or an engine outside "
        "(databricks, azure_ml_batch or azure_ml_online)."
    )
    assert (raised.value.platform, raised.value.way) == ("Azure SQL Database", "predict")


@pytest.mark.parametrize(
    ("name", "kind", "way", "message"),
    [
        ("box", "onnx", "predict", "takes models that revoscalepy or RevoScaleR made .* this one is stored as onnx"),
        ("box", "skops", "predict", r"stored as skops: use compiled SQL \(way: compiled\)"),
        ("dedicated_pool", "skops", "predict", "takes ONNX models only.*: store the model as .onnx, or use an engine"),
        ("dedicated_pool", "skops", "compiled", "enforces no keys"),
        ("dedicated_pool", "onnx", "external_script", r"does not exist on Synapse .*: use PREDICT \(way: predict\)"),
        (
            "managed_instance",
            "skops",
            "external_script",
            "Python 3.7 of Azure SQL Managed .* has no scikit-learn",
        ),
        ("azure_sql", "onnx", "external_script", "sp_execute_external_script does not exist on Azure SQL Database"),
        ("azure_sql", "onnx", "compiled", "a model stored as onnx has no SQL"),
        ("serverless", "onnx", "auto", "compiled SQL was not made for Synapse serverless.*; PREDICT does not exist"),
        ("box", "revoscale", "external_script", r"scored by PREDICT, not by a script: use PREDICT \(way: predict\)"),
    ],
)
def test_what_is_not_possible_is_said_with_what_is(name: str, kind: Any, way: Any, message: str) -> None:
    with pytest.raises(WayUnavailable, match=message) as raised:
        choose_way(describe(name), kind, way)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("box", "skops", "compiled"),
        ("box", "revoscale", "predict"),
        ("box", "onnx", "external_script"),
        ("azure_sql", "skops", "compiled"),
        ("managed_instance", "onnx", "external_script"),
        ("dedicated_pool", "onnx", "predict"),
    ],
)
def test_the_first_way_that_works_is_chosen_and_the_others_explained(name: str, kind: Any, expected: str) -> None:
    chosen = choose_way(describe(name), kind)
    assert chosen.way == expected
    order = ("compiled", "predict", "external_script")
    assert len(chosen.reasons) == order.index(expected) + 1


def test_a_model_without_sql_goes_the_next_way() -> None:
    why = "the model: MLPRegressor cannot be compiled to SQL"
    chosen = choose_way(describe("box"), "skops", cannot_compile=why)
    assert chosen.way == "external_script"
    assert chosen.reasons[0] == f"Not compiled SQL: {why}."
    with pytest.raises(WayUnavailable, match="MLPRegressor cannot be compiled to SQL: use an engine outside"):
        choose_way(describe("azure_sql"), "skops", "compiled", cannot_compile=why)


def test_a_way_that_is_declared_and_possible_is_taken() -> None:
    assert choose_way(describe("box"), "skops", "external_script").way == "external_script"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"installed": False}, "Machine Learning Services are not installed on this SQL Server"),
        ({"enabled": False}, "external scripts are off .*EXEC sp_configure 'external scripts enabled', 1; RECONFIGURE"),
        ({"version": "13.0.6300.2"}, r"does not exist on SQL Server before 2017 \(13.0.6300.2\) for Python"),
    ],
)
def test_a_server_that_is_not_set_up_for_scripts_says_what_to_do(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WayUnavailable, match=message):
        choose_way(describe("box", **changes), "onnx", "external_script")


def test_before_2017_there_is_no_predict() -> None:
    with pytest.raises(WayUnavailable, match=r"PREDICT does not exist on SQL Server before 2017 \(13.0\)"):
        choose_way(describe("box", version="13.0"), "revoscale", "predict")


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgresql"])
def test_a_real_server_says_what_it_is(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, databases: Databases
) -> None:
    with open_shop(kind, request, monkeypatch), databases.connect("shop") as connection:
        found = read_platform(connection)
    assert found.name == {"sqlite": "SQLite", "duckdb": "DuckDB", "postgresql": "PostgreSQL"}[kind]
    assert found.version[0].isdigit()
    assert str(found) == f"{found.name} {found.version}"
    assert (found.compiled, found.predict, found.external_script) == (True, False, False)
    with pytest.raises(WayUnavailable, match=f"PREDICT is T-SQL, and {found.name} has none: use compiled SQL"):
        choose_way(found, "skops", "predict")


def test_a_database_that_nobody_knows_can_do_nothing() -> None:
    with pytest.raises(WayUnavailable, match="models are not compiled to the SQL of oracle; PREDICT is T-SQL"):
        choose_way(describe_dialect("oracle"), "skops")


class Answers:
    """A connection to a SQL Server that answers two questions; no T-SQL runs here."""

    def __init__(self, platform: tuple[Any, ...], scripts: int | None) -> None:
        self.asked: list[str] = []
        self.dialect = type("Dialect", (), {"name": "mssql"})
        self._platform, self._scripts = platform, scripts

    def exec_driver_sql(self, text: str) -> Any:
        self.asked.append(text)
        return self

    def one(self) -> Any:
        return self._platform

    def scalar(self) -> Any:
        return self._scripts


@pytest.mark.parametrize(
    ("platform", "scripts", "questions", "script_kinds"),
    [
        ((3, "16.0.4185.3", 1), 1, 2, ("skops", "onnx", "pickle")),
        ((3, "16.0.4185.3", 1), 0, 2, ()),
        ((8, "12.0.2000.8", None), 1, 2, ("onnx",)),
        ((5, "12.0.2000.8", None), None, 1, ()),
        ((6, None, None), None, 1, ()),
    ],
)
def test_a_sql_server_is_asked_for_its_edition_and_only_where_there_are_scripts_for_their_setting(
    platform: tuple[Any, ...], scripts: int | None, questions: int, script_kinds: tuple[str, ...]
) -> None:
    connection = Answers(platform, scripts)
    found = read_platform(connection)  # type: ignore[arg-type]
    assert connection.asked == [SELECT_PLATFORM, SELECT_SCRIPTS][:questions]
    assert (found.edition, found.script_kinds) == (platform[0], script_kinds)


@pytest.mark.parametrize("text", [SELECT_PLATFORM, SELECT_SCRIPTS])
def test_the_questions_are_tsql(text: str) -> None:
    assert sqlglot.parse_one(text, read="tsql").find(sqlglot.exp.Select) is not None
