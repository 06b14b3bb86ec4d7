"""What has failed and what is to be told of it, in the control database: noted before anything is sent.

A subject is told once when it fails, again after a while of failing, and when it is well again. Whatever dies between
repeats what it did not note: nothing is counted twice, and a message is sent twice only if the sender died after a
service had taken it and before that was noted.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from resources.alerts.failure import Alert, Failure, Occasion, build_alert, cut, parse_alert
from resources.control import run_transaction
from resources.control_tables import alert_messages, incidents

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

LEASE = timedelta(seconds=90)
"""How long a sender has a message to itself: longer than a tick lives."""

GIVE_UP_AFTER = timedelta(hours=24)
MOST_MESSAGES = 20
"""How many messages a look may make for a channel; what is beyond is told together."""

_LONGEST_WAIT = timedelta(hours=1)
_ERROR_CHARACTERS = 4_000


@dataclass(frozen=True)
class Incident:
    """Something that has failed and is not well yet.

    Attributes:
        failure: its last.
        failures: how often since it last was well.
        opened_at: when it failed first.
        told_at: when that was told last; None: not yet.
    """

    failure: Failure
    failures: int
    opened_at: datetime
    told_at: datetime | None


@dataclass(frozen=True)
class Message:
    """An alert on its way to a channel."""

    id: str
    channel: str
    alert: Alert
    created_at: datetime
    attempts: int


class AlertRegister:
    """Incidents and messages."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(
        self, failures: Sequence[Failure], channels: Sequence[str], *, repeat_after: timedelta, now: datetime
    ) -> int:
        """Count failures, and note what is to be told of them, in one transaction.

        Args:
            failures: those that were counted before are passed over.
            channels: the names of those to be told.
            repeat_after: when one that goes on is told again.
            now: UTC.

        Returns:
            How many messages were noted.
        """
        if not failures:
            return 0

        def record(connection: Connection) -> int:
            told: dict[tuple[Occasion, str], dict[str, tuple[Failure, int]]] = {}
            for failure in failures:
                counted = _count(connection, failure, repeat_after, now)
                if counted is not None:
                    occasion, times = counted
                    told.setdefault((occasion, failure.fingerprint), {})[failure.subject] = (failure, times)
            return _note_messages(connection, told, channels, now)

        return run_transaction(self._engine, record)

    def list_open(self, limit: int = 1_000) -> list[Incident]:
        """What is not well yet; of more than `limit` those that failed last."""
        import sqlalchemy as sa

        query = (
            sa.select(incidents)
            .where(incidents.c.resolved_at.is_(None))
            .order_by(incidents.c.last_at.desc())
            .limit(limit)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Incident(_parse_failure(row["failure"]), row["failures"], row["opened_at"], row["told_at"]) for row in rows
        ]

    def resolve(self, well: Sequence[Incident], channels: Sequence[str], *, now: datetime) -> int:
        """Note that incidents are over, and that it is to be told. Returns how many were.

        One that has failed anew meanwhile stays open.
        """
        if not well:
            return 0

        def resolve(connection: Connection) -> int:
            ended: dict[str, tuple[Failure, int]] = {}
            for incident in well:
                mine = (
                    (incidents.c.subject == incident.failure.subject)
                    & incidents.c.resolved_at.is_(None)
                    & (incidents.c.last_event_id == incident.failure.event_id)
                )
                if connection.execute(incidents.update().where(mine).values(resolved_at=now)).rowcount:
                    ended[incident.failure.subject] = (incident.failure, incident.failures)
            _note_messages(connection, {("resolved", ""): ended} if ended else {}, channels, now)
            return len(ended)

        return run_transaction(self._engine, resolve)

    def claim(self, now: datetime, passed_over: Sequence[str] = ()) -> Message | None:
        """The message that has been due for longest, for LEASE the caller's alone; None: nothing is due.

        Args:
            now: UTC.
            passed_over: channels whose messages are left alone.
        """
        import sqlalchemy as sa

        due = (alert_messages.c.state == "pending") & (alert_messages.c.due_at <= now)
        due &= alert_messages.c.channel.not_in(passed_over)
        query = sa.select(alert_messages).where(due).order_by(alert_messages.c.due_at, alert_messages.c.id).limit(1)

        def claim(connection: Connection) -> Message | None:
            row = connection.execute(query).mappings().first()
            if row is None:
                return None
            attempts = row["attempts"] + 1
            change = alert_messages.update().where(alert_messages.c.id == row["id"])
            connection.execute(change.values(due_at=now + LEASE, attempts=attempts))
            return Message(row["id"], row["channel"], parse_alert(row["alert"]), row["created_at"], attempts)

        return run_transaction(self._engine, claim)

    def mark_sent(self, message: Message, now: datetime) -> None:
        """Note that a message was taken."""
        self._change(message, {"state": "sent", "sent_at": now, "reason": None})

    def postpone(self, message: Message, reason: str, now: datetime, retry_after: float | None = None) -> bool:
        """Note that a message was not taken. False: it has been tried for long enough, and is given up."""
        if now - message.created_at > GIVE_UP_AFTER:
            self._change(message, {"state": "given_up", "reason": reason})
            return False
        wait = min(timedelta(minutes=2 ** min(message.attempts - 1, 10)), _LONGEST_WAIT)
        wait = max(wait, timedelta(seconds=min(retry_after or 0.0, _LONGEST_WAIT.total_seconds())))
        self._change(message, {"due_at": now + wait, "reason": reason})
        return True

    def _change(self, message: Message, values: dict[str, Any]) -> None:
        mine = alert_messages.c.id == message.id
        run_transaction(
            self._engine, lambda connection: connection.execute(alert_messages.update().where(mine).values(**values))
        )


def _count(
    connection: Connection, failure: Failure, repeat_after: timedelta, now: datetime
) -> tuple[Occasion, int] | None:
    """Count a failure. Returns what is to be told, and how often it has failed; None: nothing."""
    import sqlalchemy as sa

    mine = incidents.c.subject == failure.subject
    row = connection.execute(sa.select(incidents).where(mine)).mappings().first()
    values: dict[str, Any] = {
        "kind": failure.kind,
        "last_at": failure.at,
        "last_event_id": failure.event_id,
        "failure": _format_failure(failure),
    }
    fresh = {"opened_at": failure.at, "failures": 1, "told_at": now, "resolved_at": None}
    if row is None:
        connection.execute(incidents.insert().values(subject=failure.subject, **values, **fresh))
        return "failed", 1
    if failure.event_id <= row["last_event_id"]:
        return None
    if row["resolved_at"] is not None:
        connection.execute(incidents.update().where(mine).values(**values, **fresh))
        return "failed", 1
    times = row["failures"] + 1
    due = row["told_at"] is None or now - row["told_at"] >= repeat_after
    told = {"told_at": now} if due else {}
    connection.execute(incidents.update().where(mine).values(**values, failures=times, **told))
    return ("again", times) if due else None


def _note_messages(
    connection: Connection,
    told: dict[tuple[Occasion, str], dict[str, tuple[Failure, int]]],
    channels: Sequence[str],
    now: datetime,
) -> int:
    groups = list(told.items())
    alerts = [_build(occasion, by_subject.values()) for (occasion, _), by_subject in groups[:MOST_MESSAGES]]
    for occasion in ("failed", "again"):
        rest = [one for (kind, _), found in groups[MOST_MESSAGES:] if kind == occasion for one in found.values()]
        if rest:
            alerts.append(_build(occasion, rest))
    for alert in alerts:
        for channel in channels:
            connection.execute(
                alert_messages.insert().values(
                    id=uuid.uuid4().hex,
                    channel=channel,
                    alert=alert.to_json(),
                    state="pending",
                    created_at=now,
                    attempts=0,
                    due_at=now,
                )
            )
    return len(alerts) * len(channels)


def _build(occasion: Occasion, found: Iterable[tuple[Failure, int]]) -> Alert:
    listed = list(found)
    return build_alert(occasion, [failure for failure, _ in listed], [times for _, times in listed])


def _format_failure(failure: Failure) -> str:
    kept = asdict(failure)
    return json.dumps({**kept, "at": failure.at.isoformat(), "error": cut(failure.error, _ERROR_CHARACTERS)})


def _parse_failure(text: str) -> Failure:
    kept: dict[str, Any] = json.loads(text)
    return Failure(**{**kept, "at": datetime.fromisoformat(kept["at"])})
