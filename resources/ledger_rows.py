"""Rows of the ledger within one transaction: reading, inserting, and what follows from a job that has ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from resources.control import utc_now
from resources.control_tables import remote_jobs as table
from resources.errors import JobOutstanding, NotAdopted
from resources.remote_jobs import OUTSTANDING, ForeignJob, RemoteJob, RemoteStatus

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, RowMapping, Select

SUBMITTER_LEASE = timedelta(seconds=60)
"""How long a submitter has to get its answer before others may look for its job."""


def insert_job(
    connection: Connection,
    deployment: str,
    *,
    request: Mapping[str, Any],
    sendable_at: datetime,
    deadline_at: datetime,
    created_at: datetime | None = None,
    **values: Any,
) -> RemoteJob:
    """Write the intent of a job as the next attempt of its asset's partition.

    Args:
        deployment: this deployment's id; it keeps the tokens of two deployments apart.
        sendable_at: until then only its sender may send it.
        created_at: None: now.
        values: the other columns; without a group_key it is the first of a group of its own.
    """
    import sqlalchemy as sa

    mine = (table.c.asset == values["asset"]) & (table.c.partition == values["partition"])
    attempt = (connection.execute(sa.select(sa.func.max(table.c.attempt)).where(mine)).scalar() or 0) + 1
    key = f"{values['asset']}|{values['partition']}|{attempt}"
    values = {"group_key": key, "facts": "{}", "refusals": 0, **values}
    connection.execute(
        table.insert().values(
            submission_key=key,
            # 64 characters is what Databricks takes.
            token=hashlib.sha256(f"{deployment}|{key}".encode()).hexdigest(),
            attempt=attempt,
            request=json.dumps(dict(request), sort_keys=True),
            state="submitting",
            created_at=created_at or utc_now(),
            sends=0,
            submitter_lease_until=sendable_at,
            deadline_at=deadline_at,
            **values,
        )
    )
    return select_job(connection, key)


def insert_adopted(
    connection: Connection, deployment: str, *, found: ForeignJob, request: Mapping[str, Any], **values: Any
) -> RemoteJob:
    """Write a job that the service has already as the next attempt of its asset's partition, under way.

    Raises:
        NotAdopted: another job of the partition is under way, or waits to be collected; or the job is in the ledger.
    """
    asset, partition, remote_id = values["asset"], values["partition"], found.run.remote_id
    reasons = []
    last = select_latest(connection, (table.c.asset == asset) & (table.c.partition == partition))
    for job in select_group(connection, last.group_key) if last is not None else ():
        if job.outstanding:
            reasons.append(f"{job.submission_key} of the same partition is under way: wait for it, or cancel it")
        elif _is_uncollected(job):
            reasons.append(f"{job.submission_key} of the same partition has succeeded and waits to be collected")
    same = table.select().where(table.c.service == values["service"], table.c.remote_id == remote_id)
    for job in map(to_job, connection.execute(same).mappings()):
        if job.outstanding or job.state == "succeeded":
            reasons.append(f"it is in the ledger as {job.submission_key} ({job.state})")
        elif (job.asset, job.partition) != (asset, partition):
            reasons.append(f"it is in the ledger as {job.submission_key}, of another partition")
    if reasons:
        raise NotAdopted(asset, partition, remote_id, dict.fromkeys(reasons))
    job = insert_job(connection, deployment, request=request, sendable_at=utc_now(), try_number=1, **values)
    update_job(
        connection,
        job.submission_key,
        state="running",
        remote_id=remote_id,
        url=found.run.url,
        submitted_at=found.started_at or utc_now(),
        facts=json.dumps({**found.run.facts, "adopted": True}, sort_keys=True),
    )
    return select_job(connection, job.submission_key)


def insert_successors(connection: Connection, deployment: str, job: RemoteJob, status: RemoteStatus) -> None:
    """Write the intents that follow from a job's end: its next try, or what it left undone."""
    again = status.state == "failed" and status.transient and job.retryable
    wait = status.requeue_after if job.cancel_reason is None else None
    if not (again or wait is not None or status.next_requests):
        return
    now = utc_now()
    common: dict[str, Any] = {
        name: getattr(job, name)
        for name in ("asset", "collecting_asset", "partition", "service", "max_tries", "run_id", "backfill_id")
    }
    common |= {"group_key": job.group_key, "parent_key": job.submission_key, "sender": None}
    # One that waited for room was made later, with the deadline of the first.
    first = _select_first(connection, job.group_key) or job
    whole = first.deadline_at - first.created_at
    successors = []
    if wait is not None:
        # Waiting for room is no try, and does not move the deadline.
        successors.append(
            insert_job(
                connection,
                deployment,
                request=job.request,
                sendable_at=now + wait,
                deadline_at=job.deadline_at,
                try_number=job.try_number,
                refusals=job.refusals + 1,
                **common,
            )
        )
    elif again:
        successors.append(
            insert_job(
                connection,
                deployment,
                request=job.request,
                # No submitter is about to send it: whoever sees it first may.
                sendable_at=now,
                deadline_at=now + whole,
                try_number=job.try_number + 1,
                **common,
            )
        )
    for request in status.next_requests if job.cancel_reason is None else ():
        successors.append(
            insert_job(
                connection,
                deployment,
                request=request,
                sendable_at=now,
                deadline_at=now + whole,
                try_number=1,
                **common,
            )
        )
    if successors and job.early_selection is not None:
        # The run that came too early waits for the result, whichever job brings it.
        early = json.dumps(job.early_selection)
        update_job(connection, successors[0].submission_key, early_selection=early, early_run_id=job.early_run_id)
        update_job(connection, job.submission_key, early_selection=None)


def update_job(connection: Connection, submission_key: str, **values: Any) -> None:
    """Change a row."""
    connection.execute(table.update().where(table.c.submission_key == submission_key).values(**values))


def select_job(connection: Connection, submission_key: str) -> RemoteJob:
    """One row.

    Raises:
        KeyError: there is none.
    """
    row = connection.execute(table.select().where(table.c.submission_key == submission_key)).mappings().first()
    if row is None:
        raise KeyError(submission_key)
    return to_job(row)


def select_latest(connection: Connection, condition: ColumnElement[bool]) -> RemoteJob | None:
    """The latest attempt among rows."""
    query = table.select().where(condition).order_by(table.c.attempt.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return None if row is None else to_job(row)


def select_group(connection: Connection, group_key: str) -> list[RemoteJob]:
    """The jobs that make one result together, first attempt first."""
    whole = (table.c.group_key == group_key) | (table.c.submission_key == group_key)
    query = table.select().where(whole).order_by(table.c.attempt)
    return [to_job(row) for row in connection.execute(query).mappings()]


def _select_first(connection: Connection, group_key: str) -> RemoteJob | None:
    """The first attempt of a group; the whole group may be large, and be read for each of its jobs."""
    whole = (table.c.group_key == group_key) | (table.c.submission_key == group_key)
    row = connection.execute(table.select().where(whole).order_by(table.c.attempt).limit(1)).mappings().first()
    return None if row is None else to_job(row)


def list_tips(jobs: Sequence[RemoteJob]) -> list[RemoteJob]:
    """The jobs of a group by which it is judged: a job that failed and was tried again is not one of them."""
    parents = {job.parent_key for job in jobs}
    return [job for job in jobs if job.state == "succeeded" or job.submission_key not in parents]


def to_job(row: RowMapping) -> RemoteJob:
    """A row as a job."""
    values: dict[str, Any] = {str(name): value for name, value in row.items()}
    early = values["early_selection"]
    return RemoteJob(
        **{
            **values,
            "request": json.loads(values["request"]),
            "early_selection": tuple(json.loads(early)) if early else None,
            "group_key": values["group_key"] or values["submission_key"],
            "refusals": values["refusals"] or 0,
            "facts": json.loads(values["facts"] or "{}"),
        }
    )


def identify(request: Mapping[str, Any]) -> str:
    """What tells a request from others: its own `identity`, or all that it holds."""
    return str(request["identity"]) if "identity" in request else json.dumps(dict(request), sort_keys=True)


def take_up_group(
    connection: Connection, asset: str, partition: str, wanted: Sequence[str], run_id: str, backfill_id: str | None
) -> list[RemoteJob]:
    """The latest group of an asset's partition, where its jobs are still to be used; see `Ledger.open_jobs`.

    Raises:
        JobOutstanding: other jobs of the partition are under way.
    """
    last = select_latest(connection, (table.c.asset == asset) & (table.c.partition == partition))
    if last is None:
        return []
    group = select_group(connection, last.group_key) or [last]
    same = {identify(job.request) for job in group if job.parent_key is None} == set(wanted)
    outstanding = [job for job in group if job.outstanding]
    if outstanding and not same:
        raise JobOutstanding(outstanding[0].submission_key, outstanding[0].url)
    cancelled = any(job.cancel_reason is not None for job in group)
    useful = all(job.outstanding or _is_uncollected(job) for job in list_tips(group))
    if not same or cancelled or not useful:
        paid = [job for job in outstanding if job.cancel_reason is None or not useful]
        if paid:
            # A part has failed for good, or was cancelled: what is still under way is paid for.
            raise JobOutstanding(paid[0].submission_key, paid[0].url)
        return []
    for job in outstanding:
        update_job(connection, job.submission_key, run_id=run_id, backfill_id=backfill_id)
    return select_group(connection, last.group_key) or [select_job(connection, last.submission_key)]


def _is_uncollected(job: RemoteJob) -> bool:
    return job.state == "succeeded" and job.collected_at is None


def to_storable(text: str | None) -> str:
    """What every database takes: no NUL, no half of a surrogate pair."""
    return (text or "").replace("\0", "").encode("utf-8", "replace").decode()


def note_running(connection: Connection, remote_state: str, keys: Sequence[str]) -> None:
    """Note that jobs are under way, in a state of the service's own words."""
    import sqlalchemy as sa

    # One statement, run for many keys at once: such a one takes no list of states.
    outstanding = sa.or_(*(table.c.state == state for state in OUTSTANDING))
    change = table.update().where(table.c.submission_key == sa.bindparam("key"), outstanding)
    values = {"polled_at": utc_now(), "remote_state": to_storable(remote_state)[:100]}
    connection.execute(change.values(**values), [{"key": key} for key in keys])


def build_query(
    limit: int | None,
    *,
    service: str | None = None,
    states: Sequence[str] = (),
    asset: str | None = None,
    partition: str | None = None,
    remote_id: str | None = None,
    since: datetime | None = None,
    backfill: str | None = None,
) -> Select[Any]:
    """The query for the latest rows, newest first.

    Args:
        limit: how many at most; None: all.
        states: of the job; none given: whatever it is.
        asset: the submitting or the collecting one; `*` stands for any characters.
        since: written then or later.
        backfill: of its runs.
    """
    query = table.select().order_by(table.c.created_at.desc(), table.c.attempt.desc()).limit(limit)
    equal = {"service": service, "partition": partition, "remote_id": remote_id, "backfill_id": backfill}
    for column, value in ((table.c[name], value) for name, value in equal.items()):
        query = query if value is None else query.where(column == value)
    if states:
        query = query.where(table.c.state.in_(states))
    if asset is not None:
        query = query.where(match_name(table.c.asset, asset) | match_name(table.c.collecting_asset, asset))
    if since is not None:
        query = query.where(table.c.created_at >= since)
    return query


def match_name(column: ColumnElement[str], pattern: str) -> ColumnElement[bool]:
    """Whether a name is one, or fits a pattern in which `*` stands for any characters."""
    if "*" not in pattern:
        return column == pattern
    escaped = pattern.replace("!", "!!").replace("%", "!%").replace("_", "!_").replace("[", "![")
    return column.like(escaped.replace("*", "%"), escape="!")
