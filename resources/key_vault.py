"""Secrets by name from Azure Key Vault, read with the identity of the process and kept in its memory for a while."""

from __future__ import annotations

import logging
import re
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import dagster as dg
from pydantic import Field

from resources.errors import Refused, SettingInvalid
from resources.redaction import remember_secret
from resources.settings import KEY_VAULT_URL

if TYPE_CHECKING:
    from azure.keyvault.secrets import KeyVaultSecret

CACHE_SECONDS = 600.0
"""How long a value is used before it is read again: after a rotation the old one is in use no longer than this."""

_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
log = logging.getLogger(__name__)


class KeyVault(dg.ConfigurableResource):
    """The Key Vault at ADFML_KEY_VAULT_URL, for assets that need a secret of their own.

    Settings (`ADFML_X_SECRET`) and declarations (`secret: name`) read it by themselves. Values are kept in the memory
    of the process only: they are in no configuration, no representation and no pickle of this resource.
    """

    cache_seconds: float = Field(
        default=CACHE_SECONDS, ge=0, description="How long a value that was read is used, in seconds."
    )

    def read(self, name: str) -> str:
        """The newest value of a secret, at most `cache_seconds` old.

        Raises:
            SettingMissing, SettingInvalid, Refused, Unreachable: see `read_secret`.
        """
        return read_secret(name, f"the secret's name {name!r}", self.cache_seconds)

    def refresh(self, name: str) -> str:
        """The newest value of a secret as the vault has it now, for everyone in this process. Raises as `read`."""
        forget_secrets(name)
        return self.read(name)


@dataclass
class _Kept:
    """A secret that was read; each has its own lock, so that one slow read does not hold up the others."""

    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    value: str | None = field(default=None, repr=False)
    read_at: float = 0.0


_kept: dict[tuple[str, str], _Kept] = {}
_kept_lock = threading.Lock()


def read_secret(name: str, setting: str, cache_seconds: float = CACHE_SECONDS) -> str:
    """The newest value of a secret of the vault at ADFML_KEY_VAULT_URL; one read lately is not asked for again.

    Args:
        name: of the secret.
        setting: the setting or field of a declaration that names it, for messages.
        cache_seconds: how old a value may be.

    Raises:
        SettingMissing, SettingInvalid: ADFML_KEY_VAULT_URL or ADFML_CA_BUNDLE, or the name cannot be one.
        Refused: there is no such secret, it is disabled or empty, or it may not be read.
        Unreachable: the vault does not answer, or has too much to do.
    """
    vault = read_vault_url()
    if not is_secret_name(name):
        # Not repeated: somebody may have put the value where the name belongs.
        raise SettingInvalid(setting, "the name of a Key Vault secret (letters, digits and -)")
    with _kept_lock:
        kept = _kept.setdefault((vault, name.lower()), _Kept())
    with kept.lock:
        if kept.value is None or time.monotonic() - kept.read_at >= cache_seconds:
            kept.value = _fetch(vault, name, setting)
            kept.read_at = time.monotonic()
        return kept.value


def read_expiry(name: str, setting: str) -> datetime | None:
    """When a secret expires, read from the vault now; None: it does not. Raises as `read_secret`.

    Args:
        name, setting: as for `read_secret`.
    """
    vault = read_vault_url()
    if not is_secret_name(name):
        raise SettingInvalid(setting, "the name of a Key Vault secret (letters, digits and -)")
    found = _read(vault, name, setting)
    return found.properties.expires_on.astimezone(UTC) if found.properties.expires_on else None


def is_secret_name(name: str) -> bool:
    """Whether a vault could have a secret of that name."""
    return _NAME.fullmatch(name) is not None


def forget_secrets(name: str | None = None) -> None:
    """Forget what was read of one secret, or of all: it is asked for again when it is next needed."""
    with _kept_lock:
        for key in [key for key in _kept if name is None or key[1] == name.lower()]:
            del _kept[key]


def read_vault_url() -> str:
    """The vault's address, without a slash at its end.

    Raises:
        SettingMissing: ADFML_KEY_VAULT_URL is not set.
        SettingInvalid: it is no https address of a vault.
    """
    vault = KEY_VAULT_URL.read().rstrip("/")
    parts = urlsplit(vault)
    if parts.scheme != "https" or not parts.hostname or parts.path or parts.query or "@" in parts.netloc:
        raise SettingInvalid(KEY_VAULT_URL.name, f"an https address, for example {KEY_VAULT_URL.example}")
    return vault


def _fetch(vault: str, name: str, setting: str) -> str:
    found = _read(vault, name, setting)
    _warn_of_expiry(found, vault, name, setting)
    return str(found.value)


def _read(vault: str, name: str, setting: str) -> Any:
    from resources.key_vault_client import open_client
    from resources.key_vault_errors import explain_errors

    with explain_errors(vault, name, setting), open_client(vault) as client:
        found: Any = client.get_secret(name)
    if not found.value:
        raise Refused("Key Vault", vault, f"secret {name!r} is empty", setting)
    remember_secret(found.value)
    return found


def _warn_of_expiry(secret: KeyVaultSecret, vault: str, name: str, setting: str) -> None:
    # Key Vault gives out expired secrets: the date is for people.
    expires = secret.properties.expires_on if secret.properties else None
    if expires is not None and expires < datetime.now(UTC):
        when = expires.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
        log.warning("Secret %r of %s (%s) expired on %s UTC and is used all the same.", name, vault, setting, when)
