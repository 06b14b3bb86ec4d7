"""Where alerts go: mail, Teams, a Slack-style webhook, or only the log. Set by ADFML_ALERTS_..., secrets by name."""

from __future__ import annotations

from collections.abc import Callable

from resources.alerts.channel import Channel, LogChannel
from resources.alerts.mail import read_mail
from resources.alerts.webhook import read_slack, read_teams
from resources.settings import ALERTS_EMAIL_TO, ALERTS_SLACK_URL, ALERTS_TEAMS_URL, Setting

_READERS: dict[str, tuple[Setting, Callable[[], Channel]]] = {
    "email": (ALERTS_EMAIL_TO, read_mail),
    "teams": (ALERTS_TEAMS_URL, read_teams),
    "slack": (ALERTS_SLACK_URL, read_slack),
}


def list_declared() -> dict[str, Callable[[], Channel]]:
    """Name of each channel that is set -> what reads it. Asks no Key Vault."""
    return {
        name: reader
        for name, (setting, reader) in _READERS.items()
        if setting.read_given() or setting.read_named_secret()
    }


def read_channels() -> list[Channel]:
    """The channels that are set; the log alone where none is.

    Raises:
        SettingMissing, SettingInvalid: a channel is set in part, or cannot be.
        Refused, Unreachable: the Key Vault's, where a secret is named.
    """
    return [read() for read in list_declared().values()] or [LogChannel()]


def alerts_declared() -> bool:
    """Whether somebody set a channel: then alerts are on in every environment. Asks no Key Vault."""
    return bool(list_declared())
