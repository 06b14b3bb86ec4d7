"""A process that scores what waits, and kills itself within the transaction.

Each is a copy of one that has imported everything: the imports take many times as long as the work.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from threadpoolctl import threadpool_limits

from resources.control import ControlDatabase
from resources.database import Databases
from resources.lake import Lake
from tests.in_database.scored import Place

_SECONDS = 60


def run_killed(kind: str, statements: int) -> int | None:
    """Score in a process of its own. Returns how it ended: the negative number of a signal, or its exit code.

    Args:
        statements: it kills itself after so many statements on the staged rows; 0: at the moment of the commit.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    settings = {name: value for name, value in os.environ.items() if name.startswith("ADFML_")}
    process = context.Process(target=score_and_die, args=(settings, kind, statements))
    process.start()
    try:
        process.join(_SECONDS)
        return process.exitcode
    finally:
        process.kill()
        process.join()


def score_and_die(settings: Mapping[str, str], kind: str, statements: int) -> None:
    """What the process does."""
    os.environ.update(settings)
    databases = Databases()
    engine = databases.engine("shop")
    seen: list[str] = []

    def count(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "adfml_scored" in statement:
            seen.append(statement)
            if len(seen) == statements:
                os.kill(os.getpid(), signal.SIGKILL)

    def commit(connection: Any) -> None:
        if seen:
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(engine, "after_cursor_execute", count)
    sa.event.listen(engine, "commit", commit)
    with threadpool_limits(1):
        Place(kind, engine, Lake(), ControlDatabase(), databases).score()
