"""Claims on partitions: two runs that write the same partition at the same time cannot mix their files.

Every writer takes a claim first. A claim's stamp names the writer's files and is unique within the partition and
later than every earlier one. Committing makes a partition visible only if no later claim has been committed. Only when
it is committed are files removed, and only those of earlier claims, which can no longer be committed: whichever run
ends last, and wherever one dies, a reader finds one run's files, whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from resources.control import run_transaction, utc_now
from resources.control_tables import partition_claims as table

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine


@dataclass(frozen=True)
class Claim:
    """One run's right to write one partition.

    Attributes:
        asset: the asset's key, slash-separated.
        partition: its partition key.
        number: 1 for the partition's first claim.
        stamp: whole seconds, UTC; goes into the names of the files.
        run_id: the Dagster run.
    """

    asset: str
    partition: str
    number: int
    stamp: datetime
    run_id: str


class Claims:
    """The claims of every partition, one row a partition."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def take(self, asset: str, partition: str, now: datetime, run_id: str) -> Claim:
        """The next claim on a partition. Its stamp is `now`, or a second after the last claim's where that is later."""
        moment = now.replace(microsecond=0)

        def take(connection: Connection) -> Claim:
            where = (table.c.asset == asset, table.c.partition == partition)
            last = _lock_row(connection, asset, partition)
            if last is None:
                values = {"number": 1, "stamp": moment, "committed": 0}
                connection.execute(
                    table.insert().values(
                        asset=asset, partition=partition, run_id=run_id, claimed_at=utc_now(), **values
                    )
                )
                return Claim(asset, partition, 1, moment, run_id)
            claim = Claim(asset, partition, last[0] + 1, max(moment, last[1] + timedelta(seconds=1)), run_id)
            connection.execute(
                table.update()
                .where(*where)
                .values(number=claim.number, stamp=claim.stamp, run_id=run_id, claimed_at=utc_now())
            )
            return claim

        return run_transaction(self._engine, take)

    def commit(self, claim: Claim, publish: Callable[[], None]) -> bool:
        """Make a claim's files the partition's, by `publish`, unless a later claim has done so.

        The partition's row stays locked while `publish` runs (it writes one small file), so that two runs publish one
        after the other. `publish` may run twice.

        Returns:
            False: a later claim was committed; what it wrote stands and `publish` was not called.
        """

        def commit(connection: Connection) -> bool:
            last = _lock_row(connection, claim.asset, claim.partition)
            if last is not None and last[2] > claim.number:
                return False
            publish()
            where = (table.c.asset == claim.asset, table.c.partition == claim.partition)
            connection.execute(table.update().where(*where).values(committed=claim.number))
            return True

        return run_transaction(self._engine, commit)

    def list_open(self, after: datetime) -> set[tuple[str, str]]:
        """(asset, partition) of claims that were taken after a time and are not committed: somebody may be writing."""
        import sqlalchemy as sa

        query = sa.select(table.c.asset, table.c.partition).where(
            table.c.claimed_at > after, table.c.number > table.c.committed
        )
        with self._engine.connect() as connection:
            return {(row[0], row[1]) for row in connection.execute(query)}

    def is_known(self, asset: str, partition: str) -> bool:
        """Whether a partition's writers take claims on it."""
        import sqlalchemy as sa

        query = sa.select(table.c.number).where(table.c.asset == asset, table.c.partition == partition)
        with self._engine.connect() as connection:
            return connection.execute(query).first() is not None

    def is_overtaken(self, claim: Claim) -> bool:
        """Whether a later claim was committed: what this one has written may be removed, and is not needed."""
        import sqlalchemy as sa

        query = sa.select(table.c.committed).where(table.c.asset == claim.asset, table.c.partition == claim.partition)
        with self._engine.connect() as connection:
            return (connection.execute(query).scalar() or 0) > claim.number


def _lock_row(connection: Connection, asset: str, partition: str) -> tuple[int, datetime, int] | None:
    """(number, stamp, committed) of a partition's row, which stays locked to the end of the transaction."""
    import sqlalchemy as sa

    where = (table.c.asset == asset, table.c.partition == partition)
    # A write locks the row on every kind of server; SELECT ... FOR UPDATE does not.
    if connection.execute(table.update().where(*where).values(asset=asset)).rowcount == 0:
        return None
    row = connection.execute(sa.select(table.c.number, table.c.stamp, table.c.committed).where(*where)).one()
    return row[0], row[1], row[2]
