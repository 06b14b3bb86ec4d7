"""`adfml jobs cancel`: remote jobs stopped at their service, the wish in the ledger first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from adfml_cli.errors import CommandFailed
from adfml_cli.jobs import describe, find_job, open_control, open_service
from adfml_cli.output import confirm, print_json
from adfml_cli.people import name_user

if TYPE_CHECKING:
    from resources.ledger import Ledger
    from resources.remote_jobs import RemoteJob


def cancel_jobs(texts: Sequence[str], reason: str, *, yes: bool, as_json: bool) -> None:
    """Cancel jobs, after asking, and say how they stand then.

    Where a service cannot be asked the wish stays in the ledger, and the sensor goes on with it.

    Raises:
        CommandFailed: there is no such job, none of them is under way, somebody said no, or a service did not answer.
    """
    ledger = open_control().ledger
    jobs = list({job.submission_key: job for text in texts for job in find_outstanding(ledger, text)}.values())
    names = ", ".join(f"{job.submission_key} ({job.service} {job.remote_id or 'not yet there'})" for job in jobs)
    confirm(f"Cancel {names}?", yes=yes)
    why = f"Cancelled by {name_user()}{f': {reason.strip()}' if reason.strip() else ''}."
    found = {job.submission_key: _cancel(ledger, job, why) for job in jobs}
    problems = [problem for problem in found.values() if problem is not None]
    after = [ledger.get(job.submission_key) for job in jobs]
    if as_json:
        print_json({"jobs": [describe(job) for job in after], "problems": problems})
    for job in () if as_json else (one for one in after if found[one.submission_key] is None):
        then = "cancelled" if not job.outstanding else "told to stop; the sensor records its end"
        typer.echo(f"{job.submission_key}: {then}.")
    if problems:
        raise CommandFailed("\n".join(problems))


def find_outstanding(ledger: Ledger, text: str) -> list[RemoteJob]:
    """The jobs under way that are meant: one, or all of a partition's latest group for `asset|partition`.

    Raises:
        CommandFailed: there is no such job, or it has ended.
    """
    job = find_job(ledger, text)
    whole = text in (f"{job.asset}|{job.partition}", f"{job.collecting_asset}|{job.partition}")
    jobs = ledger.list_group(job.collecting_asset, job.partition) if whole else [job]
    outstanding = [one for one in jobs if one.outstanding]
    if not outstanding:
        raise CommandFailed(f"{job.submission_key} has {_say_end(job)}: there is nothing to cancel.")
    return outstanding


def _say_end(job: RemoteJob) -> str:
    ended = f" at {job.ended_at:%Y-%m-%d %H:%M} UTC" if job.ended_at else ""
    return f"{job.state if job.state != 'cancelled' else 'been cancelled'}{ended}"


def _cancel(ledger: Ledger, job: RemoteJob, reason: str) -> str | None:
    """Cancel one job. Returns what kept it from being told; None: it was told, or had never been sent."""
    from resources.errors import ResourceError
    from resources.submission import cancel_job

    # Before the client is made: a setting that is missing here must not lose the wish.
    ledger.request_cancel(job.submission_key, reason)
    try:
        cancel_job(ledger, open_service(job.service), job, reason)
    except ResourceError as error:
        return f"{job.submission_key} is not told yet: {error} The wish is in the ledger; the sensor goes on with it."
    return None
