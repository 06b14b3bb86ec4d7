"""Commands for those who run a deployment: its control database's tables, and what is kept how long."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adfml_cli.output import AsJson, telling_errors

group = typer.Typer()


@group.command()
def upgrade(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the SQL, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the control database's tables to those of this version. Safe when two run it at once."""
    from adfml_cli import upgrade as command

    with telling_errors():
        command.run(dry_run=dry_run, as_json=as_json)


@group.command()
def rebuild(as_json: AsJson = False) -> None:
    """Put watermark intervals and model versions back into a lost control database, from the manifests in the lake.

    What is there already stays as it is. Verdicts and aliases are in no file: say by hand which version is champion.
    """
    from adfml_cli import rebuild as command

    with telling_errors():
        command.rebuild(as_json=as_json)


@group.command()
def retention(
    rules: Annotated[Path, typer.Option(help="The file of rules.")] = Path("retention.yaml"),
    apply: Annotated[bool, typer.Option("--apply", help="Remove it; without this nothing is removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say which old partitions, ledger rows and compute logs go by a file of rules, and why some stay."""
    from adfml_cli import retention as command

    with telling_errors():
        command.run(rules, apply=apply, as_json=as_json)
