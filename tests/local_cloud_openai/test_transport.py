from __future__ import annotations

import httpx
import openai
import pytest

from .conftest import CREATE, OpenAIService, requests_of


def test_batches_are_listed_newest_first_in_pages(service: OpenAIService) -> None:
    file_id = service.upload(requests_of(1))
    newest = [service.create_from(file_id, metadata={"number": str(number)}).id for number in range(5)][::-1]
    page = service.client.batches.list(limit=2)
    assert ([batch.id for batch in page.data], page.has_more) == (newest[:2], True)
    page = service.client.batches.list(limit=2, after=newest[1])
    assert [batch.id for batch in page.data] == newest[2:4]
    everything = [batch.id for batch in service.client.batches.list(limit=3)]
    assert everything[:5] == newest
    assert len(everything) == len(set(everything)) == service.local("GET", "openai/batches")["total"]
    last = service.client.batches.list(after=everything[-1])
    assert (last.data, last.has_more) == ([], False)


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x"])
def test_a_page_has_1_to_100_batches(service: OpenAIService, limit: str) -> None:
    answer = httpx.get(f"{service.url}batches", params={"limit": limit}, headers={"api-key": service.key})
    assert answer.status_code == 400
    assert "from 1 to 100" in answer.json()["error"]["message"]


def test_a_page_after_nothing_is_refused(service: OpenAIService) -> None:
    with pytest.raises(openai.NotFoundError):
        service.client.batches.list(after="batch_nowhere")


def test_batches_are_counted_by_their_metadata(service: OpenAIService) -> None:
    file_id = service.upload(requests_of(1))
    keys = ["scores|2026-01-01|1", "scores|2026-01-02|1", "scores|2026-01-01|1"]
    for key in keys:
        service.create_from(file_id, metadata={"submission_key": key})
    counts = service.local("GET", "openai/batches")["by_metadata"]["submission_key"]
    assert (counts[keys[0]], counts[keys[1]]) == (2, 1)


def test_an_unknown_status_is_shown_once(service: OpenAIService) -> None:
    ended = service.run(requests_of(1))
    service.local("POST", "faults", json={"kind": "unknown_state", "path": f"{CREATE}/*"})
    assert service.client.batches.retrieve(ended.id).status == "reticulating"
    assert service.client.batches.retrieve(ended.id).status == "completed"
    service.local("POST", "faults", json={"kind": "unknown_state", "path": CREATE})
    statuses = [batch.status for batch in service.client.batches.list(limit=5).data]
    assert statuses.count("reticulating") == 1


def test_a_lost_answer_leaves_a_batch_and_the_next_one_makes_another(service: OpenAIService) -> None:
    file_id = service.upload(requests_of(1))
    service.local("POST", "faults", json={"kind": "lost_answer", "path": CREATE})
    with pytest.raises(openai.APIConnectionError):
        service.create_from(file_id, metadata={"submission_key": "lost"})
    found = [batch for batch in service.client.batches.list() if (batch.metadata or {}).get("submission_key") == "lost"]
    assert len(found) == 1
    service.create_from(file_id, metadata={"submission_key": "lost"})
    assert service.local("GET", "openai/batches")["by_metadata"]["submission_key"]["lost"] == 2


def test_a_lost_answer_of_an_upload_leaves_a_file(service: OpenAIService) -> None:
    service.local("POST", "faults", json={"kind": "lost_answer", "path": "/openai/v1/files"})
    with pytest.raises(openai.APIConnectionError):
        service.client.files.create(file=("lost.jsonl", b"{}\n"), purpose="batch")
    assert service.client.files.list(limit=1).data[0].filename == "lost.jsonl"


def test_a_truncated_download_is_noticed(service: OpenAIService) -> None:
    ended = service.run(requests_of(200))
    whole = service.client.files.content(ended.output_file_id).read()
    service.local("POST", "faults", json={"kind": "truncated", "path": "*/content"})
    with pytest.raises((openai.APIConnectionError, Exception), match=r"peer closed|incomplete|Connection"):
        service.client.files.content(ended.output_file_id).read()
    assert service.client.files.content(ended.output_file_id).read() == whole


@pytest.mark.parametrize(("code", "kind"), [(429, openai.RateLimitError), (500, openai.InternalServerError)])
def test_a_status_comes_before_anything_is_done(
    service: OpenAIService, code: int, kind: type[openai.APIStatusError]
) -> None:
    file_id = service.upload(requests_of(1))
    before = service.local("GET", "openai/batches")["total"]
    service.local("POST", "faults", json={"kind": "status", "path": CREATE, "code": code, "retry_after": 1})
    with pytest.raises(kind) as found:
        service.create_from(file_id)
    assert found.value.response.headers["retry-after"] == "1"
    assert service.local("GET", "openai/batches")["total"] == before


@pytest.mark.parametrize("body", [{}, {"ahead_seconds": "x"}, []])
def test_a_wrong_clock_is_refused(service: OpenAIService, body: object) -> None:
    assert service.http.post(f"{service.cloud.url}/_local/openai/clock", json=body).status_code == 400
