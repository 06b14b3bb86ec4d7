"""`adfml doctor`: the report as a table, or as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from adfml_cli.output import print_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from adfml_cli.doctor.findings import Report, Status

WIDTH = 140
"""Of the table, in characters: a pipe has no width of its own."""

_MARKS: dict[Status, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "warning": ("warning", "yellow"),
    "failed": ("FAILED", "bold red"),
    "unused": ("not used", "dim"),
}


def run(only: Sequence[str], timeout: float, console: Console, *, as_json: bool) -> int:
    """Examine the deployment, and show the report. Returns the exit code: 1 where something failed.

    Raises:
        CommandFailed: there is no check of a name.
    """
    from adfml_cli.declared import DEFS
    from adfml_cli.doctor.examining import examine
    from adfml_cli.workflow import load_repository

    examination = examine(DEFS, load_repository, only=only, limit_seconds=timeout)
    show(examination.report, console, as_json=as_json)
    code = 1 if examination.report.failed else 0
    if examination.hanging:
        # Threads that wait for an answer cannot be ended, and libraries wait for theirs when a process ends.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def show(report: Report, console: Console, *, as_json: bool) -> None:
    """Print a report."""
    from rich.console import Console

    if as_json:
        print_json(report.to_json())
        return
    wide = console if console.is_terminal else Console(width=WIDTH)
    wide.print(_build_table(report))
    counts = report.counts
    typer.echo(
        f"{counts['ok']} ok, {counts['warning']} warnings, {counts['failed']} failed, {counts['unused']} not used; "
        f"in {report.seconds:.1f} s."
    )


def _build_table(report: Report) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table()
    for name in ("check", "what", "", "found, and what to do"):
        table.add_column(name, no_wrap=name == "", overflow="fold")
    before = ""
    for one in report.findings:
        word, style = _MARKS[one.status]
        text = escape(one.found) + (f"\n[bold]→[/] {escape(one.advice)}" if one.advice else "")
        name = one.check if one.check != before else ""
        table.add_row(name, escape(one.subject), f"[{style}]{word}[/]", text)
        before = one.check
    return table
