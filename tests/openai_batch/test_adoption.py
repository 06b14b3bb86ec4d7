"""A batch that somebody made by hand becomes the ledger's, where its file asks what the partition would ask."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest

from adfml_assets.adoption import adopt_remote_job
from resources.control import utc_now
from resources.errors import NotAdopted, NotFound
from resources.remote_jobs import RemoteJob
from tests.openai_batch.conftest import Bench, make_feedback


def make_by_hand(bench: Bench, request: dict[str, Any], content: bytes | None = None) -> str:
    """Upload the requests' file, and make a batch of it; no ledger knows of it."""
    client = bench.service.client
    if content is None:
        with bench.lake.local_copy(request["file"]) as path:
            content = path.read_bytes()
    file = client.files.create(file=("by-hand.jsonl", io.BytesIO(content)), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint="/chat/completions", completion_window="24h")
    return batch.id


def adopt(bench: Bench, remote_id: str, requests: list[dict[str, Any]]) -> RemoteJob:
    values: dict[str, Any] = {
        "asset": "ml/f_job",
        "collecting_asset": "ml/f",
        "partition": bench.day,
        "service": "openai_batch",
        "max_tries": 2,
        "run_id": "run",
        "deadline_at": utc_now() + timedelta(hours=1),
    }
    return adopt_remote_job(bench.ledger, bench.service, remote_id, requests, input_written_at=None, **values)


def test_its_answers_are_collected_as_those_of_our_own(bench: Bench) -> None:
    _, requests = bench.build(make_feedback(9))
    job = adopt(bench, make_by_hand(bench, requests[0]), requests)
    assert (job.state, job.sends) == ("running", 0)
    (ended,) = bench.finish()
    assert ended.state == "succeeded"
    result = bench.collect()
    assert (result.predictions, result.rejects) == (9, 0)
    assert sorted(bench.predictions()["Id"].to_pylist()) == list(range(1, 10))


def test_a_batch_that_asks_something_else_is_refused_and_nothing_changes(bench: Bench) -> None:
    _, requests = bench.build(make_feedback(3))
    with bench.lake.local_copy(requests[0]["file"]) as path:
        other = path.read_bytes().replace(b"lamp", b"lump")
    remote_id = make_by_hand(bench, requests[0], other)
    with pytest.raises(NotAdopted, match="does not ask what the partition would ask"):
        adopt(bench, remote_id, requests)
    assert bench.ledger.list_jobs() == []


def test_a_batch_whose_file_is_gone_is_refused(bench: Bench) -> None:
    _, requests = bench.build(make_feedback(3))
    remote_id = make_by_hand(bench, requests[0])
    client = bench.service.client
    client.files.delete(client.batches.retrieve(remote_id).input_file_id)
    with pytest.raises(NotAdopted, match="nobody can tell what it asks"):
        adopt(bench, remote_id, requests)


def test_a_batch_that_failed_is_refused_with_the_services_reason(bench: Bench) -> None:
    _, requests = bench.build(make_feedback(3))
    remote_id = make_by_hand(bench, requests[0], b"no json\n")
    bench.service.client.batches.retrieve(remote_id)
    stop_at = utc_now() + timedelta(seconds=20)
    while bench.service.client.batches.retrieve(remote_id).status != "failed":
        assert utc_now() < stop_at
    with pytest.raises(NotAdopted, match="it has failed"):
        adopt(bench, remote_id, requests)


def test_a_partition_of_several_batches_adopts_none(bench: Bench) -> None:
    _, requests = bench.build(make_feedback(3))
    with pytest.raises(NotAdopted, match="the partition takes 2 jobs; only a single job is adopted"):
        adopt(bench, "batch_1", [*requests, *requests])


def test_a_batch_that_does_not_exist_is_not_found(bench: Bench) -> None:
    _, requests = bench.build(make_feedback(3))
    with pytest.raises(NotFound, match="batch_none"):
        adopt(bench, "batch_none", requests)
