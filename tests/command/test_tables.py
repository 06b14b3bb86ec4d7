"""`adfml tables`: a database becomes a declaration that this project takes, with what speaks for each suggestion."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml

from adfml_assets.archive.suggestions import find_watermarks, name_personal
from adfml_assets.declarations import find_mistakes
from adfml_cli.tables_yaml import quote
from resources.servers.base import Column, TableName, TableSchema
from tests.command.conftest import call

SCRIPT = """
CREATE TABLE Orders (OrderId INTEGER PRIMARY KEY, CustomerEMail TEXT, ModifiedDate DATETIME, CreatedAt DATETIME);
CREATE TABLE Countries (Code VARCHAR(2), Name TEXT);
CREATE TABLE "Ab-c" (Id INTEGER PRIMARY KEY);
CREATE TABLE "Ab c" (Id INTEGER PRIMARY KEY);
CREATE TABLE tmp_1 (x INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
INSERT INTO Orders SELECT i, 'a@b.c', CASE WHEN i > 3 THEN '2026-03-01 10:00:00' END, '2026-03-01 10:00:00' FROM n;
"""


@pytest.fixture
def crm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    monkeypatch.setenv("ADFML_CRM_URL", f"sqlite:///{tmp_path}/crm.sqlite")
    with closing(sqlite3.connect(tmp_path / "crm.sqlite")) as connection:
        connection.executescript(SCRIPT)
        yield connection


def read(text: str) -> dict[str, dict[str, Any]]:
    return {table["table"]: table for table in yaml.safe_load(text)["attributes"]["tables"]}


def test_a_database_becomes_a_valid_declaration(crm: sqlite3.Connection, tmp_path: Path) -> None:
    file = tmp_path / "new" / "defs.yaml"
    result = call("tables", "crm", "--exclude", "*.tmp_*", "--large-rows", "50", "--hash-personal", "-o", str(file))
    assert result.exit_code == 0, result.stderr
    assert f"{file} declares 4 tables." in result.stdout
    assert list(find_mistakes(file)) == []
    tables = read(file.read_text())
    assert sorted(tables) == ["main.Ab c", "main.Ab-c", "main.Countries", "main.Orders"]
    assert tables["main.Orders"] == {
        "table": "main.Orders",
        "mode": "incremental",
        "watermark": "ModifiedDate",
        "hash": ["CustomerEMail"],
    }
    assert {tables["main.Ab c"].get("asset_name"), tables["main.Ab-c"].get("asset_name")} == {None, "Ab_c_2"}
    assert "3 rows have none: they are in no extract" in file.read_text()
    again = call("tables", "crm", "-o", str(file))
    assert (again.exit_code, "is there already, and stays as it is" in again.stderr) == (1, True)


def test_small_tables_are_copied_whole_and_personal_data_is_a_remark(crm: sqlite3.Connection) -> None:
    text = call("tables", "crm").stdout
    assert read(text)["main.Orders"] == {"table": "main.Orders"}
    assert "- table: main.Orders # 50 rows, 4 columns, key OrderId" in text
    assert "# hash: [CustomerEMail] # or leave_out" in text
    assert "# Could be followed by: ModifiedDate, CreatedAt, OrderId" in text
    assert "main.Countries # 0 rows, 2 columns, no primary key" in text


def test_json_has_columns_keys_and_candidates(crm: sqlite3.Connection) -> None:
    document = json.loads(call("tables", "crm", "--include", "main.O*", "--json").stdout)
    (orders,) = document["tables"]
    assert (orders["rows"], orders["primary_key"]) == (50, ["OrderId"])
    assert [one["column"] for one in orders["watermarks"]] == ["ModifiedDate", "CreatedAt", "OrderId"]
    assert orders["personal_data"] == {"CustomerEMail": "e-mail address"}
    assert read(document["yaml"])["main.Orders"] == {"table": "main.Orders"}


def test_a_table_that_cannot_be_read_is_a_remark_and_holds_up_no_other(crm: sqlite3.Connection) -> None:
    crm.execute("CREATE VIRTUAL TABLE Found USING fts5(text)")
    crm.commit()
    document = json.loads(call("tables", "crm", "--include", "main.Orders", "--include", "main.F*", "--json").stdout)
    assert list(read(document["yaml"]))[-1:] == ["main.Orders"]
    for one in document["tables"]:
        if one["problem"]:
            assert f'# - table: "{one["table"]}" #' in document["yaml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("crm", "--include", "dbo.*"), "No table of crm is chosen by the patterns; it has: main.Ab c,"),
        (("sales",), "ADFML_SALES_URL is not set"),
    ],
)
def test_what_is_not_there_is_one_sentence(crm: sqlite3.Connection, arguments: tuple[str, ...], said: str) -> None:
    result = call("tables", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("CustomerEMail", "e-mail address"),
        ("e_mail", "e-mail address"),
        ("PHONE_NUMBER", "telephone number"),
        ("DateOfBirth", "date of birth"),
        ("DOB", "date of birth"),
        ("ClientIPAddress", "network address"),
        ("billing_zip", "postal address"),
        ("lastName", "person's name"),
        ("pwd_hash", "password or its hash"),
        ("Zipper", None),
        ("Shipping", None),
        ("Description", None),
        ("ProductName", None),
        ("Company", None),
        ("", None),
    ],
)
def test_personal_data_is_known_by_whole_words(name: str, kind: str | None) -> None:
    assert name_personal(name) == kind


def test_rowversion_comes_before_a_date_and_a_key_last() -> None:
    columns = (
        Column("Id", "int", pa.int32()),
        Column("UpdatedAt", "datetime2(7)", pa.string()),
        Column("Version", "timestamp", pa.binary(8)),
        Column("Amount", "int", pa.int32()),
    )
    found = find_watermarks(TableSchema(TableName("dbo", "T"), columns, ("Id",)))
    assert [(one.column, one.kind, one.sees_changes) for one in found] == [
        ("Version", "rowversion", True),
        ("UpdatedAt", "datetime", True),
        ("Id", "integer", False),
    ]


@pytest.mark.parametrize(
    "text", ["on", "a b", "a: b", '"', "#1", "-x", "1e5", "é", "😀", "12_3", "{{ x }}", "null", "a.b", "T_1"]
)
def test_any_name_stays_itself_in_yaml(text: str) -> None:
    assert yaml.safe_load(f"name: {quote(text)} # remark") == {"name": text}
