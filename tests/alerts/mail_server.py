"""A real mail server with STARTTLS and a user, and the settings that lead to it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword

USER, PASSWORD = "alerts", "pa55word-of-the-mail-server"


class Mailbox:
    """Keeps what it gets; refuses recipients it is told to."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.logins: list[str] = []
        self.refused: set[str] = set()
        self.down = False

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: Any) -> str:  # noqa: N802
        if address in self.refused:
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:  # noqa: N802
        if self.down:
            return "451 try again later"
        assert session.ssl is not None
        mail = message_from_bytes(bytes(envelope.content or b""), policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append((list(envelope.rcpt_tos), mail))
        return "250 OK"

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        right = isinstance(data, LoginPassword) and (data.login, data.password) == (USER.encode(), PASSWORD.encode())
        self.logins.append(data.login.decode())
        return AuthResult(success=right)


class AnyPort(Controller):
    """A server on a free port: aiosmtpd's own first look is at the port that was asked for."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ssl.SSLContext]:
    authority = trustme.CA()
    bundle = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return str(bundle), context


@pytest.fixture
def mailbox(certificates: tuple[str, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    bundle, context = certificates
    box = Mailbox()
    controller = AnyPort(
        box,
        hostname="localhost",
        port=0,
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=box.authenticate,
    )
    controller.start()
    monkeypatch.setenv("ADFML_CA_BUNDLE", bundle)
    monkeypatch.setenv("ADFML_ALERTS_EMAIL_TO", "data-team@example.com, on-call@example.com")
    monkeypatch.setenv("ADFML_ALERTS_SMTP", f"smtp://{USER}@localhost:{controller.port}")
    monkeypatch.setenv("ADFML_ALERTS_SMTP_PASSWORD", PASSWORD)
    yield box
    controller.stop()
