"""Completions are posted where an endpoint is set; one that fails warns, shows no secret and fails nothing."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from resources.completion_log import CompletionLog

BODY = {"status": "ARCHIVED", "database": "shop", "tablesArchived": 5}


class Endpoint(BaseHTTPRequestHandler):
    """Takes a POST; answers 500 below /broken."""

    received: list[Any] = []  # noqa: RUF012 - one server a test

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append((self.path, json.loads(body)))
        self.send_response(500 if self.path.startswith("/broken") else 200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    Endpoint.received = []
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_completion_is_posted_as_json(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADFML_LOGGING_ENDPOINT", f"{endpoint}/log")
    assert CompletionLog().post(BODY)
    assert Endpoint.received == [("/log", BODY)]


def test_without_an_endpoint_it_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert not CompletionLog().post(BODY)
    assert "ARCHIVED" in caplog.text


@pytest.mark.parametrize(
    "address", ["{endpoint}/broken?key=pa55word", "http://127.0.0.1:9/?key=pa55word", "no url pa55word"]
)
def test_an_endpoint_that_fails_warns_and_shows_no_secret(
    endpoint: str, address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ADFML_LOGGING_ENDPOINT", address.format(endpoint=endpoint))
    assert not CompletionLog(timeout_seconds=2).post(BODY)
    assert "The completion log (ADFML_LOGGING_ENDPOINT) did not take ARCHIVED" in caplog.text
    assert "The data is complete all the same" in caplog.text
    own = [record.getMessage() for record in caplog.records if record.name.startswith("resources")]
    assert not any("pa55word" in message for message in own)
