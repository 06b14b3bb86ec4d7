"""How fast an endpoint is sent requests: fewer at once after 429, more again while it answers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_FIRST_DELAY = 0.25
_LONGEST_DELAY = 30.0


class Stopped(Exception):
    """Another request has failed for good: this one is not sent any more."""


class Pace:
    """Shared by all requests of one call; safe from any thread.

    Attributes:
        throttled: how often the endpoint said 429.
        answered: whether it has answered at all.
        failure: what ended the call, if something has.
    """

    def __init__(self, concurrency: int) -> None:
        self._condition = threading.Condition()
        self._most = concurrency
        self._limit = concurrency
        self._active = 0
        self._resume_at = 0.0
        self._streak = 0
        self._stopped = False
        self.throttled = 0
        self.answered = False
        self.failure: BaseException | None = None

    @property
    def limit(self) -> int:
        """How many requests may be under way now."""
        return self._limit

    @contextmanager
    def slot(self) -> Iterator[None]:
        """A request's turn: waits until there is room and nobody has asked for a rest.

        Raises:
            Stopped: see `stop`.
        """
        with self._condition:
            while True:
                self._check()
                rest = self._resume_at - time.monotonic()
                if rest <= 0 and self._active < self._limit:
                    break
                self._condition.wait(rest if rest > 0 else None)
            self._active += 1
        try:
            yield
        finally:
            with self._condition:
                self._active -= 1
                self._condition.notify_all()

    def throttle(self, seconds: float) -> None:
        """The endpoint is overloaded: all requests rest, then half as many run at once."""
        with self._condition:
            now = time.monotonic()
            if now >= self._resume_at:  # several refusals of one burst count once
                self._limit = max(1, self._limit // 2)
            self._resume_at = max(self._resume_at, now + seconds)
            self._streak = 0
            self.throttled += 1

    def succeed(self) -> None:
        """A request was answered; after some in a row one more may run at once."""
        with self._condition:
            self.answered = True
            self._streak += 1
            if self._streak >= 2 * self._limit and self._limit < self._most:
                self._limit += 1
                self._streak = 0
                self._condition.notify_all()

    def sleep(self, seconds: float) -> None:
        """Wait, but not longer than until the call is stopped.

        Raises:
            Stopped: see `stop`.
        """
        until = time.monotonic() + seconds
        with self._condition:
            while (rest := until - time.monotonic()) > 0:
                self._check()
                self._condition.wait(rest)

    def stop(self, failure: BaseException | None = None) -> None:
        """Let no further request be sent; the first failure is kept."""
        with self._condition:
            self._stopped = True
            if self.failure is None and not isinstance(failure, Stopped):
                self.failure = failure
            self._condition.notify_all()

    def _check(self) -> None:
        if self._stopped:
            raise Stopped


def choose_delay(tries: int) -> float:
    """Seconds before the next try where the service names none: twice as long each time, with jitter."""
    longest = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(tries, 20))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads requests, guards nothing


def read_retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, a number or an HTTP date; None where there is none that makes sense."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
