"""A secret is named in a setting or a declaration, read when it is needed, kept for a while, and never shown."""

from __future__ import annotations

import logging
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from adfml_assets import definitions
from resources.errors import SettingInvalid, SettingMissing
from resources.key_vault import KeyVault, forget_secrets, read_secret
from resources.lake_credentials import read_credential
from resources.secret_values import read_secret_value
from resources.settings import (
    CONTROL,
    DATABRICKS_TOKEN,
    HASH_KEY,
    LANGUAGE_KEY,
    OPENAI_KEY,
    Setting,
    database_setting,
)

from .conftest import Vault


@pytest.mark.parametrize(
    "setting", [OPENAI_KEY, LANGUAGE_KEY, DATABRICKS_TOKEN, HASH_KEY, CONTROL], ids=lambda s: s.name
)
def test_every_secret_setting_can_name_a_secret(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, setting: Setting
) -> None:
    vault.put("by-name", "sqlite:///from-the-vault.sqlite")
    vault.put("declared", "from the declaration")
    monkeypatch.delenv(setting.name, raising=False)
    monkeypatch.setenv(setting.secret_name, "by-name")
    assert setting.read() == read_secret_value(setting) == "sqlite:///from-the-vault.sqlite"
    monkeypatch.setenv(setting.name, "sqlite:///own.sqlite")
    assert setting.read() == "sqlite:///own.sqlite"
    assert read_secret_value(setting, "declared") == "from the declaration"


def test_a_setting_that_is_no_secret_has_no_secret_name(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_FIRST_DAY_SECRET", "by-name")
    assert Setting("ADFML_FIRST_DAY", "a day", "2026-01-01", default="2026-01-01").read() == "2026-01-01"
    assert vault.count_reads() == 0


def test_what_is_missing_says_both_ways_to_give_it() -> None:
    with pytest.raises(SettingMissing, match=r"ADFML_HASH_KEY is not set: .*\(or, in ADFML_HASH_KEY_SECRET, the Key V"):
        HASH_KEY.read()
    assert OPENAI_KEY.read() == ""


def test_the_lake_takes_its_key_from_the_vault(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.put("lake-key", "a2V5")
    vault.put("lake-sas", "?sv=1&sig=abc")
    monkeypatch.setenv("ADFML_LAKE_KEY_SECRET", "lake-key")
    assert (read_credential().kind, read_credential().secret) == ("key", "a2V5")
    monkeypatch.setenv("ADFML_LAKE_SAS_SECRET", "lake-sas")
    assert (read_credential().kind, read_credential().secret) == ("sas", "sv=1&sig=abc")
    monkeypatch.setenv("ADFML_LAKE_KEY", "b3du")
    assert (read_credential().kind, read_credential().origin) == ("key", "ADFML_LAKE_KEY")
    assert vault.count_reads("lake-key") <= 2


def test_many_readers_ask_the_vault_once(vault: Vault) -> None:
    vault.put("shared", "value")
    read_secret("shared", "a setting")
    forget_secrets("shared")
    before = vault.count_reads("shared")
    with ThreadPoolExecutor(8) as pool:
        values = list(pool.map(lambda _: read_secret("shared", "a setting"), range(40)))
    assert values == ["value"] * 40
    assert vault.count_reads("shared") == before + 1
    assert read_secret("SHARED", "another setting") == "value"
    assert vault.count_reads() == before + 1


def test_a_rotated_secret_is_read_anew_when_it_is_old_or_on_demand(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADFML_OPENAI_KEY_SECRET", "rotated")
    vault.put("rotated", "first value")
    assert OPENAI_KEY.read() == "first value"
    vault.put("rotated", "second value")
    assert OPENAI_KEY.read() == "first value"
    assert KeyVault(cache_seconds=0).read("rotated") == "second value"
    assert OPENAI_KEY.read() == "second value"
    vault.put("rotated", "third value")
    assert KeyVault().read("rotated") == "second value"
    assert KeyVault().refresh("rotated") == "third value"
    assert OPENAI_KEY.read() == "third value"


def test_a_failed_read_is_not_kept(vault: Vault) -> None:
    with pytest.raises(Exception, match="no secret 'late'"):
        read_secret("late", "a setting")
    vault.put("late", "value")
    assert read_secret("late", "a setting") == "value"


def test_an_expired_secret_is_used_with_a_warning(vault: Vault, caplog: pytest.LogCaptureFixture) -> None:
    vault.put("old", "the old value", expires_on=datetime.now(UTC) - timedelta(days=1))
    with caplog.at_level(logging.WARNING):
        assert read_secret("old", "ADFML_OPENAI_KEY_SECRET") == "the old value"
    assert "Secret 'old' of " in caplog.text
    assert "(ADFML_OPENAI_KEY_SECRET) expired on " in caplog.text
    assert "the old value" not in caplog.text


def test_what_cannot_be_a_name_is_not_sent_and_not_repeated(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_OPENAI_KEY_SECRET", "the/value=itself")
    with pytest.raises(SettingInvalid, match="ADFML_OPENAI_KEY_SECRET is not valid: expected the name") as caught:
        OPENAI_KEY.read()
    assert "the/value" not in str(caught.value)
    assert vault.count_reads() == 0


def test_the_resource_shows_and_pickles_no_value(vault: Vault) -> None:
    vault.put("shown", "a-hidden-value")
    resource = KeyVault()
    seen = []

    @dg.asset
    def uses_a_secret(key_vault: KeyVault) -> None:
        seen.append(key_vault.read("shown"))

    with dg.instance_for_test() as instance:
        result = dg.materialize([uses_a_secret], resources={"key_vault": resource}, instance=instance)
        stored = "".join(str(record) for record in instance.all_logs(result.run_id))
        assert seen == ["a-hidden-value"]
    shown = [stored, repr(resource), str(resource), str(resource.model_dump()), str(pickle.dumps(resource))]
    assert [text for text in shown if "a-hidden-value" in text] == []


def test_definitions_load_without_reading_a_secret(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    vault.put("anything", "value")
    for setting in (CONTROL, DATABRICKS_TOKEN, HASH_KEY, OPENAI_KEY, LANGUAGE_KEY, database_setting("shop")):
        monkeypatch.delenv(setting.name, raising=False)
        monkeypatch.setenv(setting.secret_name, "anything")
    assert list(definitions.defs().resolve_all_asset_specs())
    assert vault.count_reads() == 0
