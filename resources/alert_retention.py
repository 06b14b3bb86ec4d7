"""Alerts that are told and over: incidents that were resolved, messages that were sent or given up."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from resources.control import run_transaction
from resources.control_tables import alert_messages, incidents

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Engine, Table

PENDING = "pending"


def count_old_alerts(engine: Engine, before: datetime) -> int:
    """How many rows were over before a time."""
    import sqlalchemy as sa

    with engine.connect() as connection:
        queries = (sa.select(sa.func.count()).select_from(table).where(over) for table, over in _list_over(before))
        return sum(connection.execute(query).scalar_one() for query in queries)


def delete_old_alerts(engine: Engine, before: datetime) -> int:
    """Delete them. What is open, or still to be told, stays however old. Returns how many went."""

    def delete(connection: Connection) -> int:
        return sum(connection.execute(table.delete().where(over)).rowcount for table, over in _list_over(before))

    return run_transaction(engine, delete)


def _list_over(before: datetime) -> list[tuple[Table, ColumnElement[bool]]]:
    messages = (alert_messages.c.state != PENDING) & (alert_messages.c.created_at < before)
    return [(alert_messages, messages), (incidents, incidents.c.resolved_at < before)]
