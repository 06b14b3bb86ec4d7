"""The thread of an engine: it looks at what is at work again and again, and sleeps while nothing is."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

_POLL_SECONDS = 0.04
_STOP_SECONDS = 15.0
_log = logging.getLogger(__name__)


class Rounds(ABC):
    """One thread that does rounds.

    A start after a crash needs no code of its own where all that a round knows is in the database and on disk: the
    first round finds the same rows and files a later one would.
    """

    def __init__(self, name: str, on_failure: Callable[[], None]) -> None:
        """Create the thread, not yet started.

        Args:
            name: The thread's.
            on_failure: Called when it cannot go on at all, so that the server ends instead of standing still.
        """
        self._on_failure = on_failure
        self._woken = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    @abstractmethod
    def advance(self) -> bool:
        """Do one round; False when there is nothing to look at until somebody wakes it."""

    @abstractmethod
    def advance_stop(self) -> bool:
        """Do one round of stopping what is at work; False when nothing is any more.

        What only waits stays as it is: the next start on this state folder takes it up.
        """

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wake(self) -> None:
        """Make it look at once instead of at the next poll."""
        self._woken.set()

    def stop(self) -> None:
        """Stop what is at work, wait until its end is recorded, and end the thread."""
        self._stopping.set()
        self._woken.set()
        self._thread.join(_STOP_SECONDS)
        if self._thread.is_alive():
            _log.error("The %s did not stop within %s s.", self._thread.name, _STOP_SECONDS)

    def _work(self) -> None:
        try:
            while not self._stopping.is_set():
                self._woken.clear()
                busy = self.advance()
                self._woken.wait(_POLL_SECONDS if busy else None)
            while self.advance_stop():
                self._woken.clear()
                self._woken.wait(_POLL_SECONDS)
        except Exception:
            _log.exception("The %s failed and stops the local cloud.", self._thread.name)
            self._on_failure()
