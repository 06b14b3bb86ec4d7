"""A secret's value when it is needed: from the environment, or from the Key Vault by its name."""

from __future__ import annotations

import os

from resources.settings import Setting


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
        SettingInvalid, Refused, Unreachable: the Key Vault's.
    """
    from resources.key_vault import read_secret

    named = secret or os.environ.get(f"{setting.name}_SECRET", "").strip()
    if named and (secret or not os.environ.get(setting.name, "").strip()):
        return read_secret(named, f"{setting.name}_SECRET" if not secret else f"the declaration's secret {secret!r}")
    return setting.read()
