"""Azure AI Language: POST /language/:analyze-text, kind SentimentAnalysis, with the service's limits and errors."""

from __future__ import annotations

import hmac
import secrets
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_cloud.errors import ApiError, TokenError
from local_cloud.exchanges import guard, parse_object
from local_cloud.faults import FaultBox
from local_cloud.language_analysis import analyze, count_text_elements
from local_cloud.language_errors import LanguageError, describe_document_error, invalid
from local_cloud.services import Cloud, Service
from local_cloud.tokens import TokenIssuer

RESOURCE = "https://cognitiveservices.azure.com"
"""The audience a token must have."""

PATH = "/language/:analyze-text"
API_VERSIONS = ("2022-05-01", "2023-04-01", "2024-11-01", "2025-11-15-preview")
MODEL_VERSIONS = ("latest", "2022-06-01", "2022-11-01")
INDEX_TYPES = ("TextElements_v8", "UnicodeCodePoint", "Utf16CodeUnit")
MAX_DOCUMENTS = 10
MAX_CHARACTERS = 5_120
MAX_BYTES = 1024 * 1024
TEXT_RECORD = 1_000
_PARAMETERS = {"modelVersion", "loggingOptOut", "opinionMining", "stringIndexType"}


class Journal:
    """What was analysed, for tests: how often each document id, and how many requests at most at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Count from zero again."""
        with self._lock:
            self._documents: Counter[str] = Counter()
            self._now = self._peak = 0

    def add(self, ids: list[str]) -> None:
        """Documents were analysed, and are billed."""
        with self._lock:
            self._documents.update(ids)

    @contextmanager
    def request(self) -> Iterator[None]:
        """A request is under way."""
        with self._lock:
            self._now += 1
            self._peak = max(self._peak, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1

    def read(self) -> dict[str, Any]:
        """``{"documents": {id: times}, "peak_requests": n}``."""
        with self._lock:
            return {"documents": dict(self._documents), "peak_requests": self._peak}


class LanguageApi:
    """Answers the requests."""

    def __init__(self, faults: FaultBox, journal: Journal) -> None:
        self._faults = faults
        self._journal = journal

    def analyze_text(self, query: Mapping[str, str], data: bytes) -> dict[str, Any]:
        """``POST :analyze-text``.

        Raises:
            LanguageError: the request as a whole is refused.
        """
        _require_api_version(query)
        if self._faults.take_behaviour("language.disabled"):
            raise LanguageError(403, "Forbidden", "The resource is disabled: its subscription is not active.")
        if len(data) > MAX_BYTES:
            message = f"Batch request is too large. Limit the size of a request to: {MAX_BYTES} bytes."
            raise LanguageError(413, "InvalidRequest", message, "InvalidDocumentBatch", message)
        body = _parse(data)
        documents = _read_documents(body)
        parameters = _read_parameters(body.get("parameters"))
        with_statistics = query.get("showStats", "false").lower() == "true"
        found, errors, analysed, records = [], [], [], 0
        for document in documents:
            characters = count_text_elements(document["text"])
            error = self._find_error(document, characters)
            if self._faults.take_behaviour("language.missing_document"):
                continue
            if error is not None:
                errors.append({"id": document["id"], "error": error})
                continue
            answer = analyze(document["text"], parameters["stringIndexType"], opinions=parameters["opinionMining"])
            transactions = -(-characters // TEXT_RECORD)
            records += transactions
            statistics = {"charactersCount": characters, "transactionsCount": transactions}
            shown = {"statistics": statistics} if with_statistics else {}
            found.append({"id": document["id"], **answer, **shown, "warnings": []})
            analysed.append(document["id"])
        self._journal.add(analysed)
        latest = parameters["modelVersion"] == "latest"
        results: dict[str, Any] = {
            "documents": found,
            "errors": errors,
            "modelVersion": MODEL_VERSIONS[-1] if latest else parameters["modelVersion"],
        }
        if with_statistics:
            results["statistics"] = {
                "documentsCount": len(documents),
                "validDocumentsCount": len(found),
                "erroneousDocumentsCount": len(errors),
                "transactionsCount": records,
            }
        return {"kind": "SentimentAnalysisResults", "results": results}

    def _find_error(self, document: Mapping[str, Any], characters: int) -> dict[str, Any] | None:
        language = document.get("language") or "en"
        if not document["text"].strip():
            return describe_document_error("InvalidDocument", "Document text is empty.")
        if language.partition("-")[0].lower() != "en":
            return describe_document_error(
                "UnsupportedLanguageCode",
                f"Invalid language code {language}. Supported languages: en. For additional details see "
                "https://aka.ms/text-analytics/language-support?tabs=sentiment-analysis",
            )
        if characters > MAX_CHARACTERS:
            return describe_document_error(
                "InvalidDocument",
                "A document within the request was too large to be processed. Limit document size to: "
                f"{MAX_CHARACTERS} text elements. For additional details on the data limitations see "
                "https://aka.ms/text-analytics-data-limits",
            )
        if self._faults.take_behaviour("language.document_error"):
            return {"code": "InternalServerError", "message": "An internal error occurred for this document."}
        return None


def _require_api_version(query: Mapping[str, str]) -> None:
    version = query.get("api-version")
    if version is None:
        message = "The api-version query parameter (?api-version=) is required for all requests."
        raise LanguageError(400, "MissingApiVersionParameter", message)
    if version not in API_VERSIONS:
        message = f"Api-Version query parameter value {version!r} is not valid or supported."
        raise invalid("InvalidParameterValue", message)


def _parse(data: bytes) -> dict[str, Any]:
    try:
        body = parse_object(data)
    except ValueError as error:
        raise invalid("InvalidRequestBodyFormat", f"Invalid request body: {error}") from None
    if body.get("kind") != "SentimentAnalysis":
        message = f"Invalid kind {body.get('kind')!r}. This server has: SentimentAnalysis."
        raise invalid("InvalidParameterValue", message)
    return body


def _read_documents(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    source = body.get("analysisInput")
    documents = source.get("documents") if isinstance(source, dict) else None
    if not isinstance(documents, list) or not documents:
        raise invalid("MissingInputDocuments", "Missing input documents.")
    if len(documents) > MAX_DOCUMENTS:
        message = f"Batch request contains too many records. Max {MAX_DOCUMENTS} records are permitted."
        raise invalid("InvalidDocumentBatch", message)
    for document in documents:
        if not isinstance(document, dict) or not isinstance(document.get("id"), str) or not document["id"]:
            raise invalid("InvalidDocumentBatch", "Document Id is missing or empty.")
        if not isinstance(document.get("text"), str) or not isinstance(document.get("language", ""), str | None):
            raise invalid("InvalidRequestBodyFormat", f"Document {document['id']}: text and language are strings.")
    if len({document["id"] for document in documents}) < len(documents):
        raise invalid(
            "InvalidDocumentBatch", "Request contains duplicated Ids. Make sure each document has a unique Id."
        )
    return documents


def _read_parameters(given: Any) -> dict[str, Any]:
    if given is not None and not isinstance(given, dict):
        raise invalid("InvalidRequestBodyFormat", "Invalid request body: parameters is an object.")
    found = {name: value for name, value in (given or {}).items() if value is not None}
    if unknown := sorted(found.keys() - _PARAMETERS):
        raise invalid("InvalidParameterValue", f"Unknown parameters: {', '.join(unknown)}.")
    defaults = {"modelVersion": "latest", "opinionMining": False, "stringIndexType": INDEX_TYPES[0]}
    parameters = {**defaults, **found}
    if parameters["modelVersion"] not in MODEL_VERSIONS:
        message = f"Invalid model version. Possible values are: {', '.join(MODEL_VERSIONS)}"
        raise invalid("ModelVersionIncorrect", message)
    if parameters["stringIndexType"] not in INDEX_TYPES:
        raise invalid("InvalidParameterValue", f"stringIndexType is one of: {', '.join(INDEX_TYPES)}")
    return parameters


def build_service(cloud: Cloud) -> Service:
    """The service, with a key of its own beside the tokens; see `/_local/language/documents` for what it analysed."""
    journal = Journal()
    api = LanguageApi(cloud.faults, journal)
    key = cloud.database.setting("language_key", lambda: secrets.token_hex(16))

    async def answer(request: Request) -> Response:
        _authenticate(request, cloud.issuer, key)
        if request.url.path != PATH or request.method != "POST":
            raise LanguageError(404, "404", "Resource not found")
        data = await request.body()
        with journal.request():
            return JSONResponse(await run_in_threadpool(api.analyze_text, request.query_params, data))

    async def documents(request: Request) -> Response:
        if request.method == "DELETE":
            journal.reset()
        return JSONResponse(journal.read())

    return Service(
        routes=[
            Route(
                "/language/{rest:path}",
                guard(answer, _show_error, "InternalServerError"),
                methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            ),
            Route("/_local/language/documents", documents, methods=["GET", "DELETE"]),
        ],
        environment={"ADFML_LANGUAGE_ENDPOINT": cloud.url, "ADFML_LANGUAGE_KEY": key},
    )


def _show_error(error: ApiError) -> Response:
    shown = error.describe() if isinstance(error, LanguageError) else {"code": error.code, "message": error.message}
    return JSONResponse({"error": shown}, status_code=error.status)


def _authenticate(request: Request, issuer: TokenIssuer, key: str) -> None:
    """By key, or by a token for `RESOURCE`: as the service, which looks at the key first."""
    sent = request.headers.get("ocp-apim-subscription-key")
    if sent is not None:
        if hmac.compare_digest(sent.encode(), key.encode()):
            return
        raise LanguageError(
            401,
            "401",
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for "
            "an active subscription and use a correct regional API endpoint for your resource.",
        )
    try:
        issuer.verify(request.headers.get("authorization"), RESOURCE)
    except TokenError as error:
        raise LanguageError(401, "Unauthorized", str(error)) from error
