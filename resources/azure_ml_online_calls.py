"""Micro-batches sent to an online endpoint: tried again, halved until the rows at fault are alone, or given up."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from resources.azure_ml_online_pace import Pace, Stopped, choose_delay, read_retry_after
from resources.azure_ml_online_rows import MESSAGE_CHARACTERS, Answers, NotJson, Rows, parse_answer, split_rows
from resources.azure_ml_online_target import OnlineLimits, OnlineTarget
from resources.errors import Refused, ResourceError, Unreachable
from resources.settings import AZURE_ML_KEY

if TYPE_CHECKING:
    import httpx

SERVICE = "The online endpoint"
DEPLOYMENT_HEADER = "azureml-model-deployment"
_MODEL_STATUS = "ms-azureml-model-error-statuscode"
_MODEL_REASON = "ms-azureml-model-error-reason"
# A container that is not up, restarts or has no free worker says nothing about the rows.
_MODEL_OVERLOADED = "429"
_MODEL_AWAY = ("408", "502", "503", "504")
_SHOWN_ERRORS = 5


class TooManyRowErrors(ResourceError):
    """The model refused more rows than it may; the rest was not sent."""

    def __init__(self, found: int, allowed: int, first: list[tuple[int, str]]) -> None:
        self.found = found
        self.allowed = allowed
        self.first = first
        examples = "; ".join(f"row {number}: {message}" for number, message in sorted(first))
        super().__init__(f"{found} rows have no score, {allowed} may. The first of them: {examples}")


class _Halve(Exception):
    """These rows cannot be scored in one request. `message` is the reason, for a row that is alone."""

    def __init__(self, message: str) -> None:
        self.message = message
        super().__init__(message)


class _Again(Exception):
    """Worth another try, after `delay` seconds where the service says so."""

    def __init__(self, reason: str, delay: float | None = None, *, overloaded: bool = False) -> None:
        self.reason = reason
        self.delay = delay
        self.overloaded = overloaded
        super().__init__(reason)


class ErrorBudget:
    """How many rows may be without a score, over all threads; None: any number."""

    def __init__(self, allowed: int | None) -> None:
        self._allowed = allowed
        self._found = 0
        self._first: list[tuple[int, str]] = []
        self._lock = threading.Lock()

    def spend(self, row: int, message: str) -> None:
        """A row has no score.

        Raises:
            TooManyRowErrors: these are more than may be.
        """
        with self._lock:
            self._found += 1
            if len(self._first) < _SHOWN_ERRORS:
                self._first.append((row, message))
            if self._allowed is not None and self._found > self._allowed:
                raise TooManyRowErrors(self._found, self._allowed, list(self._first))


class Caller:
    """Sends the rows of one call to one endpoint; used by several threads."""

    def __init__(
        self,
        client: httpx.Client,
        uri: str,
        target: OnlineTarget,
        limits: OnlineLimits,
        read_secret: Callable[[], str],
        max_errors: int | None,
    ) -> None:
        """Describe the call; nothing is sent.

        Args:
            read_secret: gives the key or a token that is valid now.
            max_errors: see `ErrorBudget`.
        """
        self._client = client
        self._uri = uri
        self._target = target
        self._limits = limits
        self._read_secret = read_secret
        self._budget = ErrorBudget(max_errors)
        self._fitting = limits.rows_per_request
        self.pace = Pace(limits.concurrency)

    def score(self, rows: Rows) -> Answers:
        """One answer for every row, in order. A failure stops the other threads of the call.

        Raises:
            Refused, Unreachable, WrongAnswer, TooManyRowErrors: see there.
            Stopped: another thread has failed.
        """
        try:
            return self._score_parts(rows)
        except BaseException as error:
            self.pace.stop(error)
            raise

    def _score_parts(self, rows: Rows) -> Answers:
        answers = Answers()
        size = self._fitting
        for start in range(0, len(rows), size):
            for part, body in split_rows(rows.cut(start, start + size), self._limits.bytes_per_request):
                answers.extend(self._score_part(part, body))
        return answers

    def _score_part(self, part: Rows, body: bytes | NotJson) -> Answers:
        try:
            if isinstance(body, NotJson):
                raise _Halve(str(body))
            answers = self._send(body, part)
        except _Halve as error:
            if len(part) > 1:
                half = (len(part) + 1) // 2
                answers = self._score_parts(part.cut(0, half))
                answers.extend(self._score_parts(part.cut(half, len(part))))
                return answers
            answers = Answers()
            answers.add_error(error.message[:MESSAGE_CHARACTERS])
        for number, message in enumerate(answers.errors, part.first):
            if message is not None:
                self._budget.spend(number, message)
        return answers

    def _send(self, body: bytes, part: Rows) -> Answers:
        """One micro-batch, tried until it is answered or the time for it is over. Scoring changes nothing there."""
        failing_since, tries = 0.0, 0
        while True:
            try:
                with self.pace.slot():
                    answers = self._try_once(body, part)
            except _Again as error:
                now = time.monotonic()
                failing_since = failing_since or now
                delay = error.delay if error.delay is not None else choose_delay(tries)
                tries += 1
                if now + delay - failing_since > self._limits.retry_seconds:
                    raise self._give_up(error.reason, tries) from None
                if error.overloaded:
                    self.pace.throttle(delay)
                else:
                    self.pace.sleep(delay)
            else:
                self.pace.succeed()
                return answers

    def _try_once(self, body: bytes, part: Rows) -> Answers:
        import httpx

        secret = self._read_secret()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {secret}"}
        if self._target.deployment:
            headers[DEPLOYMENT_HEADER] = self._target.deployment
        timeout = httpx.Timeout(self._limits.request_seconds, connect=min(10.0, self._limits.request_seconds))
        try:
            response = self._client.post(self._uri, content=body, headers=headers, timeout=timeout)
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            if not self.pace.answered and _is_unknown_host(error):
                raise self._give_up(f"the name does not resolve: {reason}", 1) from None
            raise _Again(reason) from None
        if response.status_code == 200:
            try:
                answers = parse_answer(response.content, len(part), self._uri)
            except ValueError as error:
                raise _Again(f"its answer is no JSON: {error}") from None
            if name := response.headers.get(DEPLOYMENT_HEADER):
                answers.deployments.add(name)
            return answers
        raise self._explain(response, len(part), secret)

    def _explain(self, response: httpx.Response, rows: int, secret: str) -> Exception:
        """What an answer other than 200 means (Azure ML, "Troubleshoot online endpoints", HTTP status codes)."""
        status = response.status_code
        message = read_message(response.content, response.headers).replace(secret, "***")
        delay = read_retry_after(response.headers.get("retry-after"))
        if status == 424:
            model_status = response.headers.get(_MODEL_STATUS, "")
            if model_status == _MODEL_OVERLOADED:
                return _Again(f"424, the model answers 429: {message}", delay, overloaded=True)
            if model_status in _MODEL_AWAY:
                return _Again(f"424, the model answers {model_status}: {message}", delay)
            self.pace.answered = True
            return _Halve(message)
        if status == 429:
            return _Again(f"429: {message}", delay, overloaded=True)
        if status in (408, 413) and rows > 1:
            # What is too much once is too much the next time: smaller micro-batches from now on.
            self._fitting = max(1, min(self._fitting, rows // 2))
            return _Halve(message)
        if status == 413:
            return _Halve(f"the row is larger than the endpoint takes (413): {message}")
        if status == 408 or status >= 500:
            return _Again(f"{status}: {message}", delay)
        return Refused(SERVICE, self._uri, f"{status}: {message}", self._advise(status))

    def _advise(self, status: int) -> str:
        """What to look at after an answer that no repetition changes."""
        target, deployment = self._target, f"`deployment` ({self._target.deployment!r})"
        if status in (401, 403):
            if target.secret:
                return f"that Key Vault secret {target.secret!r} (`secret`) holds this endpoint's key"
            role = "that the identity may run onlineEndpoints/score/action (role AzureML Data Scientist)"
            return f"{AZURE_ML_KEY.name}, or, where it is not set, {role}"
        named = f"`{target.field}`"
        if target.deployment:
            return f"{named} and {deployment}: both have to exist"
        if status == 404:
            return f"{named}, and that a deployment of the endpoint has traffic"
        return f"{named}, and what the endpoint's scoring script takes"

    def _give_up(self, reason: str, tries: int) -> Unreachable:
        check = f"`{self._target.field}`, that its deployment is healthy, and its `request_timeout_ms` and instances"
        return Unreachable(SERVICE, self._uri, f"{reason}; tried {tries} times", check)


def _is_unknown_host(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, socket.gaierror):
            return True
        error = error.__cause__ or error.__context__
    return False


def read_message(content: bytes, headers: Mapping[str, str]) -> str:
    """What an answer says for itself: the message in its JSON, its text, or its headers."""
    text = content.decode("utf-8", errors="replace").strip()
    try:
        found = json.loads(text)
    except ValueError:
        found = text
    for name in ("error", "message"):
        if isinstance(found, dict) and found.get(name):
            found = found[name]
    said = found if isinstance(found, str) else json.dumps(found)
    return said[:MESSAGE_CHARACTERS] or headers.get(_MODEL_REASON) or "no message"


__all__ = ["Caller", "ErrorBudget", "Stopped", "TooManyRowErrors", "read_message"]
