"""Azure AI Language: sentiment of texts, asked over REST."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from pydantic import Field

from resources.addresses import is_safe
from resources.errors import SettingInvalid
from resources.language_session import LanguageSession, Signing
from resources.secret_values import read_secret_value
from resources.settings import LANGUAGE_ENDPOINT, LANGUAGE_KEY


class Language(dg.ConfigurableResource):
    """The Language resource at ADFML_LANGUAGE_ENDPOINT, signed in to with its key or the managed identity.

    Plain REST: azure-ai-textanalytics does not repeat a 429 that has no Retry-After, offers no limit in time for its
    repetitions, does not know api-version 2024-11-01, and hides which requests it sent twice: such documents are paid
    twice, and are counted here.
    """

    api_version: str = Field(default="2023-04-01", description="Of the service's REST interface.")
    request_timeout_seconds: float = Field(default=60.0, description="How long one request may take, in seconds.")
    retry_seconds: float = Field(
        default=300.0, description="How long a request is repeated that gets 429, 5xx or no answer, in seconds."
    )

    @contextmanager
    def open_session(
        self, *, secret: str | None = None, model_version: str = "latest", api_version: str | None = None
    ) -> Iterator[LanguageSession]:
        """A session for many requests by many threads. Leaving the block stops those that wait.

        Args:
            secret: the Key Vault secret that holds the key; None: ADFML_LANGUAGE_KEY, else the managed identity.
            model_version: of the service's model.
            api_version: instead of the resource's.

        Raises:
            SettingMissing, SettingInvalid: ADFML_LANGUAGE_ENDPOINT.
            Refused, Unreachable: the key's vault.
        """
        import httpx

        endpoint = _read_endpoint()
        key = read_secret_value(LANGUAGE_KEY, secret)
        source = f"the secret {secret!r} in the declaration" if secret else LANGUAGE_KEY.name
        # One session is one set of pages: its connections are as many as its threads.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        parameters = {"api-version": api_version or self.api_version, "showStats": "true"}
        with httpx.Client(
            base_url=endpoint, params=parameters, timeout=self.request_timeout_seconds, limits=limits
        ) as client:
            session = LanguageSession(client, Signing(key, source), model_version, self.retry_seconds)
            try:
                yield session
            finally:
                session.stop()


def _read_endpoint() -> str:
    endpoint = LANGUAGE_ENDPOINT.read().rstrip("/")
    if not is_safe(endpoint):
        # A key must not travel in the clear; the local cloud is on this machine.
        raise SettingInvalid(LANGUAGE_ENDPOINT.name, f"an https address, for example {LANGUAGE_ENDPOINT.example}")
    return endpoint
