"""The lake is signed in to with what is set, in a fixed order, and no secret is ever shown."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from resources.errors import Refused, ResourceError, SettingInvalid, SettingMissing
from resources.lake import Lake
from resources.lake_credentials import LakeCredential, read_credential
from tests.azurite_server import Account

VAULT = "https://vault.vault.azure.net"


class Vault:
    """In the place of Azure's client, which wants a vault of Azure's: secrets by name, and how often they were read."""

    def __init__(self, secrets: dict[str, str]) -> None:
        self.secrets = secrets
        self.reads: list[tuple[str, str]] = []

    def open(self, url: str, credential: object, **_options: object) -> Vault:
        self.url = url
        return self

    def __enter__(self) -> Vault:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def get_secret(self, name: str) -> Any:
        from azure.core.exceptions import ResourceNotFoundError
        from azure.keyvault.secrets import KeyVaultSecret, SecretProperties

        self.reads.append((self.url, name))
        if name not in self.secrets:
            raise ResourceNotFoundError(f"{name} not found")
        return KeyVaultSecret(SecretProperties(), self.secrets[name])


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Vault:
    vault = Vault({"the-key": "a2V5", "the-sas": "?sig=s"})
    monkeypatch.setattr("azure.keyvault.secrets.SecretClient", vault.open)
    monkeypatch.setenv("ADFML_KEY_VAULT_URL", f"{VAULT}/")
    return vault


def test_the_order_is_sas_key_vault_identity(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_credential().kind == "identity"
    monkeypatch.setenv("ADFML_LAKE_KEY_SECRET", "the-key")
    assert read_credential() == LakeCredential("key", "Key Vault secret the-key", "a2V5")
    monkeypatch.setenv("ADFML_LAKE_SAS_SECRET", "the-sas")
    assert read_credential() == LakeCredential("sas", "Key Vault secret the-sas", "sig=s")
    assert vault.reads == [(VAULT, "the-key"), (VAULT, "the-sas")]
    monkeypatch.setenv("ADFML_LAKE_KEY", "b3duIGtleQ==")
    assert read_credential() == LakeCredential("key", "ADFML_LAKE_KEY", "b3duIGtleQ==")
    monkeypatch.setenv("ADFML_LAKE_SAS", "?sig=own")
    assert read_credential() == LakeCredential("sas", "ADFML_LAKE_SAS", "sig=own")
    assert len(vault.reads) == 2


@pytest.mark.parametrize("kind", ["key", "sas"])
def test_a_secret_of_the_vault_opens_the_lake_and_is_read_once(
    account: Account, vault: Vault, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.delenv("ADFML_LAKE_KEY")
    vault.secrets["lake"] = account.key if kind == "key" else account.sign()
    monkeypatch.setenv(f"ADFML_LAKE_{kind.upper()}_SECRET", "lake")
    lake = Lake()
    for container in ("archive", "ml"):
        lake.write_bytes(f"{container}/x/y", b"1")
        lake.delete(f"{container}/x/y")
        assert lake.list_files(f"{container}/x") == []
    assert vault.reads == [(VAULT, "lake")]


def test_a_secret_that_is_not_in_the_vault_is_named(
    account: Account, vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ADFML_LAKE_KEY")
    monkeypatch.setenv("ADFML_LAKE_KEY_SECRET", "nothing")
    with pytest.raises(
        Refused, match=rf"Key Vault at {VAULT} refused: it has no secret 'nothing'. Check ADFML_LAKE_KEY_S"
    ):
        Lake().read_bytes("ml/x")
    monkeypatch.delenv("ADFML_KEY_VAULT_URL")
    with pytest.raises(SettingMissing, match="ADFML_KEY_VAULT_URL is not set: the Key Vault that holds"):
        Lake().read_bytes("ml/x")


def test_what_the_environment_says_to_other_tools_does_not_matter(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc=")
    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sig=wrong")
    monkeypatch.setenv("AZURE_STORAGE_TOKEN", "wrong")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "other")
    lake = Lake()
    lake.write_bytes("ml/x/y", b"1")
    assert lake.list_files("ml/x") == ["ml/x/y"]


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("ADFML_LAKE_KEY", "no-geheim-key", "ADFML_LAKE_KEY to hold an account key as the portal"),
        ("ADFML_LAKE_SAS", "https://a.blob.core.windows.net?sig=geheim", "ADFML_LAKE_SAS to hold a SAS token"),
        ("ADFML_LAKE_SAS", "geheim", "ADFML_LAKE_SAS to hold a SAS token"),
        ("ADFML_LAKE_KEY_SECRET", "the-sas", "Key Vault secret the-sas to hold an account key"),
    ],
)
def test_what_has_not_the_form_of_a_secret_is_said_without_it(
    account: Account, vault: Vault, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, expected: str
) -> None:
    monkeypatch.delenv("ADFML_LAKE_KEY")
    monkeypatch.setenv(setting, value)
    with pytest.raises(SettingInvalid, match=f"{setting} is not valid: expected {expected}") as caught:
        Lake().list_files("ml/x")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("kind", ["key", "sas"])
def test_secrets_are_in_no_error_representation_or_log(
    account: Account, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level(logging.DEBUG)
    token = account.sign(permission="rl", hours=-1)
    wrong = account.key[:10] + "A" * (len(account.key) - 12) + "=="
    secrets = [token.partition("sig=")[2][:20], wrong[:20]]
    monkeypatch.setenv("ADFML_LAKE_KEY", wrong)
    if kind == "sas":
        monkeypatch.setenv("ADFML_LAKE_SAS", token)
    lake = Lake()
    shown = [repr(read_credential()), str(read_credential())]
    for act in (
        lambda: lake.write_bytes("ml/x/y", b"1"),
        lambda: lake.read_bytes("ml/x/y"),
        lambda: lake.list_files("ml/x"),
        lambda: lake.delete("ml/x/y"),
        lambda: lake.read_table("ml/x/y"),
    ):
        with pytest.raises(ResourceError) as caught:
            act()
        assert isinstance(caught.value, Refused), caught.value
        assert caught.value.__cause__ is None
        shown += [str(caught.value), repr(caught.value), repr(caught.value.args)]
    shown += [repr(lake), str(lake), repr(lake.store("ml")), caplog.text, lake.uri("ml/x"), str(lake.model_dump())]
    assert [secret for secret in secrets for text in shown if secret in text] == []
