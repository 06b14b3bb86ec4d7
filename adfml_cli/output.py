"""What the commands print: text, JSON, questions, and errors as one sentence."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from adfml_cli.errors import CommandFailed

console = Console(soft_wrap=True)
_aside = Console(soft_wrap=True, stderr=True)

WIDTH = 140
"""Of tables, in characters, where standard output is a pipe: it has no width of its own."""

AsJson = Annotated[bool, typer.Option("--json", help="As one JSON document, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")]


def say(text: str) -> None:
    """Print plain text."""
    typer.echo(text)


def show(text: str) -> None:
    """Print a line in rich's markup."""
    console.print(text, highlight=False)


def show_aside(text: str) -> None:
    """Print a line in rich's markup on standard error: progress, where standard output is a JSON document's."""
    _aside.print(text, highlight=False)


def print_json(document: Any) -> None:
    """Print a document as JSON: dataclasses as objects, times in ISO 8601."""
    typer.echo(json.dumps(document, indent=2, default=_to_plain))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, folded: Collection[str] = ()) -> None:
    """Print rows under their columns.

    Args:
        folded: columns that may take several lines; the others stay on one.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name not in folded)
    for row in rows:
        # Not markup: what a service said may hold brackets.
        table.add_row(*(Text(value) for value in row))
    wide = console if console.is_terminal else Console(width=WIDTH)
    wide.print(table)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is done; standard output stays free for what it says.

    Raises:
        CommandFailed: the answer is no, or nobody is there to give one.
    """
    if yes:
        return
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        raise CommandFailed("Nobody answered, and nothing was done: --yes answers for you.") from None
    if not agreed:
        raise CommandFailed("Nothing was done.")


@contextmanager
def telling_errors() -> Iterator[None]:
    """Known errors are a sentence on standard error and exit code 1; others are defects, and keep their stack."""
    from adfml_assets.errors import AdfmlError
    from resources.errors import ResourceError

    try:
        yield
    except (AdfmlError, CommandFailed, ResourceError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _to_plain(value: Any) -> Any:
    if isinstance(value, (date, datetime)):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no form in JSON")
