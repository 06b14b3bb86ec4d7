"""Azure OpenAI and Azure AI Language: whether they answer this key or identity; nothing is billed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from adfml_cli.doctor.findings import Finding, Notes, join_names
from adfml_cli.doctor.running import Probe, Step

if TYPE_CHECKING:
    from adfml_cli.doctor.declared import Declared

OPENAI, LANGUAGE = "openai", "language"
_RECENT = timedelta(days=7)


def build_openai_probes(declared: Declared) -> Iterator[Probe]:
    """A probe for each key that is declared."""
    notes = Notes(OPENAI)
    by_secret: dict[str | None, list[str]] = {}
    for _, engine in declared.openai:
        by_secret.setdefault(engine.secret, []).append(engine.deployment)
    if not by_secret:
        yield Probe(OPENAI, "Azure OpenAI", lambda _: iter([notes.unused("Azure OpenAI", "No batch is declared.")]))
    for secret, deployments in by_secret.items():
        names = sorted(set(deployments))
        subject = f"deployment {join_names(names)}"
        yield Probe(OPENAI, subject, lambda step, s=secret, n=names: check_openai(s, n, step))  # type: ignore[misc]


def check_openai(secret: str | None, deployments: list[str], step: Step) -> Iterator[Finding]:
    """List the newest batches with the key that sends them; what they failed of tells of the deployments.

    Whether a deployment exists, and how much quota is left, the service tells nobody who sends no batch: what the
    newest batches met with is all that is known.
    """
    from resources.control import utc_now
    from resources.openai_account import OpenAIAccount
    from resources.settings import OPENAI_ENDPOINT

    notes, address = Notes(OPENAI), OPENAI_ENDPOINT.read()
    step(f"listing batches at {address}")
    account = OpenAIAccount(secret, step.request_seconds)
    batches = list(account.list_since(utc_now() - _RECENT, max_pages=1))
    by = f"Key Vault secret {account.key_secret}" if account.key_secret else "the key" if _has_key() else "the identity"
    yield notes.ok(f"deployment {join_names(deployments)}", f"{address} takes {by} and lists its batches.")
    refused = {
        error.code or "failed": error.message
        for batch in batches[:20]
        for error in (batch.errors.data if batch.errors and batch.errors.data else ())
    }
    for code, message in refused.items():
        advice = "Raise the deployment's enqueued-token quota." if "limit" in code else "Check engine.deployment."
        yield notes.warning("batches", f"One of the newest batches failed: {code}: {message}.", advice)


def _has_key() -> bool:
    from resources.settings import OPENAI_KEY

    return bool(OPENAI_KEY.read_given())


def build_language_probes(declared: Declared) -> Iterator[Probe]:
    """A probe for each key that is declared."""
    notes = Notes(LANGUAGE)
    engines = {(engine.secret, engine.api_version): engine for _, engine in declared.language}
    if not engines:
        nothing = notes.unused("Azure AI Language", "Nothing declared uses it.")
        yield Probe(LANGUAGE, "Azure AI Language", lambda _: iter([nothing]))
    for secret, version in engines:
        yield Probe(
            LANGUAGE,
            "Azure AI Language",
            lambda step, s=secret, v=version: check_language(s, v, step),  # type: ignore[misc]
        )


def check_language(secret: str | None, api_version: str | None, step: Step) -> Iterator[Finding]:
    """Whether the service takes the sign-in; it is asked about no document."""
    from resources.language import Language

    notes = Notes(LANGUAGE)
    client = Language(request_timeout_seconds=step.request_seconds, retry_seconds=4.0)
    with client.open_session(secret=secret, api_version=api_version) as session:
        step(f"asking {session.address}")
        session.require_access()
        yield notes.ok("Azure AI Language", f"{session.address} takes the sign-in.")
