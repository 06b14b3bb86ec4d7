"""The command that looks at the whole deployment."""

from __future__ import annotations

from typing import Annotated

import typer

from adfml_cli.output import AsJson, console, telling_errors

group = typer.Typer()


def complete_check(incomplete: str) -> list[str]:
    """The names of checks that begin so."""
    from adfml_cli.doctor.examining import CHECKS

    return [name for name in CHECKS if name.startswith(incomplete)]


@group.command()
def doctor(
    only: Annotated[
        list[str] | None,
        typer.Option(help="This check only; several times for several.", autocompletion=complete_check),
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that one look at one thing may take.")] = 20.0,
    as_json: AsJson = False,
) -> None:
    """Check every connection, identity, permission and setting; ends with 1 where one is not as it has to be."""
    from adfml_cli.doctor import command

    with telling_errors():
        code = command.run(only or [], timeout, console, as_json=as_json)
    raise typer.Exit(code)
