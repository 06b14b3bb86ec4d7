"""What a channel of alerts is; the log is one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

from resources.alerts.failure import Alert
from resources.alerts.rendering import build_text

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 10.0
"""How long one delivery may take to be answered."""


class NotDelivered(Exception):
    """A channel did not take an alert; it is tried again.

    Attributes:
        channel: its name.
        reason: without address and secrets.
        retry_after: seconds that the service asked to wait, where it did.
    """

    def __init__(self, channel: str, reason: str, retry_after: float | None = None) -> None:
        self.channel = channel
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(f"{channel} did not take an alert: {reason}.")


class Channel(Protocol):
    """Somewhere alerts go."""

    @property
    def name(self) -> str:
        """Kept with every message."""
        ...

    def send(self, alert: Alert, message_id: str) -> None:
        """Deliver an alert.

        Raises:
            NotDelivered: it was not taken.
        """
        ...

    def check(self) -> str:
        """Ask as far as can be asked without telling anybody anything. Returns what was found, a sentence.

        Raises:
            NotDelivered: it would not take an alert.
        """
        ...


@dataclass(frozen=True)
class LogChannel:
    """Dagster's log, where nothing else is set."""

    name: str = "log"

    def send(self, alert: Alert, message_id: str) -> None:
        """Write it."""
        level = logging.INFO if alert.occasion == "resolved" else logging.ERROR
        log.log(level, "%s", build_text(alert))

    def check(self) -> str:
        """There is nothing to ask."""
        return "What fails is told in Dagster's log alone."
