"""`adfml jobs show`: one remote job, what happened to it, and all attempts of its partition."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from adfml_cli.jobs import describe, find_job, format_duration, open_control, open_service
from adfml_cli.output import print_json, print_table

if TYPE_CHECKING:
    from datetime import datetime

    from resources.ledger import Ledger
    from resources.remote_jobs import RemoteJob


def show_job(text: str, *, with_log: bool, as_json: bool) -> None:
    """Print a job, its attempts, and, where asked for, its log.

    Raises:
        CommandFailed: there is no such job.
        ResourceError: the control database, or the service that was asked for the log.
    """
    ledger = open_control().ledger
    job = find_job(ledger, text)
    attempts = list_attempts(ledger, job)
    log = read_log(job) if with_log else None
    if as_json:
        page = {"job": describe(job), "attempts": [describe(one) for one in attempts]}
        print_json(page | ({"log": log} if with_log else {}))
        return
    _print_job(job)
    typer.echo("")
    columns = ("attempt", "try", "state", "at the service", "written (UTC)", "took", "id", "message")
    print_table(columns, [_to_row(one, job) for one in attempts], folded=("message",))
    if with_log:
        typer.echo("\nLog:")
        typer.echo(log or f"{job.service} hands out no log of it{f'; its page may: {job.url}' if job.url else ''}.")


def list_attempts(ledger: Ledger, job: RemoteJob) -> list[RemoteJob]:
    """All attempts of a job's asset and partition, the first one first."""
    return sorted(ledger.list_jobs(None, asset=job.asset, partition=job.partition), key=lambda one: one.attempt)


def read_log(job: RemoteJob) -> str | None:
    """A job's log from its service; None where there is none, or the service hands out none.

    Raises:
        ResourceError: the service does not answer, or refuses.
    """
    from resources.remote_jobs import LogReader

    service = open_service(job.service)
    return service.read_log(job) if isinstance(service, LogReader) and job.remote_id is not None else None


def _print_job(job: RemoteJob) -> None:
    typer.echo(f"{job.submission_key}: {job.state}{f' ({job.remote_state})' if job.remote_state else ''}")
    lines = [
        ("service", f"{job.service}, id {job.remote_id or 'none yet'}"),
        ("page", job.url or "none"),
        ("result", _say_result(job)),
        ("tries", f"{job.try_number} of {job.max_tries}"),
        ("run", f"{job.run_id}{f', backfill {job.backfill_id}' if job.backfill_id else ''}"),
    ]
    if job.parent_key:
        lines.append(("follows", job.parent_key))
    if job.outstanding:
        lines.append(("deadline", f"{job.deadline_at:%Y-%m-%d %H:%M} UTC"))
    lines.append(("request", json.dumps(dict(job.request), sort_keys=True)))
    if job.facts:
        lines.append(("facts", json.dumps(dict(job.facts), sort_keys=True)))
    for name, value in lines:
        typer.echo(f"  {name:<9} {value}")
    typer.echo("  history")
    for moment, what in list_events(job):
        typer.echo(f"    {moment:%Y-%m-%d %H:%M:%S}  {what}")
    if job.message:
        typer.echo("  message")
        for line in job.message.strip().splitlines():
            typer.echo(f"    {line}")


def list_events(job: RemoteJob) -> Sequence[tuple[datetime, str]]:
    """What happened to a job and when, in order."""
    events = [(job.created_at, f"intent written by run {job.run_id}")]
    if job.submitted_at is not None:
        events.append((job.submitted_at, f"taken by {job.service} (sent {job.sends} times)"))
    if job.polled_at is not None and job.polled_at != job.ended_at:
        events.append((job.polled_at, f"last looked at: {job.remote_state or job.state}"))
    if job.ended_at is not None:
        events.append((job.ended_at, f"{job.state}{f': {job.cancel_reason}' if job.cancel_reason else ''}"))
    elif job.cancel_reason is not None:
        events.append((job.polled_at or job.created_at, f"to be cancelled: {job.cancel_reason}"))
    if job.collected_at is not None:
        events.append((job.collected_at, f"result collected by run {job.collected_by}"))
    return sorted(events)


def _say_result(job: RemoteJob) -> str:
    wanted = f"{job.collecting_asset}, partition {job.partition}"
    if job.collected_at is not None:
        return f"{wanted}: collected"
    return f"{wanted}: not collected"


def _to_row(job: RemoteJob, shown: RemoteJob) -> list[str]:
    mark = " <" if job.submission_key == shown.submission_key else ""
    until = job.ended_at or job.polled_at
    took = format_duration(until - job.submitted_at) if until and job.submitted_at else ""
    said = (job.message or "").strip().splitlines()
    return [
        f"{job.attempt}{mark}",
        f"{job.try_number}/{job.max_tries}",
        job.state,
        job.remote_state or "",
        f"{job.created_at:%Y-%m-%d %H:%M:%S}",
        took,
        job.remote_id or "",
        said[0] if said else "",
    ]
