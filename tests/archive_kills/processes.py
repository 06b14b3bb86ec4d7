"""The archiver's processes, seen from the test: given an order, left to end or killed."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import multiprocessing.context
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tests.archive_kills.archiver import Order, carry_out

END_SECONDS = 120.0


class Archivers:
    """Processes that archive.

    Each is a copy of one that has imported and compiled everything: the imports take twenty times as long as the work,
    and would be most of what is killed.
    """

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.archive_kills.warm"])

    @contextmanager
    def begin(self, order: Order) -> Iterator[Archiver]:
        """A process that has just begun an order; gone when the block ends."""
        receiver, sender = self._context.Pipe(duplex=False)
        settings = {name: value for name, value in os.environ.items() if name.startswith("ADFML_")}
        process = self._context.Process(target=carry_out, args=(replace(order, environment=settings), sender))
        process.start()
        # What is left of the pipe's writing end is the process's: the pipe ends with it.
        sender.close()
        try:
            assert receiver.poll(END_SECONDS), "the process does not begin"
            yield Archiver(process, receiver, receiver.recv())
        finally:
            process.kill()
            process.join()
            receiver.close()

    def run(self, order: Order, kill_after: float | None = None) -> dict[str, str] | None:
        """Carry an order out, killed after so many seconds if it still runs then. See `Archiver.finish`."""
        with self.begin(order) as archiver:
            if kill_after is not None:
                time.sleep(kill_after)
                archiver.kill()
            return archiver.finish()


class Archiver:
    """One process.

    Attributes:
        name: what its connections are called at PostgreSQL.
    """

    def __init__(
        self,
        process: multiprocessing.context.ForkServerProcess,
        receiver: multiprocessing.connection.Connection,
        name: str,
    ) -> None:
        self.name = name
        self._process = process
        self._receiver = receiver

    def finish(self) -> dict[str, str] | None:
        """Wait until its work is done: what became of each table. None: it was killed before."""
        try:
            assert self._receiver.poll(END_SECONDS), "the process does not end"
            return dict(self._receiver.recv())
        except EOFError:
            self._process.join()
            assert self._process.exitcode == -signal.SIGKILL, f"exit code {self._process.exitcode}; see its output"
            return None

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
