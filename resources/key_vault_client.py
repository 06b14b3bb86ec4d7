"""azure-keyvault-secrets' client, with limits of time that a run or a sensor's tick can bear."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from resources.addresses import is_loopback
from resources.errors import Refused, SettingInvalid
from resources.settings import CA_BUNDLE, KEY_VAULT_URL

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, AccessTokenInfo
    from azure.keyvault.secrets import SecretClient

CONNECT_SECONDS = 10
READ_SECONDS = 20
RETRIES = 4
MAX_WAIT_SECONDS = 20
"""The longest wait between two tries; a vault that asks for more is not waited for."""

_VAULT_SCOPES = {
    f"https://vault.{cloud}/.default" for cloud in ("azure.net", "azure.cn", "usgovcloudapi.net", "microsoftazure.de")
}


@contextmanager
def open_client(vault: str) -> Iterator[SecretClient]:
    """A client of a vault, signed in to as the identity of the process.

    The SDK checks that the vault's challenge asks for a token of the vault's own domain. On a loopback address there is
    no such domain: there, and only there, this check is replaced by one that gives out tokens for Key Vault only.

    Raises:
        SettingInvalid: ADFML_CA_BUNDLE is no file.
    """
    from azure.identity import DefaultAzureCredential
    from azure.keyvault.secrets import SecretClient

    options: dict[str, Any] = {
        "retry_policy": build_retry_policy(),
        "connection_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
    }
    if bundle := CA_BUNDLE.read():
        if not Path(bundle).is_file():
            raise SettingInvalid(CA_BUNDLE.name, f"a PEM file ({bundle} is none)")
        options["connection_verify"] = bundle
    with DefaultAzureCredential() as identity:
        credential: Any = identity
        if is_loopback(urlsplit(vault).hostname):
            credential = VaultOnlyCredential(identity, vault)
            options["verify_challenge_resource"] = False
        with SecretClient(vault, credential, **options) as client:
            yield client


def build_retry_policy() -> Any:
    """Azure's own policy: no answer, 408, 429 and 5xx are tried again, waits are as the vault says, within bounds."""
    from azure.core.pipeline.policies import RetryPolicy

    class BoundedRetryPolicy(RetryPolicy):
        """The policy has no limit for what Retry-After says."""

        def is_retry(self, settings: dict[str, Any], response: Any) -> bool:
            """Whether an answer is worth another try now."""
            return (self.get_retry_after(response) or 0) <= MAX_WAIT_SECONDS and super().is_retry(settings, response)

    return BoundedRetryPolicy(
        retry_total=RETRIES,
        retry_connect=RETRIES,
        retry_read=RETRIES,
        retry_status=RETRIES,
        retry_backoff_factor=0.5,
        retry_backoff_max=MAX_WAIT_SECONDS,
    )


class VaultOnlyCredential:
    """An identity that is given out for Key Vault alone, whatever a server asks for."""

    def __init__(self, identity: Any, vault: str) -> None:
        self._identity = identity
        self._vault = vault

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """A token, as azure-core asks for it.

        Raises:
            Refused: it is not one for Key Vault.
        """
        self._check(scopes)
        return self._identity.get_token(*scopes, **options)

    def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
        """A token, as newer SDKs ask for it. Raises as `get_token`."""
        self._check(scopes)
        return self._identity.get_token_info(*scopes, options=options)

    def _check(self, scopes: tuple[str, ...]) -> None:
        if wrong := [scope for scope in scopes if scope not in _VAULT_SCOPES]:
            reason = f"it asks for a token for {', '.join(wrong)}, which is not Key Vault's"
            raise Refused("Key Vault", self._vault, reason, f"{KEY_VAULT_URL.name} and what answers there")
