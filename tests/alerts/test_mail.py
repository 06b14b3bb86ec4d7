"""Mail goes over TLS to a real mail server, as what it is: nothing in an error becomes a header, markup or a link."""

from pathlib import Path

import pytest

from resources.alerts.channel import NotDelivered
from resources.alerts.channels import read_channels
from resources.alerts.failure import Alert
from resources.alerts.mail import MailChannel
from resources.errors import SettingInvalid, SettingMissing
from tests.alerts.mail_server import PASSWORD, USER, Mailbox

ALERT = Alert(
    "failed",
    "features | 2026-01-05 failed",
    ("features | 2026-01-05",),
    "<script>alert(1)</script> & more",
    ("adfml backfill features --from 2026-01-05",),
    (("Run", "https://dagster.example.com/runs/1"), ("What to do", "docs/operations.md#refused")),
)


def find_mail() -> MailChannel:
    (channel,) = read_channels()
    assert isinstance(channel, MailChannel)
    return channel


def test_a_mail_is_delivered_over_starttls_by_a_user(mailbox: Mailbox) -> None:
    find_mail().send(ALERT, "a1")
    ((recipients, mail),) = mailbox.mails
    assert (recipients, mailbox.logins) == (["data-team@example.com", "on-call@example.com"], [USER])
    assert mail["Subject"] == "[adfml] dev: features | 2026-01-05 failed"
    assert mail["Message-ID"] == "<a1@localhost>"
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert "<script>alert(1)</script> & more" in plain.get_content()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in html.get_content()
    assert '<a href="https://dagster.example.com/runs/1">Run</a>' in html.get_content()
    assert "adfml backfill features --from 2026-01-05" in plain.get_content()
    assert PASSWORD not in mail.as_string()


def test_a_title_of_several_lines_is_no_header(mailbox: Mailbox) -> None:
    find_mail().send(Alert("failed", "a failed\r\nBcc: everybody@example.com", ("a",)), "a2")
    ((recipients, mail),) = mailbox.mails
    assert mail["Bcc"] is None
    assert mail["Subject"].endswith("a failed Bcc: everybody@example.com")
    assert "everybody@example.com" not in recipients


def test_one_recipient_that_is_refused_does_not_keep_it_from_the_others(mailbox: Mailbox) -> None:
    mailbox.refused = {"on-call@example.com"}
    find_mail().send(ALERT, "a3")
    assert [recipients for recipients, _ in mailbox.mails] == [["data-team@example.com"]]
    mailbox.refused |= {"data-team@example.com"}
    with pytest.raises(NotDelivered, match="refused every recipient"):
        find_mail().send(ALERT, "a4")


def test_what_goes_wrong_is_said_without_the_password(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox.down = True
    with pytest.raises(NotDelivered, match="the server said 451"):
        find_mail().send(ALERT, "a5")
    monkeypatch.setenv("ADFML_ALERTS_SMTP_PASSWORD", "wrong-pa55word")
    with pytest.raises(NotDelivered, match=r"the server said 535|SMTPServerDisconnected") as failed:
        find_mail().send(ALERT, "a6")
    assert "pa55word" not in str(failed.value)
    monkeypatch.setenv("ADFML_ALERTS_SMTP", "smtp://127.0.0.1:9")
    with pytest.raises(NotDelivered, match="ConnectionRefusedError"):
        find_mail().send(ALERT, "a7")


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ADFML_CA_BUNDLE")
    with pytest.raises(NotDelivered, match="SSLCertVerificationError"):
        find_mail().send(ALERT, "a8")
    assert mailbox.logins == [], "the password was not sent"


@pytest.mark.parametrize(
    "address",
    [
        "smtp.example.com",
        "http://smtp.example.com",
        "smtp://user:pa55word@smtp.example.com",
        "smtp+insecure://me@relay",
    ],
)
def test_an_address_that_cannot_be_is_refused_and_not_shown(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_ALERTS_EMAIL_TO", "a@example.com")
    monkeypatch.setenv("ADFML_ALERTS_SMTP", address)
    with pytest.raises(SettingInvalid, match="ADFML_ALERTS_SMTP") as refused:
        read_channels()
    assert "pa55word" not in str(refused.value)


def test_recipients_without_a_server_and_a_user_without_a_password_are_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ADFML_ALERTS_EMAIL_TO", "a@example.com")
    monkeypatch.delenv("ADFML_ALERTS_SMTP", raising=False)
    with pytest.raises(SettingMissing, match="ADFML_ALERTS_SMTP is not set"):
        read_channels()
    monkeypatch.setenv("ADFML_ALERTS_SMTP", "smtp://me@smtp.example.com")
    monkeypatch.delenv("ADFML_ALERTS_SMTP_PASSWORD", raising=False)
    with pytest.raises(SettingMissing, match="ADFML_ALERTS_SMTP_PASSWORD"):
        read_channels()
