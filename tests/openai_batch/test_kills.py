"""SIGKILL of a submitter and of a tick at every line that matters: no batch is paid for twice, and nothing is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.kills import repeat_kills
from tests.openai_batch.conftest import Bench, make_feedback

ROWS = 40

DYING = """
import importlib, logging, os, signal, sys

owner, name, when = sys.argv[1:4]
module, _, attribute = owner.partition(":")
place = importlib.import_module(module)
place = getattr(place, attribute) if attribute else place
original = getattr(place, name)

def die(*arguments, **keywords):
    if when == "after":
        original(*arguments, **keywords)
    os.kill(os.getpid(), signal.SIGKILL)

from resources.control import ControlDatabase, utc_now
from resources.lake import Lake
from resources.openai_batch import OpenAIBatch
from resources.submission import submit_job
from sensors.polling import advance_jobs
setattr(place, name, die)
ledger, service = ControlDatabase().ledger, OpenAIBatch(lake=Lake())
"""
SUBMITTER = f"{DYING}\nsubmit_job(ledger, service, ledger.get(sys.argv[4]))\n"
TICK = f"{DYING}\nadvance_jobs(ledger, service, now=utc_now(), budget_seconds=30, log=logging.getLogger())\n"


def run_and_die(code: str, *arguments: str) -> None:
    killed = subprocess.run([sys.executable, "-c", code, *arguments], env=dict(os.environ), capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]


@repeat_kills()
@pytest.mark.parametrize(
    ("owner", "name", "when", "sent"),
    [
        ("resources.openai_account:OpenAIAccount", "_await_file", "before", 0),
        ("resources.ledger:Ledger", "renew_sending", "after", 0),
        ("resources.ledger:Ledger", "record_submitted", "before", 1),
        ("resources.ledger:Ledger", "record_submitted", "after", 1),
    ],
)
def test_a_killed_submitter_makes_one_batch(
    bench: Bench, owner: str, name: str, when: str, sent: int, kill: int
) -> None:
    """While the file is uploaded, before the batch is created, and between its creation and the ledger."""
    _, requests = bench.build(make_feedback(ROWS))
    (job,) = bench.open(requests)
    run_and_die(SUBMITTER, owner, name, when, job.submission_key)
    assert len(bench.batches()) == sent
    bench.finish()
    bench.require_whole(bench.collect(), ROWS)
    assert len(bench.batches()) == 1


@repeat_kills()
@pytest.mark.parametrize(
    ("owner", "name", "when"),
    [
        ("resources.openai_settling", "_write_answers", "before"),
        ("resources.openai_settling", "_write_answers", "after"),
        ("resources.openai_settling", "copy_lines", "after"),
        ("resources.openai_batch", "_delete_files", "after"),
        ("resources.ledger:Ledger", "record_statuses", "before"),
        ("resources.ledger:Ledger", "record_statuses", "after"),
    ],
)
def test_a_tick_killed_while_it_settles_a_batch_asks_no_row_twice(
    bench: Bench, owner: str, name: str, when: str, kill: int
) -> None:
    """While answers are read, before and after the next file, when the service's files are gone, and at the ledger."""
    bench.behave("expire", 0.5)
    bench.behave("row_errors", 0.2)
    (job,) = bench.ask(make_feedback(ROWS))
    while (status := bench.service.client.batches.retrieve(str(job.remote_id)).status) != "expired":
        assert status in ("validating", "in_progress", "finalizing")
    run_and_die(TICK, owner, name, when)
    group = bench.finish()
    result = bench.collect()
    bench.require_whole(result, ROWS)
    assert result.rejects == 0
    # The first half without its errors is never asked again.
    first, following = group
    assert following.request["rows"] == ROWS - first.facts["ok"] < ROWS
    assert len(bench.batches()) == 2


@repeat_kills()
def test_a_killed_tick_in_the_middle_of_a_download_leaves_no_answers(bench: Bench, kill: int) -> None:
    bench.ask(make_feedback(ROWS))
    while not any(batch.status == "completed" for batch in bench.batches()):
        pass
    run_and_die(TICK, "resources.openai_answers:AnswerReader", "read", "after")
    assert bench.lake.list_files("ml/text-requests/feedback/2026/03/10/answers") == []
    bench.finish()
    bench.require_whole(bench.collect(), ROWS)
    assert len(bench.batches()) == 1
