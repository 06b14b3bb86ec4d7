"""Where alerts go: mail, Teams, a Slack-style webhook, or only the log. Set by ADFML_ALERTS_..., secrets by name."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from resources.alerts.failure import Alert
from resources.alerts.rendering import build_card, build_mail, build_slack, build_text
from resources.environment import read_environment
from resources.errors import SettingInvalid
from resources.redaction import hide_queries
from resources.settings import (
    ALERTS_EMAIL_FROM,
    ALERTS_EMAIL_TO,
    ALERTS_SLACK_URL,
    ALERTS_SMTP,
    ALERTS_SMTP_PASSWORD,
    ALERTS_TEAMS_URL,
    CA_BUNDLE,
)

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 10.0
"""How long one delivery may take to be answered."""

_SCHEMES = {"smtp": 587, "smtps": 465, "smtp+insecure": 25}


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


@dataclass(frozen=True)
class LogChannel:
    """Dagster's log, where nothing else is set."""

    name: str = "log"

    def send(self, alert: Alert, message_id: str) -> None:
        """Write it."""
        level = logging.INFO if alert.occasion == "resolved" else logging.ERROR
        log.log(level, "%s", build_text(alert))


@dataclass(frozen=True)
class MailChannel:
    """SMTP, over TLS: STARTTLS has to be offered (smtp://), or the connection begins with it (smtps://)."""

    environment: str
    address: SplitResult
    password: str
    sender: str
    recipients: tuple[str, ...]
    name: str = "email"

    def send(self, alert: Alert, message_id: str) -> None:
        """Deliver it to everybody; one recipient that is refused does not keep it from the others.

        Raises:
            NotDelivered: see `Channel.send`.
        """
        import smtplib

        mail = build_mail(alert, self.environment, self.sender, self.recipients, message_id)
        try:
            with self._connect() as server:
                if self.address.username:
                    server.login(self.address.username, self.password)
                refused = server.send_message(mail)
        except smtplib.SMTPResponseException as error:
            raise NotDelivered(self.name, f"the server said {error.smtp_code}") from None
        except smtplib.SMTPRecipientsRefused:
            raise NotDelivered(self.name, "the server refused every recipient") from None
        except (smtplib.SMTPException, OSError) as error:
            raise NotDelivered(self.name, type(error).__name__) from None
        if refused:
            log.warning("Of %d recipients of alerts the mail server refused %d.", len(self.recipients), len(refused))

    def _connect(self) -> Any:
        import smtplib
        import ssl

        host, port = self.address.hostname or "", self.address.port or _SCHEMES[self.address.scheme]
        context = ssl.create_default_context(cafile=CA_BUNDLE.read() or None)
        if self.address.scheme == "smtps":
            return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_SECONDS, context=context)
        server = smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)
        if self.address.scheme == "smtp":
            try:
                server.starttls(context=context)
            except BaseException:
                server.close()
                raise
        return server


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


def read_channels() -> list[Channel]:
    """The channels that are set; the log alone where none is.

    Raises:
        SettingMissing, SettingInvalid: a channel is set in part, or cannot be.
        Refused, Unreachable: the Key Vault's, where a secret is named.
    """
    environment = read_environment().name
    channels: list[Channel] = []
    if ALERTS_EMAIL_TO.read():
        channels.append(_read_mail(environment))
    if teams := _read_webhook(ALERTS_TEAMS_URL):
        channels.append(WebhookChannel("teams", teams, lambda alert: build_card(alert, environment)))
    if slack := _read_webhook(ALERTS_SLACK_URL):
        channels.append(WebhookChannel("slack", slack, lambda alert: build_slack(alert, environment)))
    return channels or [LogChannel()]


def alerts_declared() -> bool:
    """Whether somebody set a channel: then alerts are on in every environment. Asks no Key Vault."""
    return any(
        setting.read_given() or setting.read_named_secret()
        for setting in (ALERTS_EMAIL_TO, ALERTS_TEAMS_URL, ALERTS_SLACK_URL)
    )


def _read_mail(environment: str) -> MailChannel:
    recipients = tuple(filter(None, (one.strip() for one in ALERTS_EMAIL_TO.read().split(","))))
    address = urlsplit(ALERTS_SMTP.read())
    if address.scheme not in _SCHEMES or not address.hostname or address.password:
        expected = f"{ALERTS_SMTP.example}, without a password: that is {ALERTS_SMTP_PASSWORD.name}"
        raise SettingInvalid(ALERTS_SMTP.name, expected)
    if address.scheme == "smtp+insecure" and address.username:
        raise SettingInvalid(ALERTS_SMTP.name, "no user where there is no TLS: the password could be read on the way")
    password = ALERTS_SMTP_PASSWORD.read() if address.username else ""
    sender = ALERTS_EMAIL_FROM.read() or f"adfml@{address.hostname}"
    for setting, value in ((ALERTS_EMAIL_TO, ",".join(recipients)), (ALERTS_EMAIL_FROM, sender)):
        if "@" not in value or any(character in value for character in "\r\n"):
            raise SettingInvalid(setting.name, f"mail addresses, for example {setting.example}")
    return MailChannel(environment, address, password, sender, recipients)


def _read_webhook(setting: Any) -> str:
    address = str(setting.read())
    loopback = urlsplit(address).hostname in ("127.0.0.1", "localhost", "::1") if address else False
    if address and not address.startswith("https://") and not (loopback and address.startswith("http://")):
        raise SettingInvalid(setting.name, f"an https address, for example {setting.example}")
    return address
