"""Channels are tried before anything fails: asked by the doctor without telling anybody, and with a test message."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner, Result

from adfml_cli.cli import app
from adfml_cli.doctor.alerts import build_probes
from adfml_cli.doctor.findings import Finding
from adfml_cli.doctor.running import run_probes
from tests.alerts.conftest import Site, WebhookServer
from tests.alerts.mail_server import Mailbox


def examine() -> dict[str, Finding]:
    return {one.subject: one for one in run_probes(list(build_probes())).findings}


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["alerts", *words])


def test_the_doctor_names_sender_and_recipients_to_the_mail_server_and_sends_nothing(mailbox: Mailbox) -> None:
    found = examine()["email"]
    assert (found.status, found.found) == (
        "ok",
        "localhost takes mail from adfml@localhost to data-team@example.com, on-call@example.com.",
    )
    assert (mailbox.logins, mailbox.mails) == (["alerts"], [])
    mailbox.refused = {"on-call@example.com"}
    refused = examine()["email"]
    assert (refused.status, refused.found) == (
        "failed",
        "It would take no alert: the server refused on-call@example.com (550).",
    )
    assert "ADFML_ALERTS_EMAIL_TO" in refused.advice


def test_a_wrong_password_of_the_mail_server_is_found(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_ALERTS_SMTP_PASSWORD", "wrong-pa55word")
    found = examine()["email"]
    assert found.status == "failed"
    assert "pa55word" not in found.found + found.advice


def test_the_doctor_asks_a_webhook_for_an_answer_and_posts_nothing(slack: WebhookServer) -> None:
    found = examine()["slack"]
    assert (found.status, "adfml alerts test" in found.found) == ("ok", True)
    assert slack.asked == []
    assert "pa55word" not in found.found


def test_one_channel_that_is_set_wrongly_hides_no_other(slack: WebhookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_ALERTS_TEAMS_URL", "http://teams.example.com/pa55word")
    found = examine()
    assert (found["teams"].status, found["slack"].status) == ("failed", "ok")
    assert "ADFML_ALERTS_TEAMS_URL is not valid" in found["teams"].found


@pytest.mark.parametrize(("environment", "status"), [("dev", "unused"), ("production", "warning")])
def test_nobody_to_be_told_is_a_warning_in_production(
    environment: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADFML_ENVIRONMENT", environment)
    (found,) = examine().values()
    assert (found.subject, found.status) == ("channels", status)


def test_a_test_message_goes_to_every_channel(mailbox: Mailbox, slack: WebhookServer) -> None:
    done = run("test")
    assert (done.exit_code, done.output) == (0, "email took a test message.\nslack took a test message.\n")
    ((_, mail),) = mailbox.mails
    assert "This is a test" in mail["Subject"]
    ((_, posted),) = slack.taken
    assert "This is a test" in posted["text"]


def test_a_channel_that_does_not_take_it_is_named_and_the_others_get_theirs(
    mailbox: Mailbox, slack: WebhookServer
) -> None:
    mailbox.down = True
    done = run("test")
    assert done.exit_code == 1
    assert "email did not take it: the server said 451." in done.output
    assert len(slack.taken) == 1
    slack.answers = [404]
    told = run("test", "--json")
    assert '"status 404"' in told.output
    assert '"taken": false' in told.output


def test_with_no_channel_it_says_what_to_set() -> None:
    done = run("test")
    assert done.exit_code == 1
    assert "No channel is set" in done.output


def test_what_is_not_well_is_listed_with_the_command_to_retry(site: Site) -> None:
    assert run("list").output == "Nothing has failed that is not well again.\n"
    site.run("2026-01-05", "features", fails=["features"])
    site.tick()
    table = run("list").output
    assert "features | 2026-01-05" in table
    (listed,) = json.loads(run("list", "--json").output)
    assert (listed["asset"], listed["partition"], listed["failures"]) == ("features", "2026-01-05", 1)
    assert listed["command"] == "adfml backfill features --from 2026-01-05 --refresh"
    assert "no such permission" in listed["error"]
    site.run("2026-01-05", "features")
    site.tick()
    assert json.loads(run("list", "--json").output) == []
