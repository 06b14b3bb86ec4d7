"""Alerts by webhook: Teams, Slack, and what takes the same as Slack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from resources.alerts.channel import TIMEOUT_SECONDS, NotDelivered
from resources.alerts.failure import Alert
from resources.alerts.rendering import build_card, build_slack
from resources.environment import read_environment
from resources.errors import SettingInvalid
from resources.redaction import hide_queries
from resources.settings import ALERTS_SLACK_URL, ALERTS_TEAMS_URL, Setting


@dataclass(frozen=True)
class WebhookChannel:
    """A webhook: what is posted is built by `build`. Its address is a secret."""

    name: str
    address: str
    build: Callable[[Alert], dict[str, Any]]

    def send(self, alert: Alert, message_id: str) -> None:
        """Post it.

        Raises:
            NotDelivered: see `Channel.send`.
        """
        import httpx

        hide_queries()
        try:
            answer = httpx.post(self.address, json=self.build(alert), timeout=TIMEOUT_SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotDelivered(self.name, type(error).__name__) from None
        if not answer.is_success:
            waits = answer.headers.get("retry-after", "")
            raise NotDelivered(self.name, f"status {answer.status_code}", float(waits) if waits.isdecimal() else None)

    def check(self) -> str:
        """Whether its host answers. Whether it takes a message, a webhook tells only who posts one.

        Raises:
            NotDelivered: see `Channel.check`.
        """
        import httpx

        hide_queries()
        try:
            httpx.head(self.address, timeout=TIMEOUT_SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotDelivered(self.name, type(error).__name__) from None
        return f"{urlsplit(self.address).hostname} answers; whether it takes a message, `adfml alerts test` shows."


def read_teams() -> WebhookChannel:
    """The workflow of Teams that is set.

    Raises:
        SettingInvalid: it is no address that keeps a secret.
        Refused, Unreachable: the Key Vault's, where the address is a secret in it.
    """
    environment = read_environment().name
    return WebhookChannel("teams", _read_address(ALERTS_TEAMS_URL), lambda alert: build_card(alert, environment))


def read_slack() -> WebhookChannel:
    """The Slack-style webhook that is set.

    Raises:
        SettingInvalid, Refused, Unreachable: as of `read_teams`.
    """
    environment = read_environment().name
    return WebhookChannel("slack", _read_address(ALERTS_SLACK_URL), lambda alert: build_slack(alert, environment))


def _read_address(setting: Setting) -> str:
    address = setting.read()
    loopback = urlsplit(address).hostname in ("127.0.0.1", "localhost", "::1") if address else False
    if address and not address.startswith("https://") and not (loopback and address.startswith("http://")):
        raise SettingInvalid(setting.name, f"an https address, for example {setting.example}")
    return address
