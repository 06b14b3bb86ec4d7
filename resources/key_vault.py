"""Secrets by name from Azure Key Vault, read with the identity of the process."""

from __future__ import annotations

from resources.errors import Refused, SettingInvalid, Unreachable
from resources.settings import KEY_VAULT_URL


def read_secret(name: str, setting: str) -> str:
    """The newest value of a secret of the vault at ADFML_KEY_VAULT_URL; the caller keeps it.

    Args:
        name: of the secret.
        setting: the setting that names it, for messages.

    Raises:
        SettingMissing, SettingInvalid: ADFML_KEY_VAULT_URL, or the name cannot be one.
        Refused: there is no such secret, or it may not be read.
        Unreachable: the vault does not answer.
    """
    from azure.core.exceptions import (
        AzureError,
        ClientAuthenticationError,
        HttpResponseError,
        ResourceNotFoundError,
    )
    from azure.identity import DefaultAzureCredential
    from azure.keyvault.secrets import SecretClient

    vault = KEY_VAULT_URL.read().rstrip("/")
    if not vault.startswith("https://"):
        raise SettingInvalid(KEY_VAULT_URL.name, f"an https address, for example {KEY_VAULT_URL.example}")
    try:
        with DefaultAzureCredential() as credential, SecretClient(vault, credential) as client:
            value = client.get_secret(name).value
    except ResourceNotFoundError:
        raise Refused("Key Vault", vault, f"it has no secret {name!r}", f"{setting}") from None
    except ClientAuthenticationError as error:
        reason = f"no identity could sign in ({type(error).__name__})"
        raise Refused("Key Vault", vault, reason, "that this machine has a managed identity, or az login") from None
    except HttpResponseError as error:
        reason = f"secret {name!r} was answered with status {error.status_code}"
        raise Refused("Key Vault", vault, reason, "that the identity has the role Key Vault Secrets User") from None
    except (AzureError, ValueError) as error:
        raise Unreachable("Key Vault", vault, type(error).__name__, KEY_VAULT_URL.name) from None
    if not value:
        raise Refused("Key Vault", vault, f"secret {name!r} is empty", setting)
    return value
