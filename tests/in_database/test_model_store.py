"""MLModels on SQLite and on a real PostgreSQL; its T-SQL is compiled and parsed."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
import sqlglot
from sqlalchemy.dialects import mssql
from sqlglot import exp

from adfml_assets.in_database import model_store_statements as statements
from adfml_assets.in_database.model_store import (
    ModelToStore,
    StoredModel,
    activate_version,
    create_store,
    list_models,
    name_file,
    read_model,
    read_statements,
    store_model,
)
from adfml_assets.in_database.server_errors import (
    ModelStoreInvalid,
    NoModelStore,
    NoSuchStoredVersion,
    VersionStored,
    WrongModelBytes,
)
from resources.control import utc_now
from resources.database import Databases
from tests.in_database.shops import open_shop

STORE = ("shop", None, "MLModels")
DIALECTS = {"sqlite": "sqlite", "duckdb": "duckdb", "postgresql": "postgres", "mssql": "tsql"}


@pytest.fixture(params=["sqlite", "duckdb", "postgresql"])
def engine(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, databases: Databases
) -> Iterator[sa.Engine]:
    """A database with an empty MLModels."""
    with open_shop(request.param, request, monkeypatch) as opened:
        create_store(databases, "shop")
        yield opened


def record(version: str, data: bytes, **changes: Any) -> ModelToStore:
    known = {"format": "skops", "features": ("recency", "größe")}
    return ModelToStore("churn", version, hashlib.sha256(data).hexdigest(), **{**known, **changes})


def store(databases: Databases, version: str, data: bytes, *, activate: bool = True, **changes: Any) -> StoredModel:
    return store_model(databases, *STORE, record(version, data, **changes), data, activate)


def list_versions(databases: Databases) -> dict[str, bool]:
    return {one.version: one.is_active for one in list_models(databases, *STORE)}


def test_a_version_is_stored_with_what_is_known_of_it(databases: Databases, engine: sa.Engine) -> None:
    data = bytes(range(256)) * 40
    before = utc_now()
    stored = store(databases, "1", data)
    assert (stored.model, stored.version, stored.format, stored.features) == (
        "churn",
        "1",
        "skops",
        ("recency", "größe"),
    )
    assert (stored.is_active, stored.bytes, stored.sha256) == (True, len(data), hashlib.sha256(data).hexdigest())
    assert 0 <= (stored.registered_at - before).total_seconds() + 0.001 < 60
    assert read_model(databases, *STORE, "churn") == (stored, data)
    assert list_models(databases, *STORE) == [stored]


def test_the_newest_is_active_and_the_older_ones_stay(databases: Databases, engine: sa.Engine) -> None:
    for version in ("1", "2", "3"):
        store(databases, version, version.encode())
    assert list_versions(databases) == {"3": True, "2": False, "1": False}
    assert read_model(databases, *STORE, "churn")[1] == b"3"
    assert read_model(databases, *STORE, "churn", "1")[1] == b"1"


def test_storing_again_changes_nothing_but_which_is_active(databases: Databases, engine: sa.Engine) -> None:
    first = store(databases, "1", b"one")
    store(databases, "2", b"two")
    assert store(databases, "2", b"two").is_active
    assert store(databases, "1", b"one", activate=False).is_active is False
    assert store(databases, "1", b"one") == first
    assert list_versions(databases) == {"2": False, "1": True}


def test_a_version_can_be_stored_beside_the_active_one_and_activated_later(
    databases: Databases, engine: sa.Engine
) -> None:
    store(databases, "1", b"one")
    store(databases, "2", b"two", activate=False)
    assert list_versions(databases) == {"2": False, "1": True}
    assert activate_version(databases, *STORE, "churn", "2").is_active
    assert list_versions(databases) == {"2": True, "1": False}


def test_other_models_keep_their_active_version(databases: Databases, engine: sa.Engine) -> None:
    store(databases, "1", b"one")
    other = ModelToStore("spend", "1", hashlib.sha256(b"s").hexdigest(), "onnx", ("a",))
    store_model(databases, *STORE, other, b"s")
    activate_version(databases, *STORE, "churn", "1")
    assert {(one.model, one.is_active) for one in list_models(databases, *STORE)} == {("churn", True), ("spend", True)}
    assert [one.model for one in list_models(databases, *STORE, "spend")] == ["spend"]


@pytest.mark.parametrize("changes", [{}, {"features": ("recency",)}, {"format": "onnx"}])
def test_a_stored_version_never_becomes_another_model(
    databases: Databases, engine: sa.Engine, changes: dict[str, Any]
) -> None:
    first = store(databases, "1", b"one")
    data = b"one" if changes else b"other"
    with pytest.raises(VersionStored, match=r"has another model as version 1 of churn already.*train a new version"):
        store(databases, "1", data, **changes)
    assert read_model(databases, *STORE, "churn") == (first, b"one")


def test_bytes_that_are_not_what_was_registered_are_not_stored(databases: Databases, engine: sa.Engine) -> None:
    with pytest.raises(WrongModelBytes, match=r"Model churn version 1: its SHA-256 is .*Nothing was stored"):
        store_model(databases, *STORE, record("1", b"registered"), b"tampered with")
    assert list_versions(databases) == {}


def test_bytes_that_were_changed_in_the_table_are_not_read(databases: Databases, engine: sa.Engine) -> None:
    store(databases, "1", b"one")
    change = sa.text('UPDATE "MLModels" SET model_data = :data')
    if engine.dialect.name != "sqlite":
        constraint = "CK_MLModels_Hash|model_sha256 = sha256"
        with engine.begin() as connection, pytest.raises(sa.exc.IntegrityError, match=constraint):
            connection.execute(change, {"data": b"other"})
        return
    with engine.begin() as connection:
        connection.execute(change, {"data": b"other"})
    with pytest.raises(WrongModelBytes, match="churn version 1 in MLModels"):
        read_model(databases, *STORE, "churn")


def test_the_database_itself_allows_one_active_version(databases: Databases, engine: sa.Engine) -> None:
    store(databases, "1", b"one")
    store(databases, "2", b"two")
    with engine.begin() as connection, pytest.raises(sa.exc.IntegrityError, match=r"(?i)unique"):
        connection.execute(sa.text('UPDATE "MLModels" SET is_active = (1 = 1)'))
    assert list_versions(databases) == {"2": True, "1": False}


def test_what_is_not_there_is_said_with_what_is(databases: Databases, engine: sa.Engine) -> None:
    store(databases, "1", b"one", activate=False)
    with pytest.raises(NoSuchStoredVersion, match=r"no version '7' of model churn \(it has: 1\)"):
        read_model(databases, *STORE, "churn", "7")
    with pytest.raises(NoSuchStoredVersion, match=r"no active version of model churn \(it has: 1\)"):
        read_model(databases, *STORE, "churn")
    with pytest.raises(NoSuchStoredVersion, match=r"no version '2'"):
        activate_version(databases, *STORE, "churn", "2")


def test_a_table_that_is_not_there_or_was_made_by_hand_is_refused(databases: Databases, engine: sa.Engine) -> None:
    file = name_file(engine.dialect.name)
    with pytest.raises(NoModelStore, match=f"no table Models: make it by resources/sql/{file}"):
        list_models(databases, "shop", None, "Models")
    with engine.begin() as connection:
        connection.execute(
            sa.text("CREATE TABLE by_hand (model_name VARCHAR(9), model_data VARCHAR(9), is_active INT)")
        )
    with pytest.raises(ModelStoreInvalid, match="by_hand lacks model_version, model_sha256, model_format, features"):
        list_models(databases, "shop", None, "by_hand")
    with engine.begin() as connection:
        connection.execute(sa.text('CREATE TABLE no_index AS SELECT * FROM "MLModels"'))
    with pytest.raises(ModelStoreInvalid, match="no_index lacks the unique index that allows one active version"):
        list_models(databases, "shop", None, "no_index")


def test_making_the_table_again_keeps_what_is_in_it(databases: Databases, engine: sa.Engine) -> None:
    store(databases, "1", b"one")
    create_store(databases, "shop")
    assert list_versions(databases) == {"1": True}


def test_writers_at_the_same_time_leave_one_active_version(databases: Databases, engine: sa.Engine) -> None:
    versions = [str(number) for number in range(1, 5)]
    errors: list[Exception] = []
    start = threading.Barrier(len(versions))

    def write(version: str) -> None:
        start.wait()
        try:
            for _ in range(5):
                store(Databases(), version, version.encode())
        except Exception as error:  # looked at below
            errors.append(error)

    threads = [threading.Thread(target=write, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = list_versions(databases)
    assert (set(found), sum(found.values())) == (set(versions), 1)


def find_table(dialect: str) -> exp.Create:
    """The CREATE TABLE of a shipped file."""
    texts = [text for text in read_statements(dialect) if "CREATE TABLE" in text]
    (tree,) = [tree for tree in sqlglot.parse(texts[0], read=DIALECTS[dialect]) if tree is not None]
    found = tree if isinstance(tree, exp.Create) else tree.find(exp.Create)
    assert isinstance(found, exp.Create)
    return found


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_shipped_table_has_the_columns_of_the_statements(dialect: str) -> None:
    columns = list(find_table(dialect).this.find_all(exp.ColumnDef))
    expected = statements.build_table(dialect, None, "MLModels").columns
    assert [column.name for column in columns] == [column.name for column in expected]
    refused = [c.name for c in columns if any(isinstance(x.kind, exp.NotNullColumnConstraint) for x in c.constraints)]
    assert refused == [column.name for column in expected]


def test_the_table_of_sql_server_holds_large_models_and_looks_at_their_hash() -> None:
    table = find_table("mssql")
    types = {c.name: c.kind.sql("tsql") for c in table.this.find_all(exp.ColumnDef)}
    assert types["model_data"] == "VARBINARY(MAX)"
    assert types["is_active"] == "BIT"
    checks = [check.sql("tsql") for check in table.find_all(exp.CheckColumnConstraint)]
    assert any("HASHBYTES('SHA2_256', model_data)" in check for check in checks)
    assert any("ISJSON(features)" in check for check in checks)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_shipped_index_is_of_the_active_versions_only(dialect: str) -> None:
    (text,) = [text for text in read_statements(dialect) if "CREATE UNIQUE INDEX" in text]
    tree = sqlglot.parse_one(text, read=DIALECTS[dialect]).find(exp.Index)
    assert tree is not None
    parameters = tree.args["params"]
    if dialect == "duckdb":  # it has no partial indexes: NULL of the others is no key
        (only,) = parameters.args["columns"]
        assert only.sql("duckdb").startswith("(CASE WHEN is_active THEN model_name END)")
        return
    assert [column.this.name for column in parameters.args["columns"]] == ["model_name"]
    assert parameters.args["where"].this.find(exp.Column).name == "is_active"


def compile_tsql(statement: Any) -> exp.Expression:
    text = str(statement.compile(dialect=mssql.dialect(paramstyle="qmark")))
    return sqlglot.parse_one(text, read="tsql")


def test_on_sql_server_a_name_is_locked_before_it_is_looked_at() -> None:
    table = statements.build_table("mssql", "dbo", "MLModels")
    text = str(statements.lock(table, "churn").compile(dialect=mssql.dialect()))
    assert "WITH (UPDLOCK, HOLDLOCK)" in text
    tree = sqlglot.parse_one(text, read="tsql")
    assert {t.sql("tsql") for t in tree.find_all(exp.Table)} == {"dbo.[MLModels] WITH (UPDLOCK, HOLDLOCK)"}


def test_on_sql_server_the_statements_are_tsql() -> None:
    table = statements.build_table("mssql", "dbo", "MLModels")
    data = record("1", b"one")
    insert = compile_tsql(statements.insert(table, data, data.sha256, b"one", utc_now()))
    assert len(insert.this.expressions) == len(table.columns)
    deactivate = compile_tsql(statements.deactivate_others(table, "churn", "2"))
    assert deactivate.args["where"].sql("tsql").endswith("is_active = 1")
    assert compile_tsql(statements.activate(table, "churn", "2")).find(exp.Update) is not None
    chosen = compile_tsql(statements.select(table, "churn", None, data=True))
    assert isinstance(chosen, exp.Select)
    assert "DATALENGTH(" in chosen.sql("tsql").upper()
    assert chosen.named_selects[-1] == "model_data"
    listed = compile_tsql(statements.list_all(table, None))
    assert isinstance(listed, exp.Select)
    assert "model_data" not in listed.named_selects


def test_a_dedicated_pool_has_a_table_of_its_own_and_no_lock() -> None:
    (text,) = read_statements("mssql", is_pool=True)
    names = re.findall(r"(?m)^    (\w+) [a-z]", text)
    table = statements.build_table("mssql", "dbo", "MLModels", is_pool=True)
    assert names == [column.name for column in table.columns]
    assert "WITH (DISTRIBUTION = ROUND_ROBIN, HEAP)" in text
    assert statements.lock(table, "churn") is None
