"""The ledger of remote jobs: a row is there before a service is called, and says afterwards what became of it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from resources.control import deployment_id, run_transaction, utc_now
from resources.control_tables import remote_jobs as table
from resources.ledger_rows import (
    SUBMITTER_LEASE,
    build_query,
    identify,
    insert_adopted,
    insert_job,
    insert_successors,
    note_running,
    select_group,
    select_job,
    select_latest,
    take_up_group,
    to_job,
    to_storable,
    update_job,
)
from resources.remote_jobs import ENDED, OUTSTANDING, ForeignJob, RemoteJob, RemoteRun, RemoteStatus

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

P = ParamSpec("P")
T = TypeVar("T")

_FIRST_WAIT, _LONGEST_WAIT = timedelta(seconds=30), timedelta(minutes=15)


def _transaction(
    method: Callable[Concatenate[Ledger, Connection, P], T],
) -> Callable[Concatenate[Ledger, P], T]:
    """Run a method in a transaction of its own, again where the server ended it to let another through."""

    def run(self: Ledger, /, *arguments: P.args, **keywords: P.kwargs) -> T:
        if not self._deployment:
            self._deployment = deployment_id(self._engine)
        return run_transaction(self._engine, lambda connection: method(self, connection, *arguments, **keywords))

    functools.update_wrapper(run, method)
    return run


class Ledger:
    """The remote jobs of this deployment, by submission key `asset|partition|attempt`.

    The jobs that make one result together are a group: one job, or the shards of a partition, with their retries.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._deployment = ""

    def open_job(self, *, request: Mapping[str, Any], **values: Any) -> RemoteJob:
        """Write the intent to submit one job, or return the one that is there to be taken up; see `open_jobs`."""
        return self.open_jobs(requests=[request], **values)[-1]

    @_transaction
    def open_jobs(
        self,
        connection: Connection,
        *,
        asset: str,
        collecting_asset: str,
        partition: str,
        service: str,
        requests: Sequence[Mapping[str, Any]],
        deadline: timedelta,
        max_tries: int,
        run_id: str,
        backfill_id: str | None = None,
    ) -> list[RemoteJob]:
        """Write the intent to submit the jobs of a partition, one row a request; or return those to be taken up.

        Jobs of the same partition and requests that are under way, or have succeeded and were not collected yet, are
        taken up: submitting them again would do, and pay for, the work twice. Otherwise a new group begins.

        Requests that hold an `identity` are the same as others with that identity, whatever else they hold.

        Raises:
            JobOutstanding: jobs with other requests are under way.
        """
        taken_up = take_up_group(connection, asset, partition, [identify(r) for r in requests], run_id, backfill_id)
        if taken_up:
            return taken_up
        now = utc_now()
        group: dict[str, str] = {}
        for request in requests:
            job = insert_job(
                connection,
                self._deployment,
                request=request,
                sendable_at=now + SUBMITTER_LEASE,
                deadline_at=now + deadline,
                created_at=now,
                asset=asset,
                collecting_asset=collecting_asset,
                partition=partition,
                service=service,
                max_tries=max_tries,
                try_number=1,
                run_id=run_id,
                backfill_id=backfill_id,
                sender=run_id,
                **group,
            )
            group = {"group_key": job.group_key}
        return select_group(connection, group["group_key"]) if group else []

    @_transaction
    def take_up(
        self,
        connection: Connection,
        asset: str,
        partition: str,
        identity: str,
        run_id: str,
        backfill_id: str | None = None,
    ) -> list[RemoteJob]:
        """The group that `open_jobs` would take up for requests of an identity, before they are built; or none.

        Raises:
            JobOutstanding: jobs with another identity are under way.
        """
        return take_up_group(connection, asset, partition, [identity], run_id, backfill_id)

    @_transaction
    def adopt_job(self, connection: Connection, /, found: ForeignJob, **values: Any) -> RemoteJob:
        """Write a job that the service has already; see `insert_adopted`."""
        return insert_adopted(connection, self._deployment, found=found, **values)

    @_transaction
    def record_sending(
        self, connection: Connection, submission_key: str, sender: str, *, exclusive: bool = False
    ) -> RemoteJob | None:
        """Note that the service is about to be called for a job, and keep others from doing so for a while.

        Args:
            sender: who is about to call.
            exclusive: only where nobody else holds the job's lease.

        Returns:
            The job; None where somebody else holds it, or it is no longer to be sent.
        """
        change = table.update().where(table.c.submission_key == submission_key, table.c.state == "submitting")
        if exclusive:
            change = change.where(
                # One that sent it already waits as the others do: its request may still be on its way.
                ((table.c.sender == sender) & (table.c.sends == 0)) | (table.c.submitter_lease_until <= utc_now())
            )
        lease = utc_now() + SUBMITTER_LEASE
        values = {"sends": table.c.sends + 1, "submitter_lease_until": lease, "sender": sender}
        return select_job(connection, submission_key) if connection.execute(change.values(**values)).rowcount else None

    @_transaction
    def renew_sending(self, connection: Connection, submission_key: str, sender: str) -> bool:
        """Hold a job's lease for longer. False: it is somebody else's now, or the job is no longer to be sent."""
        held = (table.c.submission_key == submission_key) & (table.c.sender == sender)
        change = table.update().where(held, table.c.state == "submitting", table.c.cancel_reason.is_(None))
        return bool(connection.execute(change.values(submitter_lease_until=utc_now() + SUBMITTER_LEASE)).rowcount)

    @_transaction
    def postpone(
        self, connection: Connection, submission_key: str, message: str, sender: str, *, unsent: bool = False
    ) -> RemoteJob:
        """Note that the service had no room for a job: what its sender sent last was not taken.

        Args:
            unsent: only where nobody has sent it yet.

        What had been sent before may be there all the same: only that one send is taken back.
        """
        job = select_job(connection, submission_key)
        if job.state != "submitting" or job.sender != sender or (unsent and job.sends):
            return job
        refusals = job.refusals + 1
        wait = min(_FIRST_WAIT * 2 ** min(refusals - 1, 10), _LONGEST_WAIT)
        values = {"sends": max(job.sends - 1, 0), "sender": None, "refusals": refusals, "message": message}
        update_job(connection, submission_key, submitter_lease_until=utc_now() + wait, **values)
        return select_job(connection, submission_key)

    @_transaction
    def wake_postponed(self, connection: Connection, service: str) -> None:
        """Let the jobs a service had no room for be sent at once: one of its jobs has ended."""
        waiting = (table.c.service == service) & (table.c.state == "submitting") & (table.c.refusals > 0)
        unsent = table.c.sender.is_(None)
        connection.execute(table.update().where(waiting, unsent).values(submitter_lease_until=utc_now()))

    @_transaction
    def record_facts(self, connection: Connection, submission_key: str, facts: Mapping[str, Any]) -> RemoteJob:
        """Add to what a service's client noted for itself."""
        merged = {**select_job(connection, submission_key).facts, **facts}
        update_job(connection, submission_key, facts=json.dumps(merged, sort_keys=True))
        return select_job(connection, submission_key)

    @_transaction
    def record_submitted(self, connection: Connection, submission_key: str, run: RemoteRun) -> RemoteJob:
        """Note the service's answer. A job that has ended meanwhile, or has another remote run, stays as it is."""
        facts = {**select_job(connection, submission_key).facts, **run.facts}
        connection.execute(
            table.update()
            .where(table.c.submission_key == submission_key, table.c.state == "submitting")
            .values(
                state="running",
                remote_id=run.remote_id,
                url=run.url,
                submitted_at=utc_now(),
                facts=json.dumps(facts, sort_keys=True),
            )
        )
        return select_job(connection, submission_key)

    @_transaction
    def record_stray(self, connection: Connection, submission_key: str, run: RemoteRun) -> RemoteJob:
        """Note that a job that has ended here runs at the service all the same, and is to be cancelled there."""
        job = select_job(connection, submission_key)
        if job.remote_id is None:
            reason = job.cancel_reason or job.message or "It had ended before it was submitted."
            values = {"remote_id": run.remote_id, "url": run.url, "submitted_at": utc_now(), "cancel_reason": reason}
            update_job(connection, submission_key, state="running", ended_at=None, **values)
        return select_job(connection, submission_key)

    @_transaction
    def record_statuses(self, connection: Connection, statuses: Sequence[tuple[str, RemoteStatus]]) -> list[RemoteJob]:
        """Note how jobs stand, in one transaction. Returns those that have just ended.

        What follows from an end is written in the same transaction: the next try of a transient failure, the same job
        again where there was no room for it, the jobs that do what this one left undone.
        """
        ended = []
        running: dict[str, list[str]] = {}
        for submission_key, status in statuses:
            if status.state == "running" and not status.facts:
                running.setdefault(status.remote_state, []).append(submission_key)
                continue
            job = select_job(connection, submission_key)
            if not job.outstanding:
                continue
            if job.cancel_reason is not None and status.next_requests:
                # Cancelled while it was judged: what it left undone will not follow.
                status = replace(status, state="cancelled", message=job.cancel_reason, next_requests=())
            facts = json.dumps({**job.facts, **status.facts}, sort_keys=True)
            values: dict[str, Any] = {
                "polled_at": utc_now(),
                "remote_state": to_storable(status.remote_state)[:100],
                "facts": facts,
            }
            if status.state != "running":
                values |= {"state": status.state, "message": to_storable(status.message), "ended_at": utc_now()}
            update_job(connection, submission_key, **values)
            if status.state != "running":
                insert_successors(connection, self._deployment, job, status)
                ended.append(select_job(connection, submission_key))
        for remote_state, keys in running.items():
            note_running(connection, remote_state, keys)
        return ended

    def record_ended(self, submission_key: str, status: RemoteStatus) -> RemoteJob:
        """Note that a job has ended. One that had ended before stays as it was."""
        self.record_statuses([(submission_key, status)])
        return self.get(submission_key)

    @_transaction
    def request_cancel(self, connection: Connection, submission_key: str, reason: str) -> RemoteJob:
        """Note that a job is to be cancelled, before the service is asked; the first reason stays."""
        wanted = (table.c.submission_key == submission_key) & table.c.state.in_(OUTSTANDING)
        connection.execute(table.update().where(wanted, table.c.cancel_reason.is_(None)).values(cancel_reason=reason))
        return select_job(connection, submission_key)

    @_transaction
    def request_cancels(self, connection: Connection, reasons: Mapping[str, str]) -> None:
        """As `request_cancel`, for many jobs at once: submission key -> reason."""
        for submission_key, reason in reasons.items():
            wanted = (table.c.submission_key == submission_key) & table.c.state.in_(OUTSTANDING)
            change = table.update().where(wanted, table.c.cancel_reason.is_(None))
            connection.execute(change.values(cancel_reason=reason))

    @_transaction
    def request_collect(
        self, connection: Connection, submission_key: str, selection: Sequence[str], run_id: str
    ) -> None:
        """Note that a run came too early for the result, and what it left undone."""
        update_job(connection, submission_key, early_selection=json.dumps(list(selection)), early_run_id=run_id)

    @_transaction
    def mark_collected(self, connection: Connection, submission_key: str, run_id: str) -> None:
        """Note that the result of a job, and of its group, was collected and verified."""
        group = select_job(connection, submission_key).group_key
        whole = (table.c.submission_key == submission_key) | (table.c.group_key == group)
        connection.execute(table.update().where(whole).values(collected_by=run_id, collected_at=utc_now()))

    @_transaction
    def clear_early(self, connection: Connection, submission_key: str) -> None:
        """Note that the run which came too early was requested again, or replaced by a retry."""
        update_job(connection, submission_key, early_selection=None)

    def get(self, submission_key: str) -> RemoteJob:
        """One row.

        Raises:
            KeyError: there is none.
        """
        with self._engine.connect() as connection:
            return select_job(connection, submission_key)

    def find_latest(self, collecting_asset: str, partition: str) -> RemoteJob | None:
        """The latest attempt whose result an asset's partition waits for."""
        condition = (table.c.collecting_asset == collecting_asset) & (table.c.partition == partition)
        with self._engine.connect() as connection:
            return select_latest(connection, condition)

    def list_group(self, collecting_asset: str, partition: str) -> list[RemoteJob]:
        """The latest group of jobs whose result an asset's partition waits for, first attempt first."""
        latest = self.find_latest(collecting_asset, partition)
        if latest is None:
            return []
        with self._engine.connect() as connection:
            return select_group(connection, latest.group_key) or [latest]

    def list_outstanding(self, service: str | None = None) -> list[RemoteJob]:
        """Jobs that have not ended, those that were not looked at for longest first."""
        query = table.select().where(table.c.state.in_(OUTSTANDING))
        if service is not None:
            query = query.where(table.c.service == service)
        # NULL sorts first on SQLite and SQL Server, last on PostgreSQL: never polled comes first everywhere.
        return self._list(query.order_by(table.c.polled_at.is_not(None), table.c.polled_at, table.c.created_at))

    def list_awaited(self, *, not_cancelled: bool = False) -> set[tuple[str, str]]:
        """(collecting asset, partition) of every result that outstanding jobs still have to bring.

        Args:
            not_cancelled: without the jobs that are to be cancelled.
        """
        import sqlalchemy as sa

        query = sa.select(table.c.collecting_asset, table.c.partition).where(table.c.state.in_(OUTSTANDING)).distinct()
        if not_cancelled:
            query = query.where(table.c.cancel_reason.is_(None))
        with self._engine.connect() as connection:
            return {(row[0], row[1]) for row in connection.execute(query)}

    def list_uncollected(self) -> set[tuple[str, str]]:
        """(collecting asset, partition) of results that are there, and that no run has collected."""
        import sqlalchemy as sa

        left = (table.c.state == "succeeded") & table.c.collected_at.is_(None)
        query = sa.select(table.c.collecting_asset, table.c.partition).where(left).distinct()
        with self._engine.connect() as connection:
            return {(row[0], row[1]) for row in connection.execute(query)}

    def list_uncollected_early(self, service: str) -> list[RemoteJob]:
        """Ended jobs a run came too early for: it has to be requested again."""
        ended = (table.c.service == service) & table.c.state.in_(ENDED) & table.c.collected_at.is_(None)
        return self._list(table.select().where(ended, table.c.early_selection.is_not(None)))

    def list_jobs(self, limit: int | None = 100, **wanted: Any) -> list[RemoteJob]:
        """The latest rows, newest first; `wanted` as in `resources.ledger_rows.build_query`. No limit: all."""
        return self._list(build_query(limit, **wanted))

    def _list(self, query: Any) -> list[RemoteJob]:
        with self._engine.connect() as connection:
            return [to_job(row) for row in connection.execute(query).mappings()]
