"""Ledger rows that are needed no more.

A token is made of asset, partition and attempt, and a service that knows a token returns the old job for it: the latest
attempt of a partition therefore stays for good, so that the next one gets a number, and a token, of its own. Jobs that
make one result together (shards and their retries) stay or go together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from resources.control import run_transaction
from resources.control_tables import model_versions
from resources.control_tables import remote_jobs as table
from resources.remote_jobs import ENDED

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Delete, Engine

_BATCH = 500


def list_old_jobs(engine: Engine, before: datetime) -> list[str]:
    """Submission keys of jobs that ended before a time and that nothing refers to any more, whole groups only."""
    import sqlalchemy as sa

    columns = (table.c.submission_key, table.c.group_key, table.c.asset, table.c.partition, table.c.attempt)
    query = sa.select(*columns, sa.case((_is_over(before), 1), else_=0).label("ended"))
    with engine.connect() as connection:
        rows = connection.execute(query).all()
        trained = set(connection.execute(sa.select(model_versions.c.submission_key)).scalars())
    latest: dict[tuple[str, str], int] = {}
    for row in rows:
        place = (row.asset, row.partition)
        latest[place] = max(latest.get(place, 0), row.attempt)
    groups: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for row in rows:
        needed = row.attempt == latest[row.asset, row.partition] or row.submission_key in trained
        groups[row.group_key or row.submission_key].append((row.submission_key, bool(row.ended) and not needed))
    old = (jobs for jobs in groups.values() if all(may_go for _, may_go in jobs))
    return sorted(key for jobs in old for key, _ in jobs)


def delete_old_jobs(engine: Engine, keys: Sequence[str], before: datetime) -> int:
    """Delete rows that `list_old_jobs` named; one that was taken up meanwhile stays. Returns how many went."""
    count = 0
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]

        change = table.delete().where(table.c.submission_key.in_(batch), _is_over(before))

        def delete(connection: Connection, change: Delete = change) -> int:
            return connection.execute(change).rowcount

        count += run_transaction(engine, delete)
    return count


def _is_over(before: datetime) -> ColumnElement[Any]:
    # A run that came too early is still to be requested again.
    return table.c.state.in_(ENDED) & (table.c.ended_at < before) & table.c.early_selection.is_(None)
