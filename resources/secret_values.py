"""A secret's value when it is needed: from a declaration, from the environment, or from the Key Vault by its name."""

from __future__ import annotations

from dataclasses import dataclass

from resources.settings import DatabaseSetting, Setting, add_password


@dataclass(frozen=True)
class DatabaseSecrets:
    """Key Vault secrets that a declaration names for a database.

    Attributes:
        url: of the whole SQLAlchemy URL; in place of ADFML_<NAME>_URL.
        password: of the password alone; the URL then has a user and no password.
    """

    url: str | None = None
    password: str | None = None


def read_database_url(setting: DatabaseSetting, secrets: DatabaseSecrets) -> str:
    """A database's SQLAlchemy URL with its password.

    Args:
        setting: ADFML_<NAME>_URL, used where the declaration names no secret.
        secrets: what the declaration names.

    Raises:
        SettingMissing, SettingInvalid: the URL, or a password without a user.
        Refused, Unreachable: the Key Vault's, see `resources.key_vault.read_secret`.
    """
    address = read_secret_value(setting, secrets.url)
    if secrets.password:
        address = add_password(address, setting, read_secret_value(setting.password, secrets.password))
    return address


def read_secret_value(setting: Setting, secret: str | None = None) -> str:
    """The value of a secret setting.

    Args:
        setting: the environment variable that may hold the value itself; `<its name>_SECRET` may name a secret of the
            Key Vault instead.
        secret: the name of a Key Vault secret from a declaration (`secret: name`); it goes before both.

    Returns:
        The value; "" where nothing is set and the setting may be left out.

    Raises:
        SettingMissing: nothing is set, and it is needed.
        SettingInvalid, Refused, Unreachable: the Key Vault's, see `resources.key_vault.read_secret`.
    """
    if not secret:
        return setting.read()
    from resources.key_vault import read_secret

    return read_secret(secret, f"the declaration's secret {secret!r} (for {setting.name})")
