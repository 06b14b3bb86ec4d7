from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from .conftest import OpenAIService, request, requests_of, to_jsonl

Line = dict[str, Any]


def _broken(change: Callable[[list[Line]], Any]) -> bytes:
    lines = requests_of(3)
    changed = change(lines)
    return changed if isinstance(changed, bytes) else to_jsonl(lines)


def _set(number: int, **values: Any) -> Callable[[list[Line]], None]:
    return lambda lines: lines[number].update(values)


def _set_body(number: int, **values: Any) -> Callable[[list[Line]], None]:
    return lambda lines: lines[number]["body"].update(values)


@pytest.mark.parametrize(
    ("change", "code", "line"),
    [
        (lambda lines: to_jsonl(lines) + b"{not json}\n", "invalid_json_line", 4),
        (lambda lines: b"\xef\xbb\xbf" + to_jsonl(lines), "invalid_json_line", 1),
        (lambda lines: to_jsonl(lines).replace(b"\n", b"\n\n", 1), "invalid_json_line", 2),
        (lambda _: b"", "empty_file", None),
        (lambda _: b"\n", "empty_file", None),
        (lambda _: b"{}\n" * 100_001, "too_many_tasks", None),
        (_set(1, url="/v1/embeddings"), "url_mismatch", 2),
        (lambda lines: to_jsonl(lines[:1]).replace(b'"gpt-4o-mini"', b'"gpt-9"'), "model_not_found", 1),
        (_set_body(2, model="gpt-4o"), "model_mismatch", 3),
        (lambda lines: lines[2].update(custom_id=lines[0]["custom_id"]), "duplicate_custom_id", 3),
        (lambda lines: lines[1].pop("custom_id"), "invalid_request", 2),
        (_set(1, custom_id=7), "invalid_request", 2),
        (_set(1, method="GET"), "invalid_request", 2),
        (_set(1, body="text"), "invalid_request", 2),
        (_set_body(1, messages=[]), "invalid_request", 2),
        (_set_body(1, messages=[{"role": "nobody", "content": "x"}]), "invalid_request", 2),
        (_set_body(1, stream=True), "invalid_request", 2),
    ],
)
def test_a_bad_input_file_fails_the_batch(
    service: OpenAIService, change: Callable[[list[Line]], Any], code: str, line: int | None
) -> None:
    ended = service.run(_broken(change))
    assert ended.status == "failed"
    assert ended.failed_at >= ended.created_at
    assert [(error.code, error.line) for error in ended.errors.data] == [(code, line)]
    assert ended.errors.data[0].message
    assert not ended.output_file_id
    assert not ended.error_file_id
    assert ended.usage is None


def test_every_error_is_told_up_to_fifty(service: OpenAIService) -> None:
    ended = service.run(to_jsonl(requests_of(1)) + b"nonsense\n" * 60)
    assert [error.line for error in ended.errors.data] == list(range(2, 52))


def test_a_file_without_a_last_line_end_is_whole(service: OpenAIService) -> None:
    ended = service.run(to_jsonl(requests_of(2)).rstrip(b"\n"))
    assert (ended.status, ended.request_counts.total) == ("completed", 2)


def test_the_version_in_a_url_is_of_no_account(service: OpenAIService) -> None:
    lines = [{**line, "url": "/chat/completions"} for line in requests_of(2)]
    assert service.run(lines, endpoint="/v1/chat/completions").status == "completed"
    assert service.run(requests_of(2), endpoint="/chat/completions").status == "completed"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"completion_window": "48h"}, "completion_window"),
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"metadata": {str(number): "x" for number in range(17)}}, "17 pairs"),
        ({"metadata": {"k" * 65: "x"}}, "too long"),
        ({"metadata": {"k": "x" * 513}}, "too long"),
        ({"metadata": {"k": 1}}, "object of strings"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 3600}}, "14 to 30 days"),
        ({"output_expires_after": {"anchor": "completed_at", "seconds": 1_209_600}}, "anchor"),
    ],
)
def test_a_bad_request_creates_no_batch(service: OpenAIService, changes: dict[str, Any], problem: str) -> None:
    file_id = service.upload(requests_of(1))
    before = service.local("GET", "openai/batches")["total"]
    with pytest.raises(openai.BadRequestError, match=problem):
        service.create_from(file_id, **changes)
    assert service.local("GET", "openai/batches")["total"] == before


def test_the_largest_metadata_is_taken(service: OpenAIService) -> None:
    metadata = {f"{number:064}": "x" * 512 for number in range(16)}
    assert service.create(requests_of(1), metadata=metadata).metadata == metadata


def test_an_input_that_is_not_there_creates_no_batch(service: OpenAIService) -> None:
    with pytest.raises(openai.BadRequestError) as found:
        service.create_from("file-nowhere")
    assert found.value.code == "invalid_input_file"
    ended = service.run(requests_of(1))
    with pytest.raises(openai.BadRequestError, match="purpose batch"):
        service.create_from(ended.output_file_id)


def test_a_bad_schema_is_an_error_of_its_row(service: OpenAIService) -> None:
    good, bad = requests_of(2)
    bad["body"]["response_format"]["json_schema"]["schema"] = {"type": "object", "properties": {}}
    ended = service.run([good, bad])
    output, errors = service.results(ended)
    assert [line["custom_id"] for line in output] == [good["custom_id"]]
    assert [line["custom_id"] for line in errors] == [bad["custom_id"]]
    assert errors[0]["response"]["status_code"] == 400
    assert "'additionalProperties' is required" in errors[0]["response"]["body"]["error"]["message"]
    assert (ended.status, ended.request_counts.failed) == ("completed", 1)


def test_requests_without_a_schema_get_a_text(service: OpenAIService) -> None:
    line = request("plain-text", "What a wonderful day")
    del line["body"]["response_format"]
    output, _ = service.results(service.run([line]))
    assert "positive" in output[0]["response"]["body"]["choices"][0]["message"]["content"]
