"""The ledger of remote jobs: a row is there before a service is called, and says afterwards what became of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from resources.control import begin, deployment_id, utc_now
from resources.control_tables import remote_jobs as table
from resources.errors import JobOutstanding
from resources.remote_jobs import ENDED, OUTSTANDING, RemoteJob, RemoteRun, RemoteStatus

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Engine

SUBMITTER_LEASE = timedelta(seconds=60)
"""How long a submitter has to get its answer before others may look for its job."""


class Ledger:
    """The remote jobs of this deployment, by submission key `asset|partition|attempt`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def open_job(
        self,
        *,
        asset: str,
        collecting_asset: str,
        partition: str,
        service: str,
        request: Mapping[str, Any],
        deadline: timedelta,
        max_tries: int,
        run_id: str,
        backfill_id: str | None = None,
    ) -> RemoteJob:
        """Write the intent to submit a job, or return the one that is there to be taken up.

        A job of the same partition and request that is under way, or has succeeded and was not collected yet, is
        taken up: submitting it again would do, and pay for, the work twice. Otherwise a new attempt begins.

        Raises:
            JobOutstanding: one with another request is under way.
        """
        deployment = deployment_id(self._engine)
        with begin(self._engine) as connection:
            last = _select_latest(connection, (table.c.asset == asset) & (table.c.partition == partition))
            if last is not None:
                same = dict(last.request) == dict(request)
                if last.outstanding and not same:
                    raise JobOutstanding(last.submission_key, last.url)
                if last.cancel_reason is None and same and (last.outstanding or _is_uncollected(last)):
                    _update(connection, last.submission_key, run_id=run_id, backfill_id=backfill_id)
                    return _select(connection, last.submission_key)
            return _insert(
                connection,
                deployment,
                asset=asset,
                collecting_asset=collecting_asset,
                partition=partition,
                service=service,
                request=request,
                deadline=deadline,
                attempt=1 if last is None else last.attempt + 1,
                try_number=1,
                max_tries=max_tries,
                run_id=run_id,
                backfill_id=backfill_id,
            )

    def record_sending(self, submission_key: str) -> RemoteJob:
        """Note that the service is about to be called for a job, and keep others from doing so for a while."""
        with begin(self._engine) as connection:
            lease = utc_now() + SUBMITTER_LEASE
            _update(connection, submission_key, sends=table.c.sends + 1, submitter_lease_until=lease)
            return _select(connection, submission_key)

    def record_submitted(self, submission_key: str, run: RemoteRun) -> RemoteJob:
        """Note the service's answer. A job that has ended meanwhile stays ended."""
        with begin(self._engine) as connection:
            connection.execute(
                table.update()
                .where(table.c.submission_key == submission_key, table.c.state == "submitting")
                .values(state="running", remote_id=run.remote_id, url=run.url, submitted_at=utc_now())
            )
            return _select(connection, submission_key)

    def record_statuses(self, statuses: Iterable[tuple[str, RemoteStatus]]) -> list[RemoteJob]:
        """Note how jobs stand, in one transaction. Returns those that have just ended.

        A transient failure with tries left leaves the intent of its next try in the same transaction, under a new key.
        """
        ended = []
        deployment = deployment_id(self._engine)
        with begin(self._engine) as connection:
            for submission_key, status in statuses:
                values: dict[str, Any] = {"polled_at": utc_now(), "remote_state": status.remote_state}
                if status.state != "running":
                    values |= {"state": status.state, "message": status.message, "ended_at": utc_now()}
                changed = connection.execute(
                    table.update()
                    .where(table.c.submission_key == submission_key, table.c.state.in_(OUTSTANDING))
                    .values(**values)
                ).rowcount
                if changed and status.state != "running":
                    job = _select(connection, submission_key)
                    ended.append(job)
                    if status.state == "failed" and status.transient and job.retryable:
                        _insert_retry(connection, deployment, job)
        return ended

    def record_ended(self, submission_key: str, status: RemoteStatus) -> RemoteJob:
        """Note that a job has ended. One that had ended before stays as it was."""
        self.record_statuses([(submission_key, status)])
        return self.get(submission_key)

    def request_cancel(self, submission_key: str, reason: str) -> RemoteJob:
        """Note that a job is to be cancelled, before the service is asked; the first reason stays."""
        with begin(self._engine) as connection:
            connection.execute(
                table.update()
                .where(
                    table.c.submission_key == submission_key,
                    table.c.state.in_(OUTSTANDING),
                    table.c.cancel_reason.is_(None),
                )
                .values(cancel_reason=reason)
            )
            return _select(connection, submission_key)

    def request_collect(self, submission_key: str, selection: Sequence[str], run_id: str) -> None:
        """Note that a run came too early for the result, and what it left undone."""
        with begin(self._engine) as connection:
            _update(connection, submission_key, early_selection=json.dumps(list(selection)), early_run_id=run_id)

    def mark_collected(self, submission_key: str, run_id: str) -> None:
        """Note that a job's result was collected and verified."""
        with begin(self._engine) as connection:
            _update(connection, submission_key, collected_by=run_id, collected_at=utc_now())

    def get(self, submission_key: str) -> RemoteJob:
        """One row.

        Raises:
            KeyError: there is none.
        """
        with self._engine.connect() as connection:
            return _select(connection, submission_key)

    def find_latest(self, collecting_asset: str, partition: str) -> RemoteJob | None:
        """The latest attempt whose result an asset's partition waits for."""
        condition = (table.c.collecting_asset == collecting_asset) & (table.c.partition == partition)
        with self._engine.connect() as connection:
            return _select_latest(connection, condition)

    def list_outstanding(self, service: str | None = None) -> list[RemoteJob]:
        """Jobs that have not ended, those that were not looked at for longest first."""
        query = table.select().where(table.c.state.in_(OUTSTANDING))
        if service is not None:
            query = query.where(table.c.service == service)
        # NULL sorts first on SQLite and SQL Server, last on PostgreSQL: never polled comes first everywhere.
        query = query.order_by(table.c.polled_at.is_not(None), table.c.polled_at, table.c.created_at)
        return self._list(query)

    def list_uncollected_early(self, service: str) -> list[RemoteJob]:
        """Ended jobs a run came too early for: it has to be requested again."""
        return self._list(
            table.select().where(
                table.c.service == service,
                table.c.state.in_(ENDED),
                table.c.early_selection.is_not(None),
                table.c.collected_at.is_(None),
            )
        )

    def list_jobs(self, limit: int = 100) -> list[RemoteJob]:
        """The latest rows, newest first."""
        return self._list(table.select().order_by(table.c.created_at.desc()).limit(limit))

    def clear_early(self, submission_key: str) -> None:
        """Note that the run which came too early was requested again, or replaced by a retry."""
        with begin(self._engine) as connection:
            _update(connection, submission_key, early_selection=None)

    def _list(self, query: Any) -> list[RemoteJob]:
        with self._engine.connect() as connection:
            return [_to_job(dict(row)) for row in connection.execute(query).mappings()]


def _insert_retry(connection: Connection, deployment: str, job: RemoteJob) -> None:
    retry = _insert(
        connection,
        deployment,
        asset=job.asset,
        collecting_asset=job.collecting_asset,
        partition=job.partition,
        service=job.service,
        request=job.request,
        deadline=job.deadline_at - job.created_at,
        attempt=job.attempt + 1,
        try_number=job.try_number + 1,
        max_tries=job.max_tries,
        run_id=job.run_id,
        backfill_id=job.backfill_id,
    )
    if job.early_selection is not None:
        # The run that came too early waits for the result, whichever try brings it.
        early = json.dumps(job.early_selection)
        _update(connection, retry.submission_key, early_selection=early, early_run_id=job.early_run_id)
        _update(connection, job.submission_key, early_selection=None)


def _is_uncollected(job: RemoteJob) -> bool:
    return job.state == "succeeded" and job.collected_at is None


def _insert(
    connection: Connection, deployment: str, *, request: Mapping[str, Any], deadline: timedelta, **values: Any
) -> RemoteJob:
    key = f"{values['asset']}|{values['partition']}|{values['attempt']}"
    now = utc_now()
    connection.execute(
        table.insert().values(
            submission_key=key,
            # 64 characters is what Databricks takes; the deployment's id keeps two deployments apart.
            token=hashlib.sha256(f"{deployment}|{key}".encode()).hexdigest(),
            request=json.dumps(dict(request), sort_keys=True),
            state="submitting",
            created_at=now,
            sends=0,
            # A retry has no submitter who is about to send it: whoever sees it first may.
            submitter_lease_until=now + SUBMITTER_LEASE if values["try_number"] == 1 else now,
            deadline_at=now + deadline,
            **values,
        )
    )
    return _select(connection, key)


def _update(connection: Connection, submission_key: str, **values: Any) -> None:
    connection.execute(table.update().where(table.c.submission_key == submission_key).values(**values))


def _select(connection: Connection, submission_key: str) -> RemoteJob:
    row = connection.execute(table.select().where(table.c.submission_key == submission_key)).mappings().first()
    if row is None:
        raise KeyError(submission_key)
    return _to_job(dict(row))


def _select_latest(connection: Connection, condition: ColumnElement[bool]) -> RemoteJob | None:
    query = table.select().where(condition).order_by(table.c.attempt.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return None if row is None else _to_job(dict(row))


def _to_job(row: dict[str, Any]) -> RemoteJob:
    early = row["early_selection"]
    return RemoteJob(
        **{**row, "request": json.loads(row["request"]), "early_selection": tuple(json.loads(early)) if early else None}
    )
