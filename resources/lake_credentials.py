"""How the lake's storage account is signed in to: a SAS token, an account key, or the identity of the process."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from resources.errors import SettingInvalid
from resources.settings import LAKE_KEY, LAKE_SAS


@dataclass(frozen=True)
class LakeCredential:
    """A way to sign in; the secret is in no representation of it.

    Attributes:
        kind: what it is.
        origin: where it is from, in words, for messages.
        secret: the SAS token (without `?`) or account key; empty for an identity.
    """

    kind: Literal["sas", "key", "identity"]
    origin: str
    secret: str = field(default="", repr=False)

    @property
    def advice(self) -> str:
        """What to check where the account refuses it, as in "Check ..."."""
        if self.kind == "sas":
            allowed = "read, add, create, write, delete and list"
            return f"that the SAS token of {self.origin} has not expired and allows {allowed}"
        if self.kind == "key":
            return f"that the account key of {self.origin} is of this account and that the account allows keys"
        return "that the identity has the role Storage Blob Data Contributor and that the firewall lets this machine in"

    def build_provider(self) -> Callable[[], Any]:
        """What obstore calls for a credential. Given as a function, no setting of the environment takes its place."""
        if self.kind == "sas":
            return lambda: {"sas_token": self.secret, "expires_at": None}
        if self.kind == "key":
            return lambda: {"access_key": self.secret, "expires_at": None}
        from azure.identity import DefaultAzureCredential
        from obstore.auth.azure import AzureCredentialProvider

        return AzureCredentialProvider(DefaultAzureCredential())

    def build_sdk_credential(self) -> Any:
        """The same for Azure's own SDK."""
        if self.kind == "sas":
            from azure.core.credentials import AzureSasCredential

            return AzureSasCredential(self.secret)
        if self.kind == "key":
            return self.secret
        from azure.identity import DefaultAzureCredential

        return DefaultAzureCredential()


def read_credential() -> LakeCredential:
    """The first of: SAS token, account key, either of them by name from Key Vault, the identity of the process.

    Raises:
        SettingInvalid: what should be an account key or SAS token has not the form of one.
        SettingMissing, Refused, Unreachable: the Key Vault, see `resources.key_vault.read_secret`.
    """
    ways = ((LAKE_SAS, _build_sas), (LAKE_KEY, _build_key))
    for setting, build in ways:
        if value := setting.read_given():
            return build(value, setting.name, setting.name)
    for setting, build in ways:
        if name := setting.read_named_secret():
            return build(setting.read(), setting.secret_name, f"Key Vault secret {name}")
    return LakeCredential("identity", "the identity of the process")


def _build_sas(value: str, setting: str, origin: str) -> LakeCredential:
    value = value.strip().lstrip("?")
    if "sig=" not in value or "://" in value:
        raise SettingInvalid(setting, f"{origin} to hold a SAS token, sv=...&sig=..., without an address before it")
    return LakeCredential("sas", origin, value)


def _build_key(value: str, setting: str, origin: str) -> LakeCredential:
    value = value.strip()
    try:
        base64.b64decode(value, validate=True)
    except ValueError:
        raise SettingInvalid(setting, f"{origin} to hold an account key as the portal shows it (base64)") from None
    return LakeCredential("key", origin, value)
