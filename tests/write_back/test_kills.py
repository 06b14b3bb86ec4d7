"""Runs that are killed at any moment: all of a batch is there or nothing of it, and the next run completes it."""

from __future__ import annotations

import os
import random
import time
from collections import Counter

import pytest

from tests.kills import count_kills
from tests.write_back.conftest import Place, scores_of, square
from tests.write_back.test_scored_rows import make_source, read_dates
from tests.write_back.writer import ROWS, Writers, write_scores

KILLS = count_kills(2)
"""How many runs are killed in each combination of server and mode."""

BATCH_ROWS = 100
END_SECONDS = 30.0


@pytest.fixture(scope="session")
def writers() -> Writers:
    return Writers()


@pytest.fixture
def seed() -> int:
    """Of every random choice; pytest shows it where the test fails. ADFML_TEST_SEED gives one again."""
    found = int(os.environ.get("ADFML_TEST_SEED", random.SystemRandom().randrange(1_000_000)))
    print(f"ADFML_TEST_SEED={found}")
    return found


def wait_for_the_dead(place: Place) -> None:
    """Wait until the server has noticed that a process is gone: until then its last statement may still end."""
    if place.dialect != "postgresql":
        return
    others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    deadline = time.monotonic() + END_SECONDS
    while place.fetch(others) != [(0,)]:
        assert time.monotonic() < deadline, "a killed run's connection is still there"
        time.sleep(0.01)


def count_done(place: Place, before: dict[int, float], by: float, batch_rows: int | None) -> int:
    """How many records in key order have the new score; every other has what it had, and so have their dates."""
    found = scores_of(place) if "Predictions" in place.list_tables() else {}
    # Record 0 has one score whatever it is multiplied by.
    done = next((record for record in range(1, ROWS) if found.get(record) != record * record * by), ROWS)
    done = 0 if done == 1 else done
    assert found == {**before, **square(range(done), by)}
    assert done in (0, ROWS) if batch_rows is None else (done % batch_rows == 0)
    return done


@pytest.mark.parametrize("batch_rows", [None, BATCH_ROWS])
def test_killed_runs_leave_whole_batches_and_are_completed(
    place: Place, writers: Writers, seed: int, batch_rows: int | None
) -> None:
    chance, kinds = random.Random(seed), Counter[str]()  # noqa: S311 - no secrets
    make_source(place)
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 8 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS - 1})"
    place.execute(f'INSERT INTO "Features" ("Id") {numbers} SELECT i FROM n')
    with writers.begin(place, 1.0, batch_rows) as writer:
        started = time.monotonic()
        assert writer.has_ended()
        seconds = time.monotonic() - started
    before, number = square(range(ROWS), 1.0), 1
    assert scores_of(place) == before
    while kinds["killed"] < KILLS:
        number += 1
        by, done = float(number), 0
        place.execute('UPDATE "Features" SET "ScoredDate" = NULL')
        for _ in range(chance.randint(1, 3)):
            with writers.begin(place, by, batch_rows) as writer:
                time.sleep(chance.uniform(0, 1.1 * seconds))
                writer.kill()
                ended = writer.has_ended()
            wait_for_the_dead(place)
            kinds["ended" if ended else "killed"] += 1
            now = count_done(place, before, by, batch_rows)
            # What was there stays there.
            assert now >= done
            kinds["in between"] += 0 < now < ROWS
            done = now
            scored = {record for record, moment in read_dates(place).items() if moment is not None}
            assert scored == set(range(done))
            if ended:
                break
        write_scores(place, by, batch_rows)
        before = square(range(ROWS), by)
        assert scores_of(place) == before
        assert None not in read_dates(place).values()
        assert "adfml_staging" not in place.list_tables()
        if batch_rows is not None:
            assert place.fetch("SELECT count(*) FROM adfml_write_back") == [(0,)]
    print(f"{place.dialect}, batches of {batch_rows}: {dict(kinds)}, a run took {seconds:.2f} s")
