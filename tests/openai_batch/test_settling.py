"""Answers are joined by custom_id, whatever their order and whatever is missing, doubled or foreign among them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types import Batch, BatchRequestCounts

from resources.lake import Lake
from resources.openai_requests import ShardWriter, begin_line, iterate_lines, read_custom_id
from resources.openai_settling import IncompleteDownload, Settled, settle_batch
from resources.remote_jobs import RemoteJob

IDS = [f"{number:040d}" for number in range(12)]
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
NOW = datetime(2026, 3, 10, tzinfo=UTC)
FOLDER = "ml/text-requests/t"
Kind = st.sampled_from(["ok", "wrong", "filtered", "expired", "none"])


def make_job(attempt: int = 1, **request: Any) -> RemoteJob:
    values = {"file": f"{FOLDER}/0.jsonl", "answers": f"{FOLDER}/answers", "requests": FOLDER, "schema": SCHEMA}
    return RemoteJob(
        submission_key=f"a|1|{attempt}",
        token=f"{attempt:d}".ljust(64, "a"),
        asset="a",
        collecting_asset="b",
        partition="1",
        attempt=attempt,
        try_number=1,
        max_tries=3,
        service="openai_batch",
        request={**values, "rows": len(IDS), "row_tries": 2, "row_misses": 2, "after": None, **request},
        state="running",
        created_at=NOW,
        sends=1,
        submitter_lease_until=NOW,
        deadline_at=NOW,
        run_id="r",
    )


def make_line(custom_id: str, kind: str) -> bytes:
    body: dict[str, Any] = {"choices": [{"finish_reason": "stop", "message": {"content": '{"n":1}'}}]}
    if kind == "wrong":
        body["choices"][0]["message"]["content"] = "no json"
    if kind == "filtered":
        body["choices"][0]["finish_reason"] = "content_filter"
    answer = {"status_code": 200, "body": body}
    error = {"code": "batch_expired", "message": "too late"}
    expired = kind == "expired"
    record = {"custom_id": custom_id, "response": None if expired else answer, "error": error if expired else None}
    return json.dumps(record).encode() + b"\n"


def make_batch(lines: int = 0, status: str = "completed") -> Batch:
    counts = BatchRequestCounts(completed=lines, failed=0, total=len(IDS))
    return Batch.construct(
        id="batch_1", status=status, output_file_id="file-1", request_counts=counts, created_at=0, completed_at=1
    )


def write_requests(lake: Lake, ids: list[str] = IDS) -> None:
    lines = [begin_line(custom_id) + "{}}\n" for custom_id in ids]
    with ShardWriter(lake, lambda index: f"{FOLDER}/{index}.jsonl") as writer:
        writer.write(pa.array(lines, pa.large_string()))


def settle(lake: Lake, job: RemoteJob, data: bytes, *, lenient: bool = False, counted: int = 0) -> Settled:
    def download(_file_id: str) -> Iterator[bytes]:
        # Blocks end anywhere.
        yield from (data[start : start + 97] for start in range(0, len(data), 97))

    return settle_batch(lake, job, make_batch(counted), download, lenient=lenient)


def read(lake: Lake, settled: Settled) -> dict[str, dict[str, Any]]:
    rows = lake.read_table(settled.facts["answers"]).to_pylist()
    assert len({row["custom_id"] for row in rows}) == len(rows)
    return {row["custom_id"]: row for row in rows}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(Kind, min_size=len(IDS), max_size=len(IDS)),
    order=st.permutations(range(len(IDS))),
    doubled=st.sets(st.integers(0, len(IDS) - 1)),
    foreign=st.booleans(),
)
def test_every_request_has_one_outcome(
    lake: Lake, kinds: list[str], order: list[int], doubled: set[int], foreign: bool
) -> None:
    write_requests(lake)
    lake.delete(f"{FOLDER}/answers/{make_job().token[:24]}.parquet")
    shown = [(IDS[index], kinds[index]) for index in order if kinds[index] != "none"]
    shown += [(IDS[index], kinds[index]) for index in doubled if kinds[index] != "none"]
    data = b"".join(make_line(*pair) for pair in ([("f" * 40, "ok")] if foreign else []) + shown)
    settled = settle(lake, make_job(), data)
    outcomes = {"ok": "ok", "wrong": "rejected", "filtered": "rejected", "expired": "missing", "none": "missing"}
    found = read(lake, settled)
    assert {custom_id: row["outcome"] for custom_id, row in found.items()} == {
        custom_id: outcomes[kind] for custom_id, kind in zip(IDS, kinds, strict=True)
    }
    again = {custom_id for custom_id, kind in zip(IDS, kinds, strict=True) if kind in ("wrong", "expired", "none")}
    request = settled.next_request
    copied = {read_custom_id(line) for line in iterate_lines(lake, request["file"])} if request else set()
    assert copied == again
    assert (request or {"rows": 0})["rows"] == len(again)
    # Settling it a second time reads nothing from the service and says the same.
    assert settle(lake, make_job(), b"nothing of this is read") == settled


def test_tries_and_misses_are_counted_over_the_jobs_that_follow(lake: Lake) -> None:
    write_requests(lake, IDS[:3])
    lines = {"wrong": IDS[0], "filtered": IDS[1]}
    data = b"".join(make_line(custom_id, kind) for kind, custom_id in lines.items())
    first = settle(lake, make_job(1), data)
    assert first.next_request is not None
    assert first.next_request["rows"] == 2
    second = settle(lake, make_job(2, **first.next_request), make_line(IDS[0], "wrong"))
    found = read(lake, second)
    assert {custom_id: (row["tries"], row["misses"]) for custom_id, row in found.items()} == {
        IDS[0]: (2, 0),
        IDS[2]: (0, 2),
    }
    assert second.next_request is None, "both limits are reached"


@pytest.mark.parametrize("cut", [1, 50, 200])
def test_a_file_that_is_cut_short_is_no_answer(lake: Lake, cut: int) -> None:
    write_requests(lake)
    data = b"".join(make_line(custom_id, "ok") for custom_id in IDS)
    with pytest.raises(IncompleteDownload):
        settle(lake, make_job(), data[:-cut], counted=len(IDS) + (cut == 1))
    assert lake.list_files(f"{FOLDER}/answers") == []
    assert settle(lake, make_job(), data, counted=len(IDS)).facts["ok"] == len(IDS)


def test_a_file_that_stays_cut_short_is_taken_for_what_it_is(lake: Lake) -> None:
    write_requests(lake)
    data = b"".join(make_line(custom_id, "ok") for custom_id in IDS)
    settled = settle(lake, make_job(), data[:-20], lenient=True, counted=len(IDS))
    assert (settled.facts["ok"], settled.facts["missing"]) == (len(IDS) - 1, 1)
