"""A secret that cannot be read is one sentence: what the service says, and which setting to look at."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from azure.keyvault.secrets._shared import http_challenge_cache

from resources import key_vault_client
from resources.errors import Refused, ResourceError, SettingInvalid, SettingMissing, Unreachable
from resources.key_vault import read_secret
from resources.secret_values import read_secret_value
from resources.settings import OPENAI_KEY

from .conftest import Vault


def test_a_secret_that_is_not_there(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_OPENAI_KEY_SECRET", "nothing")
    with pytest.raises(
        Refused, match=rf"Key Vault at {vault.url} refused: it has no secret 'nothing'\. Check ADFML_OPENAI"
    ):
        OPENAI_KEY.read()
    with pytest.raises(
        Refused, match=r"no secret 'none'\. Check the declaration's secret 'none' \(for ADFML_OPENAI_KEY"
    ):
        read_secret_value(OPENAI_KEY, "none")


def test_a_disabled_secret(vault: Vault) -> None:
    vault.put("off", "value", enabled=False)
    expected = r"secret 'off': status 403 SecretDisabled: Operation get is not allowed .* Check X, or enable the secret"
    with pytest.raises(Refused, match=expected):
        read_secret("off", "X")


def test_an_empty_secret(vault: Vault) -> None:
    vault.put("empty", "")
    with pytest.raises(Refused, match=r"secret 'empty' is empty\. Check X"):
        read_secret("empty", "X")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "behaviour", "name": "key_vault.forbidden"}, r"ForbiddenByRbac: Caller.*role Key Vault Secrets User"),
        ({"kind": "behaviour", "name": "key_vault.firewall"}, r"ForbiddenByFirewall: Client.*firewall \(Networking\)"),
        (
            {"kind": "status", "code": 401, "times": 9},
            r"refused: .*401.*Check that the identity is of the vault's tenant",
        ),
        ({"kind": "status", "code": 400}, r"secret 'some': status 400 .*Check X"),
        ({"kind": "status", "code": 404}, r"it is no Key Vault \(status 404 .*Check ADFML_KEY_VAULT_URL"),
    ],
    ids=["no role", "firewall", "not taken", "bad request", "no vault"],
)
def test_a_vault_that_refuses(vault: Vault, fault: dict[str, object], expected: str) -> None:
    vault.put("some", "value")
    vault.order(path="/secrets/*", **fault)
    with pytest.raises(Refused, match=expected):
        read_secret("some", "X")


def test_a_vault_that_asks_for_another_services_token_gets_none(vault: Vault) -> None:
    vault.put("some", "value")
    vault.order(kind="behaviour", name="key_vault.other_resource")
    http_challenge_cache.clear()  # the SDK knows this vault's challenge for as long as the process lives
    with pytest.raises(Refused, match=r"token for https://management\.azure\.com/\.default, which is not Key Vault's"):
        read_secret("some", "X")
    http_challenge_cache.clear()


def test_no_identity(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDENTITY_HEADER", "wrong-header-value")
    with pytest.raises(
        Refused, match=r"no identity could sign in \(\w+: .*Check that this machine has a managed"
    ) as caught:
        read_secret("some", "X")
    assert "wrong-header-value" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "error", "expected"),
    [
        (None, SettingMissing, "ADFML_KEY_VAULT_URL is not set: the Key Vault that holds"),
        ("http://127.0.0.1:1", SettingInvalid, "ADFML_KEY_VAULT_URL is not valid: expected an https address"),
        ("https://a.vault.azure.net/secrets/x", SettingInvalid, "ADFML_KEY_VAULT_URL is not valid"),
        ("https://user:pass@a.vault.azure.net", SettingInvalid, "ADFML_KEY_VAULT_URL is not valid"),
        ("https://no-such-vault.invalid", Unreachable, "the name does not resolve.*Check ADFML_KEY_VAULT_URL"),
        ("https://127.0.0.1:{free}", Unreachable, "connection refused.*Check ADFML_KEY_VAULT_URL"),
    ],
)
def test_a_wrong_address(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, url: str | None, error: type[ResourceError], expected: str
) -> None:
    monkeypatch.setattr(key_vault_client, "RETRIES", 0)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        if url is None:
            monkeypatch.delenv("ADFML_KEY_VAULT_URL")
        else:
            monkeypatch.setenv("ADFML_KEY_VAULT_URL", url.format(free=free.getsockname()[1]))
        with pytest.raises(error, match=expected):
            read_secret("some", "X")


def test_an_authority_that_is_not_trusted(vault: Vault, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(key_vault_client, "RETRIES", 0)
    monkeypatch.delenv("ADFML_CA_BUNDLE")
    with pytest.raises(
        Unreachable, match=r"of no authority that is trusted.*Check ADFML_KEY_VAULT_URL, and ADFML_CA_B"
    ):
        read_secret("some", "X")
    monkeypatch.setenv("ADFML_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(
        SettingInvalid, match=r"ADFML_CA_BUNDLE is not valid: expected a PEM file \(.*none\.pem is none"
    ):
        read_secret("some", "X")
