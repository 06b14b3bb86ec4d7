"""A local cloud and the official SDK's clients of its OpenAI service."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from azure.identity import ManagedIdentityCredential, get_bearer_token_provider
from openai.types import Batch

from local_cloud.process import LocalCloud

SCOPE = "https://cognitiveservices.azure.com/.default"
TERMINAL = {"completed", "failed", "expired", "cancelled"}
DEPLOYMENT = "gpt-4o-mini"
CREATE = "/openai/v1/batches"
SCHEMA = {
    "type": "object",
    "properties": {
        "sentiment": {"type": "string", "enum": ["positive", "neutral", "negative", "mixed"]},
        "score": {"type": "number", "minimum": -1, "maximum": 1},
        "summary": {"type": "string"},
    },
    "required": ["sentiment", "score", "summary"],
    "additionalProperties": False,
}


def format_of(schema: dict[str, Any], *, strict: bool = True) -> dict[str, Any]:
    """The response format that asks for an object of a schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": strict}}


def request(custom_id: str, text: str, **changes: Any) -> dict[str, Any]:
    """A line of an input file."""
    body = {"model": DEPLOYMENT, "messages": [{"role": "user", "content": text}], "response_format": format_of(SCHEMA)}
    line = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return {**line, **changes}


def requests_of(count: int, text: str = "The delivery was late, but I love the shoes.") -> list[dict[str, Any]]:
    """Requests whose custom_ids no other test has."""
    prefix = uuid.uuid4().hex
    return [request(f"{prefix}-{number}", f"{text} ({number})") for number in range(count)]


def to_jsonl(lines: Iterable[Any]) -> bytes:
    """An input file."""
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def custom_ids(lines: Iterable[dict[str, Any]]) -> list[str]:
    """The custom_ids of requests or results, in order."""
    return [line["custom_id"] for line in lines]


class OpenAIService:
    """The clients of one cloud, with what tests do over and over."""

    def __init__(self, cloud: LocalCloud) -> None:
        self.cloud = cloud
        self.http = httpx.Client(verify=False)  # noqa: S501
        with pytest.MonkeyPatch.context() as patch:
            for name, value in cloud.environment().items():
                patch.setenv(name, value)
            credential = ManagedIdentityCredential()
            self.url = cloud.environment()["ADFML_OPENAI_ENDPOINT"]
            provider = get_bearer_token_provider(credential, SCOPE)
            provider()  # the credential reads its environment now, and keeps the token
        self.client = openai.OpenAI(base_url=self.url, api_key=provider, max_retries=0)
        self.key = str(self.local("GET", "openai/key")["key"])

    def local(self, method: str, path: str, **kwargs: Any) -> Any:
        """A request to the cloud's own switches."""
        answer = self.http.request(method, f"{self.cloud.url}/_local/{path}", **kwargs)
        assert answer.is_success, answer.text
        return answer.json()

    def order(self, name: str, value: float | None = None, **fault: Any) -> None:
        """Put a behaviour in force."""
        self.local("POST", "faults", json={"kind": "behaviour", "name": f"openai.{name}", "value": value, **fault})

    def upload(self, content: bytes | Iterable[Any], **kwargs: Any) -> str:
        """Upload an input file: its id."""
        data = content if isinstance(content, bytes) else to_jsonl(content)
        return self.client.files.create(file=("input.jsonl", data), purpose="batch", **kwargs).id

    def create(self, content: bytes | Iterable[Any], **kwargs: Any) -> Batch:
        """Upload an input file and create a batch of it."""
        return self.create_from(self.upload(content), **kwargs)

    def create_from(self, file_id: str, **kwargs: Any) -> Batch:
        """Create a batch of an uploaded file."""
        given = {"endpoint": "/v1/chat/completions", "completion_window": "24h", **kwargs}
        return self.client.batches.create(input_file_id=file_id, **given)

    def wait(self, batch: Batch, seconds: float = 30) -> Batch:
        """The batch when it has ended."""
        return self.wait_until(batch, lambda found: found.status in TERMINAL, seconds)

    def wait_until(self, batch: Batch, reached: Callable[[Batch], bool], seconds: float = 30) -> Batch:
        """The batch when it is as wished."""
        deadline = time.monotonic() + seconds
        while not reached(found := self.client.batches.retrieve(batch.id)):
            assert time.monotonic() < deadline, f"not reached within {seconds} s: {found}"
            time.sleep(0.02)
        return found

    def run(self, content: bytes | Iterable[Any], **kwargs: Any) -> Batch:
        """Create a batch and wait for its end."""
        return self.wait(self.create(content, **kwargs))

    def read(self, file_id: str | None) -> list[dict[str, Any]]:
        """The lines of an output or error file; none where there is no file."""
        return [json.loads(line) for line in self.client.files.content(file_id).text.splitlines()] if file_id else []

    def results(self, batch: Batch) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The lines of a batch's output file and of its error file."""
        return self.read(batch.output_file_id), self.read(batch.error_file_id)


def content_of(line: dict[str, Any]) -> Any:
    """What the model said in an output line, read as JSON."""
    return json.loads(line["response"]["body"]["choices"][0]["message"]["content"])


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAIService]:
    """One cloud for all tests that leave it as they found it."""
    with LocalCloud(tmp_path_factory.mktemp("openai")) as cloud:
        yield OpenAIService(cloud)


@pytest.fixture
def service(shared: OpenAIService) -> Iterator[OpenAIService]:
    """The shared cloud, without faults and with its clock right."""
    yield shared
    shared.local("DELETE", "faults")
    shared.local("POST", "openai/clock", json={"ahead_seconds": 0})


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LocalCloud]:
    """A cloud of the test's own, to kill."""
    with LocalCloud(tmp_path / "cloud") as cloud:
        yield cloud
