"""Trainings that drift asked for: one row a version in the control database, there before anything is launched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from resources.control import run_transaction
from resources.control_tables import model_versions, remote_jobs
from resources.control_tables import retrainings as table

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

Outcome = Literal["promoted", "passed", "refused", "failed", "expired"]
"""promoted: the version passed its gate and is champion. passed: it may become it. refused: the gate said no. failed:
the training did not come to a verdict. expired: nothing was heard of it in time."""


@dataclass(frozen=True)
class Retraining:
    """A version that drift asked for. Times are UTC.

    Attributes:
        model, version: what is to be trained.
        requested_at: when it was asked for.
        reason: what was seen.
        backfill_id: the backfill that trains it, from just before it is launched; None until then.
        ended_at, outcome: None while it is outstanding.
    """

    model: str
    version: str
    requested_at: datetime
    reason: str
    backfill_id: str | None = None
    ended_at: datetime | None = None
    outcome: Outcome | None = None

    @property
    def outstanding(self) -> bool:
        """Whether it has no outcome yet."""
        return self.ended_at is None


class Retrainings:
    """The retrainings of every model: of each one at most one is outstanding."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def request(
        self, model: str, asset: str, known: Iterable[str], *, reason: str, cooldown: timedelta, now: datetime
    ) -> Retraining | None:
        """Ask for a new version: the next number after every version there is or was asked for.

        Checked and written in one transaction: of two that ask at the same time one gets a request.

        Args:
            model: its name.
            asset: the asset of the model, whose partitions in the ledger are versions.
            known: versions known elsewhere (Dagster's partitions). Those that are no numbers do not count.
            reason: what was seen.
            cooldown: how long after the last request there is no other.
            now: UTC.

        Returns:
            None where one is outstanding, or the last one was requested less than `cooldown` ago.
        """
        elsewhere = list(known)

        def request(connection: Connection) -> Retraining | None:
            before = _select(connection, model)
            if any(one.outstanding or one.requested_at + cooldown > now for one in before):
                return None
            versions = [*elsewhere, *(one.version for one in before), *_list_versions(connection, model, asset)]
            version = str(1 + max((int(one) for one in versions if one.isdecimal() and one.isascii()), default=0))
            asked = Retraining(model, version, now, reason)
            connection.execute(table.insert().values(model=model, version=version, requested_at=now, reason=reason))
            return asked

        return run_transaction(self._engine, request)

    def find(self, model: str, version: str) -> Retraining | None:
        """The request for a version, or None where drift never asked for it."""
        return next((one for one in self.list_all(model) if one.version == version), None)

    def find_outstanding(self, model: str) -> Retraining | None:
        """The request that has no outcome yet, or None."""
        return next((one for one in self.list_all(model) if one.outstanding), None)

    def list_all(self, model: str) -> list[Retraining]:
        """All requests of a model, the latest first."""
        with self._engine.connect() as connection:
            return _select(connection, model)

    def name_backfill(self, model: str, version: str, backfill_id: str) -> str | None:
        """Note the backfill that is about to be launched for an outstanding request; one that was noted before stays.

        Returns:
            The id to launch it under; None where there is no such request, or it has ended.
        """
        mine = (table.c.model == model) & (table.c.version == version)

        def name(connection: Connection) -> str | None:
            found = next((one for one in _select(connection, model) if one.version == version), None)
            if found is None or not found.outstanding or found.backfill_id is not None:
                return found.backfill_id if found is not None and found.outstanding else None
            connection.execute(table.update().where(mine).values(backfill_id=backfill_id))
            return backfill_id

        return run_transaction(self._engine, name)

    def end(self, model: str, version: str, outcome: Outcome, now: datetime) -> bool:
        """Note the outcome of an outstanding request. False: it has ended before, or there is none; nothing changes."""
        mine = (table.c.model == model) & (table.c.version == version) & table.c.ended_at.is_(None)

        def end(connection: Connection) -> bool:
            change = table.update().where(mine).values(ended_at=now, outcome=outcome)
            return bool(connection.execute(change).rowcount)

        return run_transaction(self._engine, end)


def _select(connection: Connection, model: str) -> list[Retraining]:
    import sqlalchemy as sa

    query = sa.select(table).where(table.c.model == model).order_by(table.c.requested_at.desc())
    return [_to_retraining(row) for row in connection.execute(query).mappings()]


def _list_versions(connection: Connection, model: str, asset: str) -> list[str]:
    import sqlalchemy as sa

    registered = sa.select(model_versions.c.version).where(model_versions.c.model == model)
    submitted = sa.select(remote_jobs.c.partition).where(remote_jobs.c.collecting_asset == asset).distinct()
    return [version for query in (registered, submitted) for version in connection.execute(query).scalars()]


def _to_retraining(row: Any) -> Retraining:
    return Retraining(**row)
