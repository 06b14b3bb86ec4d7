"""Turns at a table: one run at a time scores its rows, so that no text is sent, and paid for, twice.

A turn is a row of the claims' table (`resources.claims`): taken and not committed means under way. Its holder renews
it; one that is not renewed for `lease` is over, whatever became of its holder.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from resources.control import run_transaction, utc_now
from resources.control_tables import partition_claims as table
from resources.errors import ResourceError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

PARTITION = "turn"
LEASE = timedelta(seconds=60)
_log = logging.getLogger(__name__)


class TurnTaken(ResourceError):
    """Another run is scoring the table."""

    def __init__(self, name: str, run_id: str, renewed_at: datetime) -> None:
        self.name = name
        self.run_id = run_id
        self.renewed_at = renewed_at
        super().__init__(
            f"{name} is being scored by run {run_id} (last seen {renewed_at:%H:%M:%S} UTC). Nothing was sent. "
            "Materialise the partition again when that run has ended: it then takes what is left."
        )


class TurnLost(ResourceError):
    """A run could not renew its turn in time, and another run has the table now."""

    def __init__(self, name: str, run_id: str) -> None:
        self.name = name
        self.run_id = run_id
        super().__init__(
            f"Run {run_id} lost its turn at {name}: it was held up, or the control database did not answer, for "
            "longer than a turn is kept. What it had written counts; materialise the partition again for the rest."
        )


@dataclass(frozen=True)
class _Row:
    number: int
    committed: int
    stamp: datetime
    run_id: str
    renewed_at: datetime


class Turn:
    """A turn that is held; see `hold_turn`.

    Attributes:
        name: of the table.
        stamp: whole seconds, UTC, later than that of every earlier turn: goes into the names of files.
        run_id: of the Dagster run that holds it.
    """

    def __init__(self, engine: Engine, name: str, number: int, stamp: datetime, run_id: str, lease: timedelta) -> None:
        self.name = name
        self.stamp = stamp
        self.run_id = run_id
        self._engine = engine
        self._number = number
        self._lease = lease
        self._sure_until = time.monotonic() + lease.total_seconds()
        self._ended = threading.Event()

    def check(self) -> None:
        """Make sure nobody else can have taken it. Call it before what must not be done by two.

        Raises:
            TurnLost: the turn was not renewed in time.
        """
        if time.monotonic() >= self._sure_until:
            raise TurnLost(self.name, self.run_id)

    def keep(self) -> None:
        """Renew the turn until it is ended; runs in a thread of its own."""
        while not self._ended.wait(self._lease.total_seconds() / 6):
            begun = time.monotonic()
            try:
                kept = run_transaction(self._engine, self._renew)
            except Exception as error:
                # The next renewal may do; if none does, `check` tells before anything is done twice.
                _log.warning("The turn at %s could not be renewed: %s", self.name, error)
                continue
            if not kept:
                self._sure_until = 0.0
                return
            self._sure_until = begun + self._lease.total_seconds()

    def end(self) -> None:
        """Let the next one have it."""
        self._ended.set()
        run_transaction(self._engine, lambda connection: _set(connection, self.name, self._number, ended=True))

    def _renew(self, connection: Connection) -> bool:
        return _set(connection, self.name, self._number, ended=False)


@contextmanager
def hold_turn(engine: Engine, name: str, run_id: str, lease: timedelta = LEASE) -> Iterator[Turn]:
    """Hold the turn at a table, once its last holder has ended or is not heard of any more.

    Waits at most a little longer than `lease`, and only for a holder that says nothing.

    Args:
        engine: of the control database.
        name: `database.schema.table`.
        run_id: who asks.
        lease: how long a turn outlives its last renewal.

    Raises:
        TurnTaken: another run holds it, and is alive.
    """
    turn = _take(engine, name, run_id, lease)
    keeper = threading.Thread(target=turn.keep, name="turn", daemon=True)
    keeper.start()
    try:
        yield turn
    finally:
        turn.end()
        keeper.join()


def _take(engine: Engine, name: str, run_id: str, lease: timedelta) -> Turn:
    first_seen: _Row | None = None

    def take(connection: Connection) -> Turn | _Row:
        row = _read(connection, name)
        now = utc_now()
        if row is not None and row.committed < row.number and now - row.renewed_at < lease:
            return row
        stamp = now.replace(microsecond=0)
        values = {"run_id": run_id, "claimed_at": now}
        if row is None:
            values |= {"number": 1, "committed": 0, "stamp": stamp}
            connection.execute(table.insert().values(asset=name, partition=PARTITION, **values))
            return Turn(engine, name, 1, stamp, run_id, lease)
        stamp = max(stamp, row.stamp + timedelta(seconds=1))
        values |= {"number": row.number + 1, "stamp": stamp}
        connection.execute(table.update().where(*_where(name)).values(**values))
        return Turn(engine, name, row.number + 1, stamp, run_id, lease)

    while True:
        found = run_transaction(engine, take)
        if isinstance(found, Turn):
            return found
        first_seen = first_seen or found
        if (found.number, found.renewed_at) != (first_seen.number, first_seen.renewed_at):
            raise TurnTaken(name, found.run_id, found.renewed_at)
        time.sleep(min(1.0, lease.total_seconds() / 12))


def _where(name: str) -> tuple:
    return (table.c.asset == name, table.c.partition == PARTITION)


def _read(connection: Connection, name: str) -> _Row | None:
    import sqlalchemy as sa

    # A write locks the row on every kind of server; SELECT ... FOR UPDATE does not.
    if connection.execute(table.update().where(*_where(name)).values(asset=name)).rowcount == 0:
        return None
    columns = (table.c.number, table.c.committed, table.c.stamp, table.c.run_id, table.c.claimed_at)
    return _Row(*connection.execute(sa.select(*columns).where(*_where(name))).one())


def _set(connection: Connection, name: str, number: int, *, ended: bool) -> bool:
    """Renew or end a turn; False: it is somebody else's by now."""
    values = {"committed": number} if ended else {"claimed_at": datetime.now(UTC)}
    changed = connection.execute(table.update().where(*_where(name), table.c.number == number).values(**values))
    return changed.rowcount > 0
