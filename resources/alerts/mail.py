"""Alerts by mail: SMTP, over TLS."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from resources.alerts.channel import TIMEOUT_SECONDS, NotDelivered
from resources.alerts.failure import Alert
from resources.alerts.rendering import build_mail
from resources.environment import read_environment
from resources.errors import SettingInvalid
from resources.settings import ALERTS_EMAIL_FROM, ALERTS_EMAIL_TO, ALERTS_SMTP, ALERTS_SMTP_PASSWORD, CA_BUNDLE

if TYPE_CHECKING:
    import smtplib

log = logging.getLogger(__name__)
_OK, _FORWARDED = 250, 251
_SCHEMES = {"smtp": 587, "smtps": 465, "smtp+insecure": 25}


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
        mail = build_mail(alert, self.environment, self.sender, self.recipients, message_id)
        with self._sign_in() as server:
            refused = server.send_message(mail)
        if refused:
            log.warning("Of %d recipients of alerts the mail server refused %d.", len(self.recipients), len(refused))

    def check(self) -> str:
        """Sign in, and name the sender and the recipients as for a mail, which is then given up.

        Raises:
            NotDelivered: see `Channel.check`.
        """
        with self._sign_in() as server:
            code, _ = server.mail(self.sender)
            if code != _OK:
                raise NotDelivered(self.name, f"the server said {code} to the sender {self.sender}")
            answers = {recipient: server.rcpt(recipient)[0] for recipient in self.recipients}
            server.rset()
        refused = [f"{recipient} ({code})" for recipient, code in answers.items() if code not in (_OK, _FORWARDED)]
        if refused:
            raise NotDelivered(self.name, f"the server refused {', '.join(refused)}")
        return f"{self.address.hostname} takes mail from {self.sender} to {', '.join(self.recipients)}."

    @contextmanager
    def _sign_in(self) -> Iterator[smtplib.SMTP]:
        import smtplib

        try:
            with self._connect() as server:
                if self.address.username:
                    server.login(self.address.username, self.password)
                yield server
        except smtplib.SMTPResponseException as error:
            raise NotDelivered(self.name, f"the server said {error.smtp_code}") from None
        except smtplib.SMTPRecipientsRefused:
            raise NotDelivered(self.name, "the server refused every recipient") from None
        except (smtplib.SMTPException, OSError) as error:
            raise NotDelivered(self.name, type(error).__name__) from None

    def _connect(self) -> smtplib.SMTP:
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


def read_mail() -> MailChannel:
    """The channel as it is set.

    Raises:
        SettingMissing, SettingInvalid: it is set in part, or cannot be.
        Refused, Unreachable: the Key Vault's, where the password is a secret in it.
    """
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
    return MailChannel(read_environment().name, address, password, sender, recipients)
