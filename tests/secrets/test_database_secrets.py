"""A database's URL, or only its password, is a secret of the Key Vault: from a setting or from a declaration."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from adfml_assets.components.archived_database import ArchivedDatabase, ArchivedTable
from resources.completion_log import CompletionLog
from resources.control import ControlDatabase, utc_now
from resources.database import Databases, build_engine, describe_address
from resources.errors import SettingInvalid, Unreachable
from resources.key_vault import forget_secrets
from resources.lake import Lake
from resources.secret_values import DatabaseSecrets
from resources.settings import CONTROL, database_setting

from .conftest import PasswordServer, Vault

PASSWORD = "p@ss/w:rd %41+?#"  # what is not encoded for a URL would break it
SHOP = database_setting("shop")


@pytest.fixture(autouse=True)
def _password(server: PasswordServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.set_password(PASSWORD)
    monkeypatch.delenv("ADFML_SHOP_URL")


def count_customers(databases: Databases, secrets: DatabaseSecrets | None = None) -> int:
    engine = databases.engine("shop", secrets) if secrets else databases.engine("shop")
    with engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM customers")).scalar_one())


def test_the_whole_url_is_a_secret(vault: Vault, server: PasswordServer, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.put("shop-url", server.url.set(password=PASSWORD).render_as_string(hide_password=False))
    monkeypatch.setenv("ADFML_SHOP_URL_SECRET", "shop-url")
    assert count_customers(Databases()) == 50


def test_the_password_alone_is_a_secret(vault: Vault, server: PasswordServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_SHOP_URL", str(server.url))
    with pytest.raises(Unreachable, match="no password supplied"), Databases().connect("shop"):
        pass
    vault.put("shop-password", PASSWORD)
    monkeypatch.setenv("ADFML_SHOP_PASSWORD_SECRET", "shop-password")
    assert count_customers(Databases()) == 50
    monkeypatch.setenv("ADFML_SHOP_PASSWORD", "wrong")
    with pytest.raises(Unreachable, match="password authentication failed"), Databases().connect("shop"):
        pass


def test_a_declaration_names_the_url_or_the_password(
    vault: Vault, server: PasswordServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.put("declared-url", str(server.url))
    vault.put("declared-password", PASSWORD)
    monkeypatch.setenv("ADFML_SHOP_URL", "postgresql+psycopg://other@no-such-host.invalid/x")
    secrets = DatabaseSecrets(url="declared-url", password="declared-password")
    assert count_customers(Databases(), secrets) == 50
    monkeypatch.setenv("ADFML_SHOP_URL", str(server.url))
    assert count_customers(Databases(), DatabaseSecrets(password="declared-password")) == 50


def test_a_password_in_the_url_goes_first(
    vault: Vault, server: PasswordServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADFML_SHOP_URL", server.url.set(password=PASSWORD).render_as_string(hide_password=False))
    monkeypatch.setenv("ADFML_SHOP_PASSWORD", "wrong")
    assert count_customers(Databases()) == 50


def test_a_rotated_password_is_used_by_the_next_run(
    vault: Vault, server: PasswordServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADFML_SHOP_URL", str(server.url))
    monkeypatch.setenv("ADFML_SHOP_PASSWORD_SECRET", "rotating")
    vault.put("rotating", PASSWORD)
    assert count_customers(Databases()) == 50
    server.set_password("another password")
    vault.put("rotating", "another password")
    with pytest.raises(Unreachable, match="password authentication failed"), Databases().connect("shop"):
        pass
    forget_secrets()  # a run is a process of its own, and begins without any
    assert count_customers(Databases()) == 50


def test_the_control_databases_password_is_its_own(
    vault: Vault, server: PasswordServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.running.execute("DROP SCHEMA IF EXISTS planted CASCADE", "CREATE SCHEMA planted AUTHORIZATION planted")
    vault.put("control-password", PASSWORD)
    monkeypatch.setenv("ADFML_CONTROL_URL", str(server.url))
    monkeypatch.setenv("ADFML_CONTROL_PASSWORD_SECRET", "control-password")
    monkeypatch.setenv("ADFML_SHOP_URL", str(server.url))
    assert ControlDatabase().ledger.list_jobs() == []
    with pytest.raises(Unreachable, match="no password supplied"), Databases().connect("shop"):
        pass


def test_a_password_without_a_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_SHOP_URL", "mssql+mssqlpython://@server:1433/db?Encrypt=yes")
    assert SHOP.read() == "mssql+mssqlpython://@server:1433/db?Encrypt=yes"
    monkeypatch.setenv("ADFML_SHOP_PASSWORD", PASSWORD)
    with pytest.raises(
        SettingInvalid, match=r"ADFML_SHOP_URL is not valid: expected a user .* as ADFML_SHOP_PASSWORD"
    ) as e:
        SHOP.read()
    assert PASSWORD not in str(e.value)


@pytest.mark.parametrize("given", ["sqlite:///x.sqlite", "no url at all"])
def test_what_needs_no_password_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("ADFML_CONTROL_URL", given)
    monkeypatch.setenv("ADFML_CONTROL_PASSWORD", PASSWORD)
    assert CONTROL.read() == given


@pytest.mark.parametrize(
    "address",
    [
        "postgresql+psycopg://u:x@geheim@h/db",
        "postgresql+psycopg://u:x@h/geheim@h/db",
        "postgresql+psycopg://u:x@h/w:rd+geheim=%?&@h/db",
        "postgresql+psycopg://u:geheim h",
        "mssql+nosuch://u:geheim@h/db",
    ],
)
def test_a_password_that_is_not_encoded_is_not_shown_as_a_host(address: str) -> None:
    with pytest.raises(SettingInvalid, match="ADFML_SHOP_URL is not valid") as caught:
        build_engine(address, SHOP)
    assert "geheim" not in str(caught.value)


def test_an_address_shows_no_password_wherever_it_is() -> None:
    address = "postgresql+psycopg://u:geheim@h:5/db?sslmode=require&password=geheim&sslpassword=geheim&host=/run/pg"
    shown = describe_address(sa.create_engine(address))
    assert shown == "postgresql+psycopg://u:***@h:5/db?host=%2Frun%2Fpg&sslmode=require"


def test_an_archive_declares_the_secrets_of_its_database(
    vault: Vault, server: PasswordServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    vault.put("archive-url", str(server.url))
    vault.put("archive-password", PASSWORD)
    monkeypatch.setenv("ADFML_FIRST_DAY", "2026-01-01")
    component = ArchivedDatabase(
        database="shop",
        tables=[ArchivedTable("public.customers")],
        url_secret="archive-url",
        password_secret="archive-password",
    )
    defs = component.build_defs_from_state(None, None)  # type: ignore[arg-type]
    today = utc_now().strftime("%Y-%m-%d")
    assets = [asset for asset in defs.assets or () if isinstance(asset, dg.AssetsDefinition)]
    resources = {
        "databases": Databases(),
        "lake": Lake(),
        "control": ControlDatabase(),
        "completion_log": CompletionLog(),
    }
    assert dg.materialize(assets, partition_key=today, resources=resources).success
    component.include = ["public.*"]
    component.write_state_to_path(tmp_path / "state.json")
    assert "customers" in (tmp_path / "state.json").read_text()
