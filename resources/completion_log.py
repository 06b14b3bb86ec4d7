"""The completion log: the pipelines' LogArchiveCompletion and LogTrainingResult activities."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import Field

from resources.redaction import hide_queries
from resources.settings import LOGGING_ENDPOINT

log = logging.getLogger(__name__)


class CompletionLog(dg.ConfigurableResource):
    """Posts what was completed to the endpoint in ADFML_LOGGING_ENDPOINT; without one it only writes a log line.

    A log is no reason to lose data: an endpoint that fails gives a warning, never an error.
    """

    timeout_seconds: float = Field(default=10.0, description="How long the endpoint may take to answer, in seconds.")

    def post(self, body: Mapping[str, Any]) -> bool:
        """Send one completion as JSON. Returns whether an endpoint took it."""
        endpoint = LOGGING_ENDPOINT.read()
        if not endpoint:
            log.info("Completed: %s", dict(body))
            return False
        import httpx

        hide_queries()
        try:
            httpx.post(endpoint, json=dict(body), timeout=self.timeout_seconds).raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            # The address may carry a key in its query: name the setting, not the value.
            reason = type(error).__name__
            if isinstance(error, httpx.HTTPStatusError):
                reason = f"status {error.response.status_code}"
            log.warning(
                "The completion log (%s) did not take %s: %s. The data is complete all the same.",
                LOGGING_ENDPOINT.name,
                body.get("status"),
                reason,
            )
            return False
        return True
