from __future__ import annotations

import json
import threading
import time

import httpx
import jsonschema_rs
import openai
import pytest
from azure.identity import ManagedIdentityCredential

from .conftest import DEPLOYMENT, SCHEMA, OpenAIService, content_of, custom_ids, request, requests_of


def test_a_batch_answers_every_request_once_and_in_another_order(service: OpenAIService) -> None:
    lines = requests_of(300)
    batch = service.create(lines, metadata={"submission_key": "a|b|1"})
    assert (batch.status, batch.metadata) == ("validating", {"submission_key": "a|b|1"})
    assert batch.expires_at == batch.created_at + 24 * 3600
    assert not batch.output_file_id
    ended = service.wait(batch)
    assert ended.status == "completed"
    assert ended.metadata == {"submission_key": "a|b|1"}
    assert ended.errors is None
    moments = [ended.created_at, ended.in_progress_at, ended.finalizing_at, ended.completed_at]
    assert moments == sorted(moments)
    assert ended.request_counts.model_dump() == {"total": 300, "completed": 300, "failed": 0}
    output, errors = service.results(ended)
    assert errors == []
    assert service.client.files.retrieve(ended.error_file_id).bytes == 0, "an error file may be empty"
    assert sorted(custom_ids(output)) == sorted(custom_ids(lines))
    assert custom_ids(output) != custom_ids(lines)
    for line in output:
        assert (line["response"]["status_code"], line["error"]) == (200, None)
        jsonschema_rs.validate(SCHEMA, content_of(line))


def test_usage_is_the_sum_of_the_lines(service: OpenAIService) -> None:
    lines = requests_of(20)
    ended = service.run(lines)
    output, _ = service.results(ended)
    parts = [line["response"]["body"]["usage"] for line in output]
    assert ended.usage.input_tokens == sum(part["prompt_tokens"] for part in parts) > 0
    assert ended.usage.output_tokens == sum(part["completion_tokens"] for part in parts) > 0
    assert ended.usage.total_tokens == ended.usage.input_tokens + ended.usage.output_tokens
    texts = {line["custom_id"]: line["body"]["messages"][0]["content"] for line in lines}
    for line in output:
        tokens = line["response"]["body"]["usage"]["prompt_tokens"]
        assert tokens == -(-len(texts[line["custom_id"]]) // 4), "a token is four characters"


def test_answers_depend_on_the_text(service: OpenAIService) -> None:
    texts = {
        "positive": "I love it. Wonderful shoes!",
        "negative": "Terrible quality, I hate it.",
        "neutral": "It was delivered on Tuesday.",
        "mixed": "The shoes are wonderful. The delivery was terrible.",
    }
    prefix = "Is this review positive or negative?\nReview: "
    stamp = time.time_ns()
    ended = service.run([request(f"{stamp}-{label}", prefix + text) for label, text in texts.items()])
    output, _ = service.results(ended)
    found = {line["custom_id"].split("-")[1]: content_of(line) for line in output}
    assert {label: answer["sentiment"] for label, answer in found.items()} == {label: label for label in texts}
    assert found["negative"]["score"] < found["neutral"]["score"] < found["positive"]["score"]
    assert found["positive"]["summary"] == "I love it. Wonderful shoes!"


def test_the_input_may_be_deleted_while_the_batch_is_at_work(service: OpenAIService) -> None:
    service.order("slow", 0.3)
    batch = service.create(requests_of(5))
    service.client.files.delete(batch.input_file_id)
    ended = service.wait(batch)
    assert ended.request_counts.completed == 5
    with pytest.raises(openai.NotFoundError):
        service.client.files.retrieve(batch.input_file_id)


def test_output_files_expire_as_asked(service: OpenAIService) -> None:
    ended = service.run(requests_of(2), output_expires_after={"anchor": "created_at", "seconds": 1_209_600})
    file = service.client.files.retrieve(ended.output_file_id)
    assert (file.purpose, file.expires_at) == ("batch_output", file.created_at + 1_209_600)
    service.local("POST", "openai/clock", json={"ahead_seconds": 1_209_601})
    with pytest.raises(openai.NotFoundError):
        service.client.files.content(ended.output_file_id)
    assert service.client.batches.retrieve(ended.id).status == "completed"


def test_the_key_opens_in_either_header(service: OpenAIService) -> None:
    by_sdk = openai.OpenAI(base_url=service.url, api_key=service.key, max_retries=0)
    assert by_sdk.batches.list(limit=1).object == "list"
    by_header = openai.OpenAI(base_url=service.url, api_key="unused", default_headers={"api-key": service.key})
    assert by_header.files.list(limit=1).object == "list"


@pytest.mark.parametrize("header", [{"api-key": "wrong"}, {"Authorization": "Bearer wrong"}])
def test_a_wrong_key_is_refused(service: OpenAIService, header: dict[str, str]) -> None:
    answer = httpx.get(f"{service.url}batches", headers=header)
    assert answer.status_code == 401
    assert "invalid subscription key or wrong API endpoint" in answer.json()["error"]["message"]


def test_a_token_for_another_service_is_refused(service: OpenAIService, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in service.cloud.environment().items():
        monkeypatch.setenv(name, value)
    token = ManagedIdentityCredential().get_token("https://ml.azure.com/.default").token
    client = openai.OpenAI(base_url=service.url, api_key=token, max_retries=0)
    with pytest.raises(openai.AuthenticationError, match="audience is incorrect"):
        client.files.create(file=("input.jsonl", b"{}"), purpose="batch")
    assert httpx.get(f"{service.url}files").status_code == 401


def test_a_path_that_is_not_there(service: OpenAIService) -> None:
    client = openai.OpenAI(base_url=service.url.replace("/v1/", "/v0/"), api_key=service.key, max_retries=0)
    with pytest.raises(openai.NotFoundError, match="Resource not found"):
        client.batches.list()


def test_a_chat_gets_the_answer_a_batch_would_give(service: OpenAIService) -> None:
    line = requests_of(1)[0]
    output, _ = service.results(service.run([line]))
    completion = service.client.chat.completions.create(**line["body"])
    assert json.loads(completion.choices[0].message.content) == content_of(output[0])
    assert completion.usage.model_dump()["total_tokens"] == output[0]["response"]["body"]["usage"]["total_tokens"]


def test_chats_are_answered_while_a_large_batch_is_at_work(service: OpenAIService) -> None:
    batch = service.create(requests_of(4000))
    service.wait_until(batch, lambda found: found.status != "validating")
    answers: list[str | None] = []

    def ask(number: int) -> None:
        message = {"role": "user", "content": f"Great product number {number}"}
        completion = service.client.chat.completions.create(model=DEPLOYMENT, messages=[message])
        answers.append(completion.choices[0].message.content)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 5
    assert all(answer and "positive" in answer for answer in answers)
    assert service.wait(batch).request_counts.completed == 4000


def test_a_chat_with_an_unknown_deployment(service: OpenAIService) -> None:
    with pytest.raises(openai.NotFoundError, match="deployment for this resource does not exist") as found:
        service.client.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "Hello"}])
    assert found.value.code == "DeploymentNotFound"
