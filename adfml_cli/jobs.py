"""`adfml jobs list`: rows of the ledger of remote jobs, chosen by service, state, asset, partition and age."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import typer

from adfml_cli.errors import CommandFailed
from adfml_cli.output import print_json, print_table

if TYPE_CHECKING:
    from resources.control import ControlDatabase
    from resources.ledger import Ledger
    from resources.remote_jobs import RemoteJob, RemoteService

STATES = ("submitting", "running", "succeeded", "failed", "cancelled", "outstanding", "uncollected")
SERVICES = ("databricks", "azure_ml_batch", "openai_batch")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True)
class JobFilter:
    """Which jobs are meant.

    Attributes:
        states: as in the ledger; empty: all.
        uncollected: only those whose result nobody has.
        since: UTC.
    """

    service: str | None
    states: tuple[str, ...]
    uncollected: bool
    asset: str | None
    partition: str | None
    since: datetime | None
    limit: int

    def find(self, ledger: Ledger) -> list[RemoteJob]:
        """The jobs, newest first."""
        found = ledger.list_jobs(
            None if self.uncollected else self.limit,
            service=self.service,
            states=self.states,
            asset=self.asset,
            partition=self.partition,
            since=self.since,
        )
        wanted = (job for job in found if not self.uncollected or job.collected_at is None)
        return list(wanted)[: self.limit]


def parse_filter(
    *,
    service: str | None,
    states: Sequence[str],
    asset: str | None,
    partition: str | None,
    since: str | None,
    limit: int,
) -> JobFilter:
    """The filter of the command line.

    Raises:
        CommandFailed: a service or state there is none of, or a time that is none.
    """
    from resources.remote_jobs import OUTSTANDING

    if service is not None and service not in SERVICES:
        raise CommandFailed(f"--service is {service!r}: expected {', '.join(SERVICES)}.")
    for state in states:
        if state not in STATES:
            raise CommandFailed(f"--state is {state!r}: expected {', '.join(STATES)}.")
    wanted: set[str] = set()
    for state in states:
        wanted |= set(OUTSTANDING) if state == "outstanding" else {"succeeded" if state == "uncollected" else state}
    return JobFilter(
        service,
        tuple(sorted(wanted)),
        "uncollected" in states,
        asset,
        partition,
        parse_since(since, datetime.now(UTC)) if since is not None else None,
        limit,
    )


def parse_since(text: str, now: datetime) -> datetime:
    """A moment: `2h` or `3d` before now, or a day or time, UTC unless it has a zone.

    Raises:
        CommandFailed: it is none.
    """
    try:
        if match := re.fullmatch(r"(\d+)([mhdw])", text.strip()):
            return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        raise CommandFailed(
            f"--since is {text!r}: expected minutes, hours, days or weeks (90m, 2h, 3d, 1w), a day or a time, UTC "
            "(2026-11-30, 2026-11-30T05:00)."
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def show_list(wanted: JobFilter, *, as_json: bool) -> None:
    """Print jobs, newest first.

    Raises:
        ResourceError: the control database does not answer, or ADFML_CONTROL_URL is not set.
    """
    from resources.control import ControlDatabase, utc_now

    found = wanted.find(ControlDatabase().ledger)
    if as_json:
        print_json([describe(job) for job in found])
        return
    if not found:
        typer.echo("No remote job in the ledger is as asked for.")
        return
    now = utc_now()
    columns = ("job", "state", "at the service", "age", "took", "page or message")
    print_table(columns, [_to_row(job, now) for job in found], folded=("job", "page or message"))
    if len(found) == wanted.limit:
        typer.echo(f"The latest {wanted.limit}; --limit shows more.")


def describe(job: RemoteJob) -> dict[str, Any]:
    """A job as JSON: all that the ledger has of it but its token, which is a key to the service."""
    values = {name: value for name, value in vars(job).items() if name != "token"}
    return {**values, "request": dict(job.request), "facts": dict(job.facts), "outstanding": job.outstanding}


def find_job(ledger: Ledger, text: str) -> RemoteJob:
    """A job by its submission key, `asset|partition` for its latest attempt, or its id at the service.

    Raises:
        CommandFailed: there is none, or several.
    """
    try:
        return ledger.get(text)
    except KeyError:
        pass
    asset, _, partition = text.rpartition("|")
    found = ledger.list_jobs(1, asset=asset, partition=partition) if asset and "*" not in asset else []
    found = found or ledger.list_jobs(2, remote_id=text)
    if len(found) == 1 or len({job.submission_key for job in found}) == 1:
        return found[0]
    if found:
        keys = ", ".join(job.submission_key for job in found)
        raise CommandFailed(f"Several jobs have the id {text!r} at their service: give a submission key, {keys}.")
    latest = ", ".join(job.submission_key for job in ledger.list_jobs(5)) or "none"
    raise CommandFailed(
        f"There is no remote job {text!r} in the ledger: expected a submission key (asset|partition|attempt), "
        f"asset|partition, or an id at the service. The latest are: {latest}."
    )


def open_service(name: str) -> RemoteService:
    """The client of a service, as the sensor uses it.

    Raises:
        CommandFailed: this version knows no such service.
    """
    from resources.azure_ml_batch import AzureMlBatch
    from resources.databricks import Databricks
    from resources.lake import Lake
    from resources.openai_batch import OpenAIBatch

    services: dict[str, Callable[[], RemoteService]] = {
        "databricks": Databricks,
        "azure_ml_batch": AzureMlBatch,
        "openai_batch": lambda: OpenAIBatch(lake=Lake()),
    }
    if name not in services:
        raise CommandFailed(f"The ledger names a service {name!r}, which this version does not know.")
    return services[name]()


def open_control() -> ControlDatabase:
    """The control database of the deployment."""
    from resources.control import ControlDatabase

    return ControlDatabase()


def format_duration(duration: timedelta) -> str:
    """A duration in its two largest units: `3 d 4 h`, `12 min 5 s`."""
    seconds = max(0, round(duration.total_seconds()))
    parts: list[str] = []
    for name, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if seconds >= size or (name == "s" and not parts):
            parts.append(f"{seconds // size} {name}")
            seconds %= size
    return " ".join(parts[:2])


def _to_row(job: RemoteJob, now: datetime) -> list[str]:
    state: str = job.state
    if job.outstanding and job.cancel_reason is not None:
        state += ", to be cancelled"
    elif job.state == "succeeded" and job.collected_at is None:
        state += ", not collected"
    until = job.ended_at or now
    took = format_duration(until - job.submitted_at) if job.submitted_at is not None else ""
    said = (job.message or "").strip().splitlines()
    about = said[0] if said and job.state in ("failed", "cancelled") else job.url or ""
    return [job.submission_key, state, job.remote_state or "", format_duration(now - job.created_at), took, about]
