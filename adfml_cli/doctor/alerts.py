"""Alerts: whether every channel that is set would take one; nobody is told anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from adfml_cli.doctor.findings import Finding, Notes
from adfml_cli.doctor.running import Probe, Step

if TYPE_CHECKING:
    from resources.alerts.channel import Channel

CHECK = "alerts"
_NOTES = Notes(CHECK)
_NONE = "None is set: what fails is told in Dagster's log alone."
_ADVICE = {
    "email": "Check ADFML_ALERTS_SMTP, ADFML_ALERTS_SMTP_PASSWORD, ADFML_ALERTS_EMAIL_FROM and ADFML_ALERTS_EMAIL_TO.",
    "teams": "Check ADFML_ALERTS_TEAMS_URL, and that this machine may reach its host.",
    "slack": "Check ADFML_ALERTS_SLACK_URL, and that this machine may reach its host.",
}


def build_probes() -> Iterator[Probe]:
    """A probe for each channel that is set, and one for what messages link to."""
    from resources.alerts.channels import list_declared

    channels = list_declared()
    yield Probe(CHECK, "channels", lambda _: check_settings(len(channels)))
    for name, read in channels.items():
        yield Probe(CHECK, name, lambda step, name=name, read=read: check_channel(name, read, step))  # type: ignore[misc]


def check_settings(channels: int) -> Iterator[Finding]:
    """Whether somebody is told, and can open the run that failed."""
    from resources.environment import read_environment
    from resources.settings import UI_URL

    subject = "channels"
    if channels and not UI_URL.read():
        found = "Messages have no link to the run that failed."
        yield _NOTES.warning(subject, found, f"Set {UI_URL.name}, for example to {UI_URL.example}.")
    elif channels:
        yield _NOTES.ok(subject, f"{channels} set; links lead to {UI_URL.read()}.")
    elif read_environment().name == "production":
        found = "None is set: what fails is told in Dagster's log alone."
        yield _NOTES.warning(
            subject, found, "Set ADFML_ALERTS_EMAIL_TO, ADFML_ALERTS_TEAMS_URL or ADFML_ALERTS_SLACK_URL."
        )
    else:
        yield _NOTES.unused(subject, "None is set: what fails is told in Dagster's log alone.")


def check_channel(name: str, read: Callable[[], Channel], step: Step) -> Iterator[Finding]:
    """One channel: a mail server is asked for its sender and recipients, a webhook only for an answer."""
    from resources.alerts.channel import NotDelivered

    step(f"asking the channel {name}")
    try:
        yield _NOTES.ok(name, read().check())
    except NotDelivered as error:
        yield _NOTES.failed(name, f"It would take no alert: {error.reason}.", _ADVICE[name])
