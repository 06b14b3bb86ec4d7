"""The local cloud's key vault is what the official client expects, over real TLS."""

from __future__ import annotations

import stat
from pathlib import Path

import httpx
import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError, ServiceRequestError
from azure.identity import DefaultAzureCredential

from local_cloud.process import LocalCloud

from .conftest import Vault, open_vault


def test_a_secret_has_versions_and_the_newest_is_given(vault: Vault) -> None:
    first = vault.client.set_secret("protocol", "one", tags={"owner": "data"}, content_type="text/plain")
    second = vault.client.set_secret("protocol", "two")
    assert vault.client.get_secret("protocol").value == "two"
    assert vault.client.get_secret("PROTOCOL").value == "two"
    kept = vault.client.get_secret("protocol", first.properties.version)
    assert (kept.value, kept.properties.tags, kept.properties.content_type) == ("one", {"owner": "data"}, "text/plain")
    versions = {one.version for one in vault.client.list_properties_of_secret_versions("protocol")}
    assert versions == {first.properties.version, second.properties.version}
    assert "protocol" in {one.name for one in vault.client.list_properties_of_secrets()}


def test_a_disabled_secret_is_refused_and_can_be_enabled(vault: Vault) -> None:
    vault.client.set_secret("disabled", "value")
    vault.client.update_secret_properties("disabled", enabled=False)
    with pytest.raises(HttpResponseError, match="not allowed on a disabled secret") as caught:
        vault.client.get_secret("disabled")
    assert (caught.value.status_code, caught.value.error.innererror) == (403, {"code": "SecretDisabled"})
    vault.client.update_secret_properties("disabled", enabled=True)
    assert vault.client.get_secret("disabled").value == "value"


@pytest.mark.parametrize(
    ("name", "version", "error", "code"),
    [
        ("nothing", "", ResourceNotFoundError, "SecretNotFound"),
        ("known", "0" * 32, ResourceNotFoundError, "SecretNotFound"),
        ("not_a_name", "", HttpResponseError, "BadParameter"),
    ],
)
def test_what_is_not_there_has_the_services_code(
    vault: Vault, name: str, version: str, error: type[HttpResponseError], code: str
) -> None:
    vault.client.set_secret("known", "value")
    with pytest.raises(error) as caught:
        vault.client.get_secret(name, version)
    assert caught.value.error.code == code


def test_the_first_answer_is_a_challenge_and_a_token_must_be_for_key_vault(vault: Vault) -> None:
    vault.put("challenge", "value")
    authority = vault.cloud.environment()["ADFML_CA_BUNDLE"]
    address = f"{vault.url}/secrets/challenge?api-version=7.5"
    answer = httpx.get(address, verify=authority)
    assert answer.status_code == 401
    assert 'resource="https://vault.azure.net"' in answer.headers["WWW-Authenticate"]
    for scope, status in (("https://ml.azure.com/.default", 401), ("https://vault.azure.net/.default", 200)):
        token = DefaultAzureCredential().get_token(scope).token
        answer = httpx.get(address, verify=authority, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == status, answer.text
        assert ("value" in answer.json()) == (status == 200)


def test_secrets_are_not_served_without_tls(vault: Vault) -> None:
    vault.put("plain", "value")
    token = DefaultAzureCredential().get_token("https://vault.azure.net/.default").token
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{vault.cloud.url}/secrets/plain?api-version=7.5", headers=headers).status_code == 404


def test_a_client_that_does_not_trust_the_authority_gets_nothing(vault: Vault) -> None:
    untrusting = open_vault(vault.cloud, connection_verify=True, retry_total=0)
    with pytest.raises(ServiceRequestError, match="CERTIFICATE_VERIFY_FAILED"):
        untrusting.get_secret("known")


def test_the_sdk_itself_checks_whose_token_is_asked_for(vault: Vault) -> None:
    strict = open_vault(vault.cloud, verify_challenge_resource=True)
    with pytest.raises(ValueError, match="does not match the requested domain"):
        strict.get_secret("known")


def test_secrets_and_certificate_outlive_a_killed_cloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud = LocalCloud(tmp_path / "cloud")
    with cloud:
        before = cloud.environment()
        for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
            monkeypatch.setenv(name, before[name])
        authority = Path(before["ADFML_CA_BUNDLE"]).read_bytes()
        client = open_vault(cloud)
        client.set_secret("kept", "value")
        cloud.kill()
        cloud.start()
        assert cloud.environment() == before
        assert Path(before["ADFML_CA_BUNDLE"]).read_bytes() == authority
        assert client.get_secret("kept").value == "value"
        key = tmp_path / "cloud" / "tls" / "key.pem"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert b"PRIVATE KEY" not in authority
