"""Requests to the Language service under one sign-in: repeated within limits, told in this package's errors."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from resources.errors import Refused, SettingInvalid, Unreachable
from resources.language_answers import BatchRefused, Outcome, Rejected, WrongAnswer, explain_refusal, read_answer
from resources.language_documents import Document
from resources.settings import LANGUAGE_ENDPOINT, LANGUAGE_KEY

if TYPE_CHECKING:
    import httpx

SCOPE = "https://cognitiveservices.azure.com/.default"
PATH = "/language/:analyze-text"
_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 30.0
_NO_DOCUMENTS = ("400 MissingInputDocuments", "400 InvalidRequest")
_REPEATED_STATUS = frozenset({408, 429, 500, 502, 503, 504})
_DONE_PERHAPS = frozenset({408, 504})  # time ran out on the way: the service may have done the work
_UNRESOLVED = ("Name or service not known", "getaddrinfo", "No address", "nodename", "name resolution")


class Stopped(Exception):
    """The session was closed while a request of it waited."""


class Signing:
    """The header that signs a request in: the key, or a token of the managed identity."""

    def __init__(self, key: str, source: str) -> None:
        self._key = key
        self._credential: Any = None
        self._lock = threading.Lock()
        self.source = source if key else f"the managed identity (or set {LANGUAGE_KEY.name})"

    def build_header(self) -> dict[str, str]:
        """Raises Refused: no identity could sign in."""
        if self._key:
            return {"Ocp-Apim-Subscription-Key": self._key}
        from azure.core.exceptions import ClientAuthenticationError
        from azure.identity import DefaultAzureCredential

        with self._lock:  # one sign-in for all threads; azure-identity keeps the token
            self._credential = self._credential or DefaultAzureCredential()
            try:
                return {"Authorization": f"Bearer {self._credential.get_token(SCOPE).token}"}
            except ClientAuthenticationError as error:
                check = f"that this machine has a managed identity, or set {LANGUAGE_KEY.name}"
                raise Refused("The Azure identity", SCOPE, error.message, check) from None


@dataclass
class Sending:
    """What a session has sent so far.

    Attributes:
        requests: sent, repetitions included.
        repeated: requests that were sent again.
        resent_documents: documents sent again after a request whose answer was lost: they may be billed twice.
    """

    requests: int = 0
    repeated: int = 0
    resent_documents: int = 0


@dataclass
class LanguageSession:
    """Requests to the service under one sign-in; safe for many threads."""

    _client: httpx.Client
    _signing: Signing
    model_version: str
    retry_seconds: float
    sending: Sending = field(default_factory=Sending)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _quiet_until: float = 0.0
    _answered: bool = False

    @property
    def address(self) -> str:
        """The service's."""
        return str(self._client.base_url).rstrip("/")

    def stop(self) -> None:
        """Let requests that wait give up, and send no further ones."""
        self._stopped.set()

    def analyze(self, documents: Sequence[Document]) -> dict[str, Outcome]:
        """The outcome of each of up to 10 documents, by id.

        A request that is answered 408, 429 or 5xx, or not at all, is sent again until `retry_seconds` have passed;
        after a 429 all requests of the session pause together. A document that the service failed to score for a
        reason of its own is asked about again likewise.

        Raises:
            BatchRefused: the request was refused because of its documents.
            Refused: wrong key, endpoint, model or version: with the service's message and the setting to check.
            Unreachable: no answer within the time.
            Stopped: the session was closed meanwhile.
        """
        give_up_at = time.monotonic() + self.retry_seconds
        outcomes = self._ask(documents, give_up_at)
        pause = _FIRST_PAUSE
        while again := [d for d in documents if isinstance(o := outcomes[d.id], Rejected) and o.transient]:
            if time.monotonic() + pause > give_up_at:
                break
            self._wait(pause)
            outcomes |= self._ask(again, give_up_at)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return outcomes

    def require_access(self) -> None:
        """Ask about no document: the sign-in is looked at before that is refused, and nothing is billed.

        Raises:
            Refused, Unreachable: as `analyze`.
        """
        try:
            self.analyze([])
        except Refused as error:
            if not isinstance(error, BatchRefused) and not error.reason.startswith(_NO_DOCUMENTS):
                raise

    def _ask(self, documents: Sequence[Document], give_up_at: float) -> dict[str, Outcome]:
        pause, times = _FIRST_PAUSE, 0
        while True:
            self._wait(self._quiet_until - time.monotonic())
            times += 1
            with self._lock:
                self.sending.requests += 1
                self.sending.repeated += times > 1
            answer = self._send_once(documents)
            if not isinstance(answer, _Failure):
                self._answered = True
                return answer
            wait = pause * random.uniform(0.75, 1.25)  # noqa: S311 - no secret depends on it
            if answer.retry_after is not None:
                # The service's word, but never one request after the other without a breath.
                wait = max(answer.retry_after, min(pause / 10, 1.0))
            if time.monotonic() + wait > give_up_at:
                raise Unreachable(
                    "Language",
                    self.address,
                    f"{answer.reason}; asked {times} times within {self.retry_seconds:g} s",
                    f"{LANGUAGE_ENDPOINT.name} and the resource's quota (a smaller concurrency asks less at once)",
                )
            with self._lock:
                if answer.throttled:
                    self._quiet_until = max(self._quiet_until, time.monotonic() + wait)
                if answer.may_be_billed:
                    self.sending.resent_documents += len(documents)
            self._wait(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _wait(self, seconds: float) -> None:
        if self._stopped.wait(max(0.0, seconds)):
            raise Stopped

    def _send_once(self, documents: Sequence[Document]) -> dict[str, Outcome] | _Failure:
        import httpx
        import orjson

        headers = {"Content-Type": "application/json", **self._signing.build_header()}
        try:
            answer = self._client.post(PATH, content=build_body(documents, self.model_version), headers=headers)
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise SettingInvalid(LANGUAGE_ENDPOINT.name, f"an address ({error})") from None
        except httpx.ConnectError as error:
            return self._explain_connecting(error)
        except (httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            return _Failure(f"no connection ({type(error).__name__})")
        except httpx.TransportError as error:
            return _Failure(str(error) or type(error).__name__, may_be_billed=True)
        if answer.status_code == 200:
            try:
                return read_answer(documents, orjson.loads(answer.content))
            except (orjson.JSONDecodeError, WrongAnswer) as error:
                return _Failure(f"an answer that cannot be read: {error}", may_be_billed=True)
        if answer.status_code in _REPEATED_STATUS:
            throttled = answer.status_code == 429
            reason = f"status {answer.status_code}: {_read_message(answer)}"
            return _Failure(reason, _read_retry_after(answer), throttled, answer.status_code in _DONE_PERHAPS)
        raise explain_refusal(answer.status_code, _parse(answer), self.address, self._signing.source)

    def _explain_connecting(self, error: httpx.ConnectError) -> _Failure:
        text = str(error)
        unresolved = any(word in text for word in _UNRESOLVED)
        certificate = "CERTIFICATE_VERIFY_FAILED" in text
        if (unresolved or certificate) and not self._answered:
            # Only once it has answered can this be a disturbance; before, it is a mistyped address.
            reason = "the name does not resolve" if unresolved else text
            raise Unreachable("Language", self.address, reason, f"{LANGUAGE_ENDPOINT.name} and the network") from None
        return _Failure(text or "connection refused")


@dataclass(frozen=True)
class _Failure:
    """A request that is worth sending again."""

    reason: str
    retry_after: float | None = None
    throttled: bool = False
    may_be_billed: bool = False


def build_body(documents: Sequence[Document], model_version: str) -> bytes:
    """The body of a request of kind SentimentAnalysis (REST reference, "Analyze Text")."""
    import orjson

    return orjson.dumps(
        {
            "kind": "SentimentAnalysis",
            "parameters": {"modelVersion": model_version},
            "analysisInput": {
                "documents": [{"id": d.id, "language": d.language, "text": d.text} for d in documents],
            },
        }
    )


def _parse(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _read_message(answer: httpx.Response) -> str:
    body = _parse(answer)
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return str(message or "no message")


def _read_retry_after(answer: httpx.Response) -> float | None:
    """Seconds to wait: Retry-After holds them, or a date."""
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    value = answer.headers.get("retry-after", "").strip()
    if value.isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
