"""What the Language service answers: scores and errors of documents, and errors of a request as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from resources.errors import Refused
from resources.language_documents import Document, count_text_elements, count_text_records

Sentiment = Literal["positive", "neutral", "negative", "mixed"]
SENTIMENTS: tuple[str, ...] = get_args(Sentiment)

TRANSIENT_CODES = frozenset({"InternalServerError", "ServiceUnavailable", "Timeout", "TooManyRequests"})
"""Errors of a document that are worth asking again; the others are the document's own and stay."""

UNSUPPORTED_LANGUAGE = "UnsupportedLanguageCode"

# 400s that are about the documents; every other one is about the declaration or the service's settings.
_BATCH_CODES = frozenset({"InvalidDocumentBatch", "InvalidDocument", "InvalidRequestBodyFormat"})


@dataclass(frozen=True)
class Scored:
    """A document's scores.

    Attributes:
        sentiment: positive, neutral, negative or mixed.
        positive, neutral, negative: confidences, 0 to 1, together 1.
        characters: as the service counted them.
        text_records: that are billed.
        model_version: of the model that answered.
    """

    sentiment: Sentiment
    positive: float
    neutral: float
    negative: float
    characters: int
    text_records: int
    model_version: str


@dataclass(frozen=True)
class Rejected:
    """A document the service does not score: its code and message."""

    code: str
    message: str

    @property
    def transient(self) -> bool:
        """Whether asking again may help."""
        return self.code in TRANSIENT_CODES


Outcome = Scored | Rejected


class WrongAnswer(Exception):
    """An answer with status 200 that is none: not JSON, or not one outcome for each document."""


class BatchRefused(Refused):
    """A request was refused because of its documents: each of them may still be taken by itself."""

    def __init__(self, address: str, code: str, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__("Language", address, f"{code}: {message}", "the documents of the request")


def read_answer(documents: Sequence[Document], body: Any) -> dict[str, Outcome]:
    """One outcome for each document, by its id.

    Raises:
        WrongAnswer: there is not exactly that in it.
    """
    sent = {document.id: document for document in documents}
    found: dict[str, Outcome] = {}
    try:
        results = body["results"]
        version = str(results["modelVersion"])
        scored: list[tuple[str, Outcome]] = [
            (item["id"], _read_scores(sent, item, version)) for item in results["documents"]
        ]
        rejected: list[tuple[str, Outcome]] = [(item["id"], read_error(item["error"])) for item in results["errors"]]
    except (KeyError, TypeError, ValueError) as error:
        raise WrongAnswer(f"it is not the service's ({type(error).__name__}: {error})") from None
    for id, outcome in [*scored, *rejected]:
        if id in found:
            raise WrongAnswer(f"it has two outcomes for document {id!r}")
        found[id] = outcome
    if found.keys() != sent.keys():
        missing, unknown = sorted(sent.keys() - found.keys()), sorted(found.keys() - sent.keys())
        raise WrongAnswer(f"documents without an outcome: {missing}; unknown documents: {unknown}")
    return found


def _read_scores(sent: Mapping[str, Document], item: Mapping[str, Any], version: str) -> Scored:
    if item["sentiment"] not in SENTIMENTS:
        raise ValueError(f"sentiment {item['sentiment']!r}")
    scores = item["confidenceScores"]
    # Asked for by showStats: the service's own count is what is billed.
    counted = item.get("statistics") or {}
    characters = counted.get("charactersCount")
    if characters is None:
        characters = count_text_elements(sent[item["id"]].text)
    records = counted.get("transactionsCount")
    return Scored(
        item["sentiment"],
        float(scores["positive"]),
        float(scores["neutral"]),
        float(scores["negative"]),
        int(characters),
        count_text_records(int(characters)) if records is None else int(records),
        version,
    )


def read_error(error: Mapping[str, Any]) -> Rejected:
    """The innermost code and message of an `error` of the service: the outer ones only say "Invalid Request."."""
    inner = error
    while isinstance(inner.get("innererror"), dict) and inner["innererror"].get("code"):
        inner = inner["innererror"]
    return Rejected(str(inner["code"]), str(inner.get("message") or error.get("message") or "no message"))


def explain_refusal(status: int, body: Any, address: str, key_source: str) -> Refused:
    """The error for a request that was answered 4xx.

    Args:
        status: of the answer.
        body: of the answer, parsed, or None.
        address: of the service.
        key_source: which setting the key is from, or that the managed identity signed in.
    """
    from resources.settings import LANGUAGE_ENDPOINT

    error = body.get("error") if isinstance(body, dict) else None
    found = (
        read_error({"code": str(status), **error}) if isinstance(error, dict) else Rejected(str(status), "no reason")
    )
    if status == 413 or (status == 400 and found.code in _BATCH_CODES):
        return BatchRefused(address, found.code, found.message)
    checks = {
        401: f"{key_source}, and that it belongs to the resource (and region) in {LANGUAGE_ENDPOINT.name}",
        403: f"{key_source}, that the resource in {LANGUAGE_ENDPOINT.name} is enabled, has keys switched on where one "
        "is used, and lets this network in; an identity needs the role Cognitive Services Language Reader",
        404: f"{LANGUAGE_ENDPOINT.name}: expected a Language resource's address without a path, for example "
        f"{LANGUAGE_ENDPOINT.example}",
    }
    check = checks.get(status, "the engine's fields in the declaration (language, model_version, api_version)")
    if found.code == "ModelVersionIncorrect":
        check = "the engine's model_version in the declaration"
    elif "api-version" in found.message.lower():
        check = "the engine's api_version in the declaration"
    return Refused("Language", address, f"{status} {found.code}: {found.message}", check)
