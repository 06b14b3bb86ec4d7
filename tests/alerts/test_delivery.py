"""Messages are noted before they are sent: a channel that is down, or a sender that dies, loses none."""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.alerts.channel import LogChannel
from resources.alerts.channels import read_channels
from resources.alerts.failure import Alert, Failure, build_alert, cut, parse_alert
from resources.alerts.register import GIVE_UP_AFTER, LEASE, AlertRegister
from resources.alerts.rendering import build_card, build_slack, build_text
from resources.alerts.webhook import WebhookChannel
from resources.control import ControlDatabase
from resources.errors import SettingInvalid
from resources.redaction import remember_secret
from sensors.alert_sensor import deliver
from tests.alerts.conftest import WebhookServer, utc

LOG = logging.getLogger("tests")
DAY = timedelta(days=1)


def fail(subject: str = "features | 2026-01-05", event_id: int = 1, error: str = "refused", **facts: Any) -> Failure:
    return Failure(subject, "run", event_id, utc(), error, **facts)


@pytest.fixture
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AlertRegister:
    monkeypatch.setenv("ADFML_CONTROL_URL", f"sqlite:///{tmp_path / 'control.sqlite'}")
    return ControlDatabase().alerts


@dataclass
class Kept:
    """A channel that keeps what it takes; the sender dies where it is told to."""

    name: str = "kept"
    dies_after: bool = False
    taken: list[tuple[str, str]] = field(default_factory=list)

    def send(self, alert: Alert, message_id: str) -> None:
        self.taken.append((alert.title, message_id))
        if self.dies_after:
            raise KeyboardInterrupt


def note(register: AlertRegister, failures: Sequence[Failure], *channels: str) -> int:
    return register.record(failures, channels or ["kept"], repeat_after=DAY, now=utc())


def send(register: AlertRegister, *channels: Any, seconds: float = 5) -> int:
    return deliver(register, channels, time.monotonic() + seconds, LOG)


def test_a_sender_that_died_after_the_service_had_taken_it_repeats_it_under_the_same_id(
    register: AlertRegister, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(register, [fail()])
    channel = Kept(dies_after=True)
    with pytest.raises(KeyboardInterrupt):
        send(register, channel)
    channel.dies_after = False
    assert send(register, channel) == 0, "it is somebody's until the lease ends"
    later = utc() + LEASE + timedelta(seconds=1)
    monkeypatch.setattr("sensors.alert_sensor.utc_now", lambda: later)
    assert send(register, channel) == 1
    assert send(register, channel) == 0
    assert len({message_id for _, message_id in channel.taken}) == 1


def test_a_webhook_that_is_down_is_tried_again_later_and_keeps_nothing_from_the_others(
    register: AlertRegister, webhook: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    down = WebhookChannel("down", f"{webhook.url}/x?sig=pa55word", lambda alert: {"text": alert.title})
    other = Kept("other")
    webhook.answers = [503, 429]
    note(register, [fail(f"a{n}", error=f"cause {chr(97 + n)}") for n in range(3)], "down", "other")
    assert send(register, down, other) == 3
    assert webhook.asked == ["/x?sig=pa55word"], "once a tick"
    now = utc()
    for minutes, expected in ((2, 2), (5, 2), (15, 5)):
        later = now + timedelta(minutes=minutes)
        monkeypatch.setattr("sensors.alert_sensor.utc_now", lambda later=later: later)
        send(register, down, other)
        assert len(webhook.asked) >= expected
    assert {body["text"] for _, body in webhook.taken} == {"a0 failed", "a1 failed", "a2 failed"}


def test_a_message_that_nobody_takes_for_a_day_is_given_up_with_an_error(
    register: AlertRegister, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    channel = WebhookChannel("gone", "http://127.0.0.1:9/?sig=pa55word", lambda alert: {})
    note(register, [fail()], "gone")
    send(register, channel)
    assert "Channel gone did not take an alert (ConnectError)" in caplog.text
    later = utc() + GIVE_UP_AFTER + timedelta(hours=1)
    monkeypatch.setattr("sensors.alert_sensor.utc_now", lambda: later)
    send(register, channel)
    assert "Channel gone never took: features | 2026-01-05 failed (ConnectError)." in caplog.text
    assert register.claim(later + DAY) is None
    assert "pa55word" not in caplog.text


def test_no_tick_takes_longer_than_it_may(register: AlertRegister) -> None:
    note(register, [fail()])
    assert send(register, Kept(), seconds=-1) == 0


def test_thirty_days_of_one_cause_are_one_message_and_many_causes_are_bounded(register: AlertRegister) -> None:
    days = [
        fail(f"features | 2026-01-{day:02}", error=f"no snapshot of 2026-01-{day:02}", asset="features")
        for day in range(1, 31)
    ]
    assert note(register, days) == 1
    many = [fail(f"t{n}", error="".join(chr(97 + int(digit)) for digit in f"{n:03}")) for n in range(50)]
    assert note(register, many) == 21
    channel = Kept()
    assert send(register, channel) == 22
    assert "features | 2026-01-01 and 29 more failed" in [title for title, _ in channel.taken]
    assert any(title.endswith("and 29 more failed") and title.startswith("t20") for title, _ in channel.taken)


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=4_000), subjects=st.lists(st.text(min_size=1, max_size=400), min_size=1, max_size=30))
def test_whatever_an_error_says_every_channel_can_say_it(text: str, subjects: list[str]) -> None:
    failures = [fail(subject, error=text, run_id="r", error_class="Refused") for subject in subjects]
    alert = build_alert("failed", failures, [1] * len(failures))
    assert parse_alert(alert.to_json()) == alert
    assert len(alert.error) <= 1_500
    card, slack = build_card(alert, "production"), build_slack(alert, "production")
    for body in (card, slack):
        assert json.loads(json.dumps(body)) == body
        assert len(json.dumps(body, ensure_ascii=False)) < 28_000
    assert all(len(block["text"]["text"]) <= 3_000 for block in slack["blocks"])
    assert alert.title in build_text(alert)


def test_a_link_or_markup_in_an_error_stays_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_UI_URL", "https://dagster.example.com")
    error = "<https://evil.example|Reset> [Reset](https://evil.example) ```x``` <!channel> \u202eevil"
    alert = build_alert("failed", [fail(error=error, page="javascript:alert(1)", run_id="1")], [1])
    slack = json.dumps(build_slack(alert, "dev"), ensure_ascii=False)
    assert "<https://evil.example" not in slack
    assert "<!channel>" not in slack
    assert "\u202e" not in slack
    card = build_card(alert, "dev")["attachments"][0]["content"]
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}, "a text block would be read as Markdown"
    assert [action["url"] for action in card["actions"]] == ["https://dagster.example.com/runs/1"]


def test_secrets_that_were_read_are_in_no_message() -> None:
    remember_secret("s3cret-of-the-driver")
    assert cut("login failed for s3cret-of-the-driver", 100) == "login failed for ***"


def test_teams_and_slack_get_what_they_take(webhook: WebhookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_ALERTS_TEAMS_URL", f"{webhook.url}/teams")
    monkeypatch.setenv("ADFML_ALERTS_SLACK_URL", f"{webhook.url}/slack")
    alert = build_alert("resolved", [fail()], [3])
    for channel in read_channels():
        channel.send(alert, "id")
    (teams, card), (slack, text) = webhook.taken
    assert (teams, slack) == ("/teams", "/slack")
    (attachment,) = card["attachments"]
    assert (card["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    assert attachment["content"]["body"][0]["inlines"][0]["color"] == "Good"
    assert text["text"] == "dev: features | 2026-01-05 is well again"


def test_without_a_channel_alerts_are_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    channels = read_channels()
    assert channels == [LogChannel()]
    channels[0].send(build_alert("failed", [fail()], [1]), "id")
    assert "features | 2026-01-05 failed." in caplog.text


@pytest.mark.parametrize("address", ["http://hooks.example.com/pa55word", "pa55word", "ftp://x/pa55word"])
def test_a_webhook_without_tls_is_refused_and_not_shown(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_ALERTS_TEAMS_URL", address)
    with pytest.raises(SettingInvalid, match="TEAMS_URL is not valid: expected an https address") as refused:
        read_channels()
    assert "pa55word" not in str(refused.value)
