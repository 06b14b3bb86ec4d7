"""Processes that write scores, to be killed: copies of one that has imported everything a run needs."""

from __future__ import annotations

import importlib
import multiprocessing
import multiprocessing.connection
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from resources.database import Databases
from tests.write_back.conftest import TARGET, Place, square, write
from tests.write_back.test_scored_rows import SOURCE

ROWS = 1_500
END_SECONDS = 60.0


def write_scores(place: Place, by: float, batch_rows: int | None) -> None:
    """Write scores of all records, and note them as scored at their source."""
    target = replace(TARGET, batch_rows=batch_rows)
    write(place, square(range(ROWS), by), target=target, digest=f"{by}", mark=SOURCE)


def carry_out(
    dialect: str, url: str, by: float, batch_rows: int | None, sender: multiprocessing.connection.Connection
) -> None:
    """What a process does: say that it begins, write, and say that it has."""
    os.environ["ADFML_SHOP_URL"] = url
    sender.send("begins")
    write_scores(Place(dialect, url, Databases()), by, batch_rows)
    sender.send("has ended")


def warm_up() -> None:
    """Import what a run would only when it is under way."""
    for name in ("duckdb", "psycopg", "tenacity", "adfml_assets.write_back.postgresql_rows", "pyarrow.compute"):
        importlib.import_module(name)
    for name in ("duckdb_sqlalchemy", "sqlalchemy.dialects.sqlite", "sqlalchemy.dialects.postgresql"):
        importlib.import_module(name)


class Writers:
    """Makes the processes."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.write_back.warm"])

    @contextmanager
    def begin(self, place: Place, by: float, batch_rows: int | None) -> Iterator[Writer]:
        """A process that has just begun to write."""
        receiver, sender = self._context.Pipe(duplex=False)
        arguments = (place.dialect, place.url, by, batch_rows, sender)
        process = self._context.Process(target=carry_out, args=arguments)
        process.start()
        # What is left of the pipe's writing end is the process's: the pipe ends with it.
        sender.close()
        try:
            assert receiver.poll(END_SECONDS), "the process does not begin"
            assert receiver.recv() == "begins"
            yield Writer(process, receiver)
        finally:
            process.kill()
            process.join()
            receiver.close()


class Writer:
    """One process."""

    def __init__(
        self,
        process: multiprocessing.context.ForkServerProcess,
        receiver: multiprocessing.connection.Connection,
    ) -> None:
        self._process = process
        self._receiver = receiver

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def has_ended(self) -> bool:
        """Wait for it: whether it has written everything; False: it was killed before."""
        try:
            assert self._receiver.poll(END_SECONDS), "the process does not end"
            assert self._receiver.recv() == "has ended"
            return True
        except EOFError:
            self._process.join()
            assert self._process.exitcode == -signal.SIGKILL, f"exit code {self._process.exitcode}; see its output"
            return False
