"""More statuses in one tick than go into one transaction: a tick that dies between two of them does nothing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta

from resources.remote_jobs import RemoteJob, RemoteRun
from resources.submission import submit_job
from tests.remote_jobs.conftest import Bench

# A part of the size that the product has would take this test a minute; tests/ledger has it.
PART, FORGOTTEN, FAILED = 20, 24, 6

TICK = f"""
import logging, os, signal
from resources.control import ControlDatabase, utc_now
from resources.databricks import Databricks
from resources.ledger import Ledger
from sensors import polling

polling._PART = {PART}
original, parts = Ledger.record_statuses, []

def record_or_die(self, statuses):
    if parts:
        os.kill(os.getpid(), signal.SIGKILL)
    parts.append(len(statuses))
    return original(self, statuses)

Ledger.record_statuses = record_or_die
polling.advance_jobs(ControlDatabase().ledger, Databricks(), now=utc_now(), budget_seconds=100, log=logging.getLogger())
"""


def open_jobs(bench: Bench) -> list[RemoteJob]:
    """Jobs that fail for good, as Databricks does not know their runs, and some that are worth another try."""
    jobs = bench.ledger.open_jobs(
        asset="ml/m_job",
        collecting_asset="ml/m",
        partition="1",
        service="databricks",
        requests=[{"job": "tiny", "parameters": {"mode": "ok"}}] * (FORGOTTEN + FAILED),
        deadline=timedelta(hours=1),
        max_tries=2,
        run_id="run",
    )
    bench.order(kind="cloud_failure", times=FAILED)
    for job in jobs[:FAILED]:
        submit_job(bench.ledger, bench.service, job)
    for number, job in enumerate(jobs[FAILED:]):
        bench.ledger.record_submitted(job.submission_key, RemoteRun(f"9{number:06d}", None))
    return jobs


def test_a_tick_that_dies_between_two_parts_is_made_up_for_by_the_next(bench: Bench) -> None:
    jobs = open_jobs(bench)
    stop_at = time.monotonic() + 20
    mine = {bench.get(job).remote_id for job in jobs[:FAILED]}
    while any(str(run.run_id) in mine for run in bench.service.client.jobs.list_runs(active_only=True)):
        assert time.monotonic() < stop_at
    killed = subprocess.run([sys.executable, "-c", TICK], env=dict(os.environ), capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    group = bench.ledger.list_group("ml/m", "1")
    assert sum(not job.outstanding for job in group) == PART, "the first part, whole"

    bench.tick_until(lambda: not bench.ledger.list_outstanding(), seconds=60)
    group = bench.ledger.list_group("ml/m", "1")
    first, retries = group[: len(jobs)], group[len(jobs) :]
    assert {job.state for job in first} == {"failed"}
    states = Counter(job.remote_state == "NOT_FOUND" for job in first)
    assert (states[True], states[False]) == (FORGOTTEN, FAILED)
    assert sorted(str(job.parent_key) for job in retries) == sorted(job.submission_key for job in jobs[:FAILED])
    assert {(job.state, job.try_number) for job in retries} == {("succeeded", 2)}
    assert {bench.count_runs(job) for job in retries} == {1}
