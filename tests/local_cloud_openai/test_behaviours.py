from __future__ import annotations

from collections import Counter
from typing import Any

import jsonschema_rs
import openai
import pytest

from .conftest import SCHEMA, OpenAIService, content_of, custom_ids, request, requests_of


def test_a_quota_refuses_the_next_batch(service: OpenAIService) -> None:
    file_id = service.upload(requests_of(1))
    before = service.local("GET", "openai/batches")["total"]
    service.order("quota", times=2)
    for _ in range(2):
        with pytest.raises(openai.BadRequestError) as found:
            service.create_from(file_id)
        assert found.value.code == "token_limit_exceeded"
    assert service.local("GET", "openai/batches")["total"] == before
    assert service.wait(service.create_from(file_id)).status == "completed"


def test_a_quota_of_tokens_holds_until_batches_have_ended(service: OpenAIService) -> None:
    lines = requests_of(20)
    file_id = service.upload(lines)
    tokens = service.client.files.retrieve(file_id).bytes // 4
    service.order("quota", 1.5 * tokens)
    service.order("hold")
    first = service.create_from(file_id)
    with pytest.raises(openai.BadRequestError) as found:
        service.create_from(file_id)
    assert found.value.code == "token_limit_exceeded"
    service.client.batches.cancel(first.id)
    assert service.wait(first).status == "cancelled"
    assert service.wait(service.create_from(file_id)).status == "completed"


def test_a_quota_at_run_time_fails_the_batch_later(service: OpenAIService) -> None:
    service.order("quota_at_run")
    ended = service.run(requests_of(2))
    assert ended.status == "failed"
    assert [error.code for error in ended.errors.data] == ["token_limit_exceeded"]
    assert "enqueued tokens" in ended.errors.data[0].message
    assert service.run(requests_of(2)).status == "completed"


def test_a_quota_of_tokens_at_run_time_holds_until_the_faults_are_cleared(service: OpenAIService) -> None:
    service.order("quota_at_run", 10)
    lines = requests_of(2)
    assert [service.run(lines).errors.data[0].code for _ in range(2)] == ["token_limit_exceeded"] * 2
    service.local("DELETE", "faults")
    assert service.run(lines).status == "completed"


def test_an_expired_batch_keeps_what_was_answered(service: OpenAIService) -> None:
    lines = requests_of(40)
    service.order("expire", 0.25)
    ended = service.run(lines)
    assert (ended.status, ended.completed_at) == ("expired", None)
    assert ended.expired_at >= ended.in_progress_at
    output, errors = service.results(ended)
    assert (len(output), len(errors)) == (10, 30)
    assert {line["error"]["code"] for line in errors} == {"batch_expired"}
    assert {line["response"] for line in errors} == {None}
    assert sorted(custom_ids(output + errors)) == sorted(custom_ids(lines))
    assert ended.usage.output_tokens > 0


def test_a_batch_expires_when_its_day_is_over(service: OpenAIService) -> None:
    lines = requests_of(8)
    service.order("hold", 0.5)
    batch = service.create(lines)
    service.wait_until(batch, lambda found: found.status == "in_progress")
    service.local("POST", "openai/clock", json={"ahead_seconds": 24 * 3600 + 1})
    ended = service.wait(batch)
    assert ended.status == "expired"
    output, errors = service.results(ended)
    assert (len(output), len(errors)) == (4, 4)


def test_a_batch_cancelled_by_somebody_else_keeps_what_was_answered(service: OpenAIService) -> None:
    lines = requests_of(10)
    service.order("cancel", 0.3)
    ended = service.run(lines)
    assert ended.status == "cancelled"
    assert ended.cancelled_at >= ended.cancelling_at
    output, errors = service.results(ended)
    assert (len(output), errors) == (3, [])
    assert set(custom_ids(output)) < set(custom_ids(lines))
    assert ended.request_counts.model_dump() == {"total": 10, "completed": 3, "failed": 0}


def test_cancelling_ends_a_batch_at_work(service: OpenAIService) -> None:
    service.order("hold", 0.5)
    batch = service.create(requests_of(6))
    service.wait_until(batch, lambda found: found.request_counts.completed == 3)
    assert service.client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    ended = service.wait(batch)
    assert ended.status == "cancelled"
    assert len(service.read(ended.output_file_id)) == 3


def test_cancelling_in_the_middle_of_the_answers(service: OpenAIService) -> None:
    lines = requests_of(20_000)
    batch = service.create(lines)
    service.wait_until(batch, lambda found: found.request_counts.completed > 0)
    service.client.batches.cancel(batch.id)
    ended = service.wait(batch)
    assert ended.status == "cancelled"
    output = service.read(ended.output_file_id)
    assert len(output) == ended.request_counts.completed > 0
    assert set(custom_ids(output)) <= set(custom_ids(lines))


def test_a_batch_that_has_ended_cannot_be_cancelled(service: OpenAIService) -> None:
    ended = service.run(requests_of(1))
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a batch with status 'completed'"):
        service.client.batches.cancel(ended.id)
    with pytest.raises(openai.NotFoundError):
        service.client.batches.cancel("batch_nowhere")


def test_a_batch_cancelled_before_its_input_was_checked_has_no_files(service: OpenAIService) -> None:
    busy = service.create(requests_of(5000))
    service.wait_until(busy, lambda found: found.request_counts.total > 0)
    waiting = service.create(requests_of(1))
    service.client.batches.cancel(waiting.id)
    ended = service.wait(waiting)
    assert (ended.status, ended.in_progress_at, ended.request_counts.total) == ("cancelled", None, 0)
    assert not ended.output_file_id
    assert not ended.error_file_id
    assert service.wait(busy).status == "completed"


def test_held_batches_go_on_when_the_faults_are_cleared(service: OpenAIService) -> None:
    service.order("hold")
    held = service.create(requests_of(2))
    service.wait_until(held, lambda found: found.status == "in_progress")
    assert service.run(requests_of(2)).status == "completed", "the others are not held up"
    assert service.client.batches.retrieve(held.id).status == "in_progress"
    service.local("DELETE", "faults")
    assert service.wait(held).status == "completed"


def test_the_fault_that_holds_runs_holds_batches_too(service: OpenAIService) -> None:
    service.local("POST", "faults", json={"kind": "hold", "path": "/openai/v1/batches"})
    held = [service.create(requests_of(1)) for _ in range(2)]
    for batch in held:
        service.wait_until(batch, lambda found: found.status == "in_progress")
    service.local("DELETE", "faults")
    assert [service.wait(batch).status for batch in held] == ["completed", "completed"]


def test_a_slow_batch_stays_in_progress(service: OpenAIService) -> None:
    service.order("slow", 1.5)
    batch = service.create(requests_of(1))
    service.wait_until(batch, lambda found: found.status == "in_progress")
    assert service.run(requests_of(1)).status == "completed", "the others are not held up"
    assert service.wait(batch).status == "completed"


def test_a_failing_batch_names_the_service(service: OpenAIService) -> None:
    service.order("fail")
    ended = service.run(requests_of(1))
    assert (ended.status, [error.code for error in ended.errors.data]) == ("failed", ["server_error"])
    assert ended.request_counts.total == 1
    assert not ended.output_file_id


def test_some_rows_fail_in_every_way_rows_fail(service: OpenAIService) -> None:
    lines = requests_of(200)
    service.order("row_errors", 0.2)
    ended = service.run(lines)
    output, errors = service.results(ended)
    assert (len(output), len(errors)) == (160, 40)
    assert (ended.status, ended.request_counts.failed) == ("completed", 40)
    kinds = Counter(line["response"]["status_code"] if line["response"] else line["error"]["code"] for line in errors)
    assert set(kinds) == {429, 500, 503, "server_error"}
    for line in errors:
        assert (line["response"] is None) != (line["error"] is None)
    again, no_errors = service.results(service.run(lines))
    assert (len(again), no_errors) == (200, []), "a row is hit in the first batch it is in, and never again"


def test_rows_ordered_for_good_fail_in_every_batch(service: OpenAIService) -> None:
    lines = requests_of(60)
    service.order("row_errors", 0.5, times=None)
    first, second = (custom_ids(service.results(service.run(lines))[1]) for _ in range(2))
    assert sorted(first) == sorted(second)
    assert 0 < len(first) < 60


def test_filtered_rows_come_in_both_files(service: OpenAIService) -> None:
    lines = requests_of(100)
    service.order("content_filter", 0.4)
    output, errors = service.results(service.run(lines))
    filtered = [line for line in output if _choice(line)["finish_reason"] == "content_filter"]
    assert filtered
    assert errors
    assert len(filtered) + len(errors) == 40
    assert {_choice(line)["message"]["content"] for line in filtered} == {None}
    assert {line["response"]["body"]["error"]["code"] for line in errors} == {"content_filter"}
    assert {line["response"]["status_code"] for line in errors} == {400}
    inner = errors[0]["response"]["body"]["error"]["innererror"]
    assert inner["code"] == "ResponsibleAIPolicyViolation"


def test_refusals_have_no_content(service: OpenAIService) -> None:
    service.order("refusal", 0.5)
    output, _ = service.results(service.run(requests_of(10)))
    refused = [_choice(line)["message"] for line in output if _choice(line)["message"]["refusal"]]
    assert len(refused) == 5
    assert {message["content"] for message in refused} == {None}


def test_invalid_answers_do_not_meet_their_schema(service: OpenAIService) -> None:
    service.order("invalid_answers", 0.3)
    output, _ = service.results(service.run(requests_of(100)))
    reasons = Counter(_choice(line)["finish_reason"] for line in output if not _is_valid(line))
    assert sum(reasons.values()) == 30
    assert set(reasons) == {"length", "stop"}
    assert all(_choice(line)["finish_reason"] == "stop" for line in output if _is_valid(line))


def test_an_unanswerable_text_never_gets_an_answer(service: OpenAIService) -> None:
    lines = [*requests_of(2), request(requests_of(1)[0]["custom_id"], "Good, but [[unanswerable]] as it is")]
    for _ in range(2):
        output, errors = service.results(service.run(lines))
        assert len(output) == 2
        assert custom_ids(errors) == [lines[2]["custom_id"]]
        assert errors[0]["response"]["body"]["error"]["code"] == "content_filter"
    with pytest.raises(openai.BadRequestError) as found:
        service.client.chat.completions.create(**lines[2]["body"])
    assert found.value.code == "content_filter"


def test_behaviours_go_together(service: OpenAIService) -> None:
    lines = requests_of(100)
    for name in ("row_errors", "content_filter", "refusal", "invalid_answers"):
        service.order(name, 0.1)
    service.order("expire", 0.8)
    output, errors = service.results(service.run(lines))
    assert sorted(custom_ids(output + errors)) == sorted(custom_ids(lines))
    good = [line for line in output if _is_valid(line)]
    assert 40 <= len(good) < 80


def _choice(line: dict[str, Any]) -> Any:
    return line["response"]["body"]["choices"][0]


def _is_valid(line: dict[str, Any]) -> bool:
    try:
        return jsonschema_rs.is_valid(SCHEMA, content_of(line))
    except (ValueError, TypeError):
        return False
