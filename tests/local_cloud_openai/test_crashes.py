from __future__ import annotations

import contextlib
import os
import signal
import time

import psutil
import pytest
from openai.types import Batch

from local_cloud.process import LocalCloud

from .conftest import OpenAIService, custom_ids, requests_of


def test_a_killed_server_goes_on_where_it_was(own: LocalCloud) -> None:
    service = OpenAIService(own)
    service.order("row_errors", 0.1)
    lines = requests_of(8000)
    batch = service.create(lines, metadata={"submission_key": "k"})
    service.order("slow", 3600)
    waiting = service.create(requests_of(2))
    service.wait_until(batch, _is_half_way)
    service.wait_until(waiting, lambda found: found.status in ("validating", "in_progress"))
    workers = _workers(own.pid)
    assert len(workers) == 1
    own.kill()
    _wait_gone(workers[0])
    own.start()
    ended = service.wait(batch)
    assert (ended.status, ended.metadata) == ("completed", {"submission_key": "k"})
    output, errors = service.results(ended)
    assert sorted(custom_ids(output + errors)) == sorted(custom_ids(lines))
    assert len(errors) == 800, "what was ordered for the batch is kept, and hits the same rows"
    assert service.local("GET", "openai/batches")["total"] == 2
    assert service.client.batches.retrieve(waiting.id).status in ("validating", "in_progress")
    leftovers = [path.name for path in (own.state / "openai" / "staging").iterdir()]
    assert leftovers == []


def test_a_killed_worker_is_replaced(service: OpenAIService) -> None:
    lines = requests_of(8000)
    batch = service.create(lines)
    service.wait_until(batch, _is_half_way)
    os.kill(_workers(service.cloud.pid)[0].pid, signal.SIGKILL)
    ended = service.wait(batch)
    output, _ = service.results(ended)
    assert (ended.status, sorted(custom_ids(output))) == ("completed", sorted(custom_ids(lines)))


def test_a_stopped_cloud_keeps_everything_and_goes_on_later(own: LocalCloud) -> None:
    service = OpenAIService(own)
    ended = service.run(requests_of(5))
    output = service.results(ended)[0]
    service.order("hold")
    held = service.create(requests_of(3))
    service.wait_until(held, lambda found: found.status == "in_progress")
    batch = service.create(requests_of(8000))
    service.wait_until(batch, _is_half_way)
    worker = _workers(own.pid)[0]
    own.stop()
    _wait_gone(worker)
    own.start()
    assert service.local("GET", "openai/key")["key"] == service.key
    assert service.client.batches.retrieve(ended.id).to_dict() == ended.to_dict()
    assert service.read(ended.output_file_id) == output
    assert service.wait(batch).request_counts.completed == 8000
    assert service.wait(held).status == "completed", "a restart releases what was held"


def test_a_batch_that_kills_every_worker_fails(service: OpenAIService) -> None:
    batch = service.create(requests_of(20_000))
    for _ in range(3):
        worker = _wait_for_worker(service.cloud.pid)
        os.kill(worker.pid, signal.SIGKILL)
        _wait_gone(worker)
    ended = service.wait(batch)
    assert (ended.status, [error.code for error in ended.errors.data]) == ("failed", ["server_error"])
    assert "died 3 times" in ended.errors.data[0].message
    assert service.run(requests_of(3)).status == "completed"


def _is_half_way(batch: Batch) -> bool:
    return batch.status == "in_progress" and batch.request_counts.completed > 0


def _wait_for_worker(server: int) -> psutil.Process:
    deadline = time.monotonic() + 10
    while not (found := _workers(server)):
        if time.monotonic() > deadline:
            pytest.fail("no worker was started")
        time.sleep(0.02)
    return found[0]


def _workers(server: int) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(server).children():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if "local_cloud.openai_worker" in child.cmdline():
                found.append(child)
    return found


def _wait_gone(process: psutil.Process) -> None:
    deadline = time.monotonic() + 10
    while psutil.pid_exists(process.pid) and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            pytest.fail(f"still running: {process}")
        time.sleep(0.02)
