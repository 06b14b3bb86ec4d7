"""A run that is cancelled while it scores keeps what it paid for, and the next one takes the rest at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg

from tests.language.conftest import Scorer, Service, Shop
from tests.language.test_component import declare, materialize

ROWS, PAGE = 400, 10


def score(home: str, environment: dict[str, str]) -> None:
    """The run's process: Dagster turns the signal that cancels it into its own interrupt."""
    os.environ.update(environment)
    with dg.DagsterInstance.local_temp(home) as instance:
        materialize(declare("main", page_rows=PAGE, concurrency=1), instance)


def test_a_cancelled_run_keeps_its_pages_and_leaves_the_rest_to_the_next(
    sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service, tmp_path: Path
) -> None:
    table = sqlite_shop.feedback([f"I love number {n}." for n in range(ROWS)])
    home = tmp_path / "dagster"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name.startswith(("ADFML_", "IDENTITY_"))}
    process = multiprocessing.get_context("forkserver").Process(target=score, args=(str(home), environment))
    process.start()

    def wait(done: Callable[[], bool]) -> None:
        stop_at = time.monotonic() + 60
        while not done():
            assert time.monotonic() < stop_at
            assert process.is_alive()
            time.sleep(0.02)

    # Some pages are done, and one is under way.
    wait(lambda: len(service.documents()) >= 2 * PAGE)
    service.order(kind="delay", path="/language/*", seconds=3)
    wait(lambda: service.faults_left() == 0)
    # As Dagster's launcher does when somebody cancels the run: the run's state first, then the signal.
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        (run,) = instance.get_runs()
        instance.report_run_canceling(run)
    os.kill(int(process.pid or 0), signal.SIGINT)
    process.join(60)
    assert process.exitcode is not None, "the process does not end"

    with dg.DagsterInstance.local_temp(str(home)) as instance:
        (run,) = instance.get_runs()
        assert run.status == dg.DagsterRunStatus.CANCELED
        paid = [row.FeedbackId for row in sqlite_shop.read(table) if row.scored == 1]
        assert PAGE <= len(paid) < ROWS
        assert [row["FeedbackId"] for row in sqlite_scorer.read("predictions")] == paid
        assert sqlite_scorer.pages() == []
        assert materialize(declare("main", page_rows=PAGE), instance).success
    assert {row.scored for row in sqlite_shop.read(table)} == {1}
    assert [row["FeedbackId"] for row in sqlite_scorer.read("predictions")] == list(range(1, ROWS + 1))
    documents = service.documents()
    assert len(documents) == ROWS
    assert all(documents[str(id)] == 1 for id in paid)
    assert sum(times - 1 for times in documents.values()) <= PAGE
