"""The Key Vault: every secret that a setting or a declaration names is there and may be read. No value is shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from adfml_cli.doctor.findings import Finding, Notes
from adfml_cli.doctor.running import Probe, Step

if TYPE_CHECKING:
    from adfml_cli.doctor.declared import Declared

CHECK = "key_vault"
_NOTES = Notes(CHECK)
_SOON = timedelta(days=14)


def build_probes(declared: Declared) -> Iterator[Probe]:
    """A probe for each secret that is named."""
    named = list_named_secrets(declared)
    if not named:
        yield Probe(CHECK, "Key Vault", lambda _: iter([_NOTES.unused("Key Vault", "No secret is named.")]))
    for name, by in named.items():
        subject = f"secret {name}"
        yield Probe(CHECK, subject, lambda step, name=name, by=by: check_secret(name, by, step))  # type: ignore[misc]


def list_named_secrets(declared: Declared) -> dict[str, str]:
    """Name of each secret -> the setting or declaration that names it first."""
    named: dict[str, str] = {}
    for variable in sorted(os.environ):
        if variable.startswith("ADFML_") and variable.endswith("_SECRET") and (name := os.environ[variable].strip()):
            named.setdefault(name, variable)
    for what, component in declared.components:
        engine = getattr(component, "engine", None)
        for holder, field in ((component, "url_secret"), (component, "password_secret"), (engine, "secret")):
            if secret := getattr(holder, field, None):
                named.setdefault(str(secret), f"`{field}` of the {what}")
    return named


def check_secret(name: str, by: str, step: Step) -> Iterator[Finding]:
    """One secret: that it can be read, and how long it is valid."""
    from resources.control import utc_now
    from resources.key_vault import read_expiry, read_vault_url

    subject = f"secret {name}"
    step(f"reading it from {read_vault_url()}")
    expires = read_expiry(name, by)
    if expires is None:
        yield _NOTES.ok(subject, f"Can be read, for {by}.")
    elif expires < utc_now():
        found = f"Expired on {expires:%Y-%m-%d %H:%M} UTC; it is used all the same, for {by}."
        yield _NOTES.warning(subject, found, "Rotate it, and give the new version a date.")
    elif expires < utc_now() + _SOON:
        found = f"Can be read, for {by}, and expires on {expires:%Y-%m-%d}."
        yield _NOTES.warning(subject, found, "Rotate it before that day.")
    else:
        yield _NOTES.ok(subject, f"Can be read, for {by}, until {expires:%Y-%m-%d}.")
