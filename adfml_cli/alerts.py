"""`adfml alerts`: what is not well, and a message to try the channels with."""

from __future__ import annotations

import uuid
from typing import Any

from adfml_cli.errors import CommandFailed
from adfml_cli.output import print_json, print_table, say


def show_open(*, as_json: bool) -> None:
    """Print what has failed and is not well yet, the newest failure first.

    Raises:
        ResourceError: the control database does not answer, or ADFML_CONTROL_URL is not set.
    """
    from resources.alerts.failure import build_command
    from resources.control import ControlDatabase

    incidents = ControlDatabase().alerts.list_open()
    if as_json:
        print_json([{**_describe(one), "command": build_command(one.failure)} for one in incidents])
        return
    if not incidents:
        say("Nothing has failed that is not well again.")
        return
    rows = [
        (
            one.failure.subject,
            str(one.failures),
            f"{one.opened_at:%Y-%m-%d %H:%M}",
            f"{one.told_at:%Y-%m-%d %H:%M}" if one.told_at else "",
            one.failure.error.strip().partition("\n")[0],
        )
        for one in incidents
    ]
    print_table(("what", "times", "since (UTC)", "told (UTC)", "error"), rows, folded=("what", "error"))


def _describe(incident: Any) -> dict[str, Any]:
    failure = incident.failure
    return {
        "subject": failure.subject,
        "kind": failure.kind,
        "asset": failure.asset,
        "partition": failure.partition,
        "failures": incident.failures,
        "opened_at": incident.opened_at,
        "last_at": failure.at,
        "told_at": incident.told_at,
        "error": failure.error,
        "run_id": failure.run_id,
        "page": failure.page,
    }


def send_test(*, as_json: bool) -> None:
    """Send a message to every channel that is set, at once and past the register.

    Raises:
        CommandFailed: none is set, or one did not take it; after all have been tried.
    """
    from resources.alerts.channel import NotDelivered
    from resources.alerts.channels import list_declared
    from resources.alerts.failure import Alert
    from resources.errors import ResourceError

    alert = Alert("resolved", "This is a test of adfml's alerts", ("test",), note="Nothing failed.")
    outcomes: dict[str, str | None] = {}
    for name, read in list_declared().items():
        try:
            read().send(alert, f"test-{uuid.uuid4()}")
        except NotDelivered as error:
            outcomes[name] = error.reason
        except ResourceError as error:
            outcomes[name] = str(error)
        else:
            outcomes[name] = None
    if as_json:
        print_json([{"channel": name, "taken": reason is None, "reason": reason} for name, reason in outcomes.items()])
    else:
        for name in (name for name, reason in outcomes.items() if reason is None):
            say(f"{name} took a test message.")
    if not outcomes:
        raise CommandFailed(
            "No channel is set: what fails is told in Dagster's log. "
            "Set ADFML_ALERTS_EMAIL_TO, ADFML_ALERTS_TEAMS_URL or ADFML_ALERTS_SLACK_URL."
        )
    if refused := [f"{name} did not take it: {reason}" for name, reason in outcomes.items() if reason is not None]:
        raise CommandFailed("\n".join(f"{one.rstrip('.')}." for one in refused))
