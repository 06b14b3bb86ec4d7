"""`adfml alerts`: what is not well, and the channels that tell of it."""

from __future__ import annotations

import typer

from adfml_cli.output import AsJson, telling_errors

group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@group.callback()
def alerts() -> None:
    """What has failed and is not well yet; a test message to mail, Teams and Slack."""


@group.command("list")
def list_incidents(as_json: AsJson = False) -> None:
    """What has failed and is not well yet, as the sensor `alerts` has noted it."""
    from adfml_cli import alerts as command

    with telling_errors():
        command.show_open(as_json=as_json)


@group.command("test")
def send_test(as_json: AsJson = False) -> None:
    """Send a test message to every channel that is set; ends with 1 where one does not take it."""
    from adfml_cli import alerts as command

    with telling_errors():
        command.send_test(as_json=as_json)
