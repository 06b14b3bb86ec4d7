"""A tick with more statuses than one transaction takes dies between two of them: the next one ends the others, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from resources.ledger import Ledger
from resources.remote_jobs import RemoteJob, RemoteRun, RemoteStatus
from tests.ledger.conftest import open_shards
from tests.ledger.test_interleavings import Service, tick

JOBS, PART, RETRIED, UNFINISHED = 1_200, 500, 120, 12

DYING = """
import os, signal
from resources.control import ControlDatabase
from resources.ledger import Ledger
from tests.ledger.test_interleavings import tick
from tests.ledger.test_many_statuses import Scripted

original, parts = Ledger.record_statuses, []

def record_or_die(self, statuses):
    if parts and len(statuses) > 1:
        os.kill(os.getpid(), signal.SIGKILL)
    parts.extend(statuses if len(statuses) > 1 else ())
    return original(self, statuses)

Ledger.record_statuses = record_or_die
tick(ControlDatabase().ledger, Scripted())
"""


class Scripted(Service):
    """All jobs have ended: some for a reason that is worth another try, some without having done all."""

    def poll(self, jobs: Sequence[RemoteJob], stop_at: float) -> Iterator[tuple[RemoteJob, RemoteStatus]]:
        for job in jobs:
            number = int(job.request["shard"])
            if job.parent_key is not None:
                yield job, RemoteStatus("running", "in_progress")
            elif number % (JOBS // RETRIED) == 0:
                yield job, RemoteStatus("failed", "expired", transient=True)
            elif number % (JOBS // UNFINISHED) == 1:
                yield job, RemoteStatus("succeeded", "completed", next_requests=[{"shard": f"{number}"}])
            else:
                yield job, RemoteStatus("succeeded", "completed")


def test_the_next_tick_ends_the_rest_and_nothing_twice(ledger: Ledger) -> None:
    jobs = open_shards(ledger, *range(JOBS))
    for number, job in enumerate(jobs):
        ledger.record_submitted(job.submission_key, RemoteRun(f"batch-{number}", None))
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", DYING], env=dict(os.environ), cwd=root, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    ended = [job for job in ledger.list_group("ml/text", "2026-03-10") if not job.outstanding]
    assert len(ended) == PART + UNFINISHED, "the first part, and those that were recorded singly"

    assert tick(ledger, Scripted()).ended == JOBS - PART - UNFINISHED
    tick(ledger, Scripted())
    group = ledger.list_group("ml/text", "2026-03-10")
    followed = Counter(job.parent_key for job in group if job.parent_key is not None)
    assert set(followed.values()) == {1}
    numbers = {job.submission_key: int(job.request["shard"]) for job in jobs}
    assert sorted(numbers[str(key)] for key in followed) == [n for n in range(JOBS) if n % 10 == 0 or n % 100 == 1]
    assert len(group) == JOBS + RETRIED + UNFINISHED
