"""A page of rows scored by the Language service: rows to documents, documents to requests, outcomes to rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any, Literal
from urllib.parse import quote

from adfml_assets.text.language_rows import TextRow
from resources.errors import Refused
from resources.language_answers import UNSUPPORTED_LANGUAGE, BatchRefused, Outcome, Rejected, Scored
from resources.language_documents import (
    DOCUMENT_CHARACTERS,
    Document,
    build_document,
    count_at_most,
    count_text_elements,
    fits,
    pack,
    split_text,
)
from resources.language_session import LanguageSession, Stopped

LongTexts = Literal["split", "report"]
_ID_CHARACTERS = 100


@dataclass(frozen=True)
class TextRules:
    """How texts are sent: the language of rows that have none of their own, and what becomes of texts that are too
    long."""

    language: str
    long_texts: LongTexts
    language_per_row: bool = False


@dataclass(frozen=True)
class RowOutcome:
    """What became of a row.

    Attributes:
        key: of the row.
        scores: of its text, parts together; None: it was rejected.
        rejected: why; None: it was scored.
        parts: documents it was sent as.
        scored_at: UTC.
    """

    key: tuple[Any, ...]
    scores: Scored | None
    rejected: Rejected | None
    parts: int
    scored_at: datetime


@dataclass
class PageOutcome:
    """What became of a page: the rows that are done, and what stopped the others, which then stay as they were."""

    rows: list[RowOutcome] = field(default_factory=list)
    failure: Exception | None = None


def score_page(
    session: LanguageSession, rows: Sequence[TextRow], rules: TextRules, concurrency: int, now: datetime
) -> PageOutcome:
    """Score the texts of a page, `concurrency` requests at once.

    What stops a request (a wrong key, no answer for too long) stops the page: no further request is begun, those under
    way are waited for, and every row whose documents all have an outcome counts: it is paid for.
    """
    documents: dict[int, list[Document]] = {}
    outcomes: dict[str, Outcome] = {}
    page = PageOutcome()
    for index, row in enumerate(rows):
        prepared = prepare_row(row, rules)
        if isinstance(prepared, Rejected):
            page.rows.append(RowOutcome(row.key, None, prepared, 0, now))
        else:
            documents[index] = prepared
    page.failure = _ask_all(session, (d for parts in documents.values() for d in parts), concurrency, rules, outcomes)
    for index, parts in documents.items():
        if all(part.id in outcomes for part in parts):
            page.rows.append(_combine(rows[index].key, parts, [outcomes[part.id] for part in parts], now))
    return page


def prepare_row(row: TextRow, rules: TextRules) -> list[Document] | Rejected:
    """The documents a row is sent as, or why it is not sent."""
    if row.text is None:
        return Rejected("TextMissing", "The text is NULL.")
    if isinstance(row.text, bytes):
        return Rejected("TextInvalid", "The text is binary.")
    text = str(row.text)
    if not text.strip():
        return Rejected("TextMissing", "The text is empty.")
    id, language = build_id(row.key), row.language or rules.language
    try:
        if count_at_most(text) <= DOCUMENT_CHARACTERS and fits(document := build_document(id, text, language)):
            return [document]
        if rules.long_texts == "report":
            # Between the two counts only the service knows: it is asked, and its own answer is kept.
            document = build_document(id, text, language)
            if count_text_elements(text) <= DOCUMENT_CHARACTERS and fits(document):
                return [document]
            return Rejected(
                "TextTooLong",
                f"The text has {count_text_elements(text)} characters and takes {document.size} bytes; the service "
                f"takes {DOCUMENT_CHARACTERS} characters and 1 MB.",
            )
        parts = split_text(text)
        return [build_document(f"{id}#{number}", part, language) for number, part in enumerate(parts, 1)]
    except UnicodeEncodeError as error:
        return Rejected("TextInvalid", f"The text is not valid Unicode: half a surrogate pair at {error.start}.")
    except ValueError as error:
        return Rejected("TextTooLong", f"The text cannot be cut: {error}.")


def build_id(key: Iterable[Any]) -> str:
    """A document's id from its row's key: the same whenever the row is sent, and no other row's."""
    id = "|".join(quote(str(value), safe="") for value in key)
    return id if len(id) <= _ID_CHARACTERS else sha256(id.encode()).hexdigest()


def _ask_all(
    session: LanguageSession,
    documents: Iterable[Document],
    concurrency: int,
    rules: TextRules,
    outcomes: dict[str, Outcome],
) -> Exception | None:
    """Fill `outcomes`; returns what stopped it."""
    failure: Exception | None = None
    with ThreadPoolExecutor(concurrency, thread_name_prefix="language") as pool:
        futures = [pool.submit(_ask, session, batch, rules) for batch in pack(documents)]
        try:
            for future in as_completed(futures):
                if future.cancelled():
                    continue
                answered, error = future.result()
                outcomes.update(answered)
                if error is not None and (failure is None or isinstance(failure, Stopped)):
                    failure = error
                    for other in futures:
                        other.cancel()
        except BaseException:
            # The run is being cancelled: let the threads that wait give up, instead of waiting for them.
            session.stop()
            for future in futures:
                future.cancel()
            raise
    return failure


def _ask(
    session: LanguageSession, batch: Sequence[Document], rules: TextRules
) -> tuple[dict[str, Outcome], Exception | None]:
    """The outcomes of a request's documents, and what stopped it. A request that is refused because of its documents
    is halved until the one that is to blame is alone: it is rejected, the others are scored."""
    try:
        answered = session.analyze(batch)
    except BatchRefused as error:
        if len(batch) == 1:
            return {batch[0].id: Rejected(error.code, error.message)}, None
        half = len(batch) // 2
        first, failure = _ask(session, batch[:half], rules)
        if failure is not None:
            return first, failure
        second, failure = _ask(session, batch[half:], rules)
        return {**first, **second}, failure
    except Exception as error:
        return {}, error
    if (mistake := _find_mistake(session, answered, rules)) is None:
        return answered, None
    return {id: outcome for id, outcome in answered.items() if isinstance(outcome, Scored)}, mistake


def _find_mistake(session: LanguageSession, answered: Mapping[str, Outcome], rules: TextRules) -> Refused | None:
    """A mistake of the declaration that shows in every document: better told than marked in every row."""
    if rules.language_per_row:
        return None
    for outcome in answered.values():
        if isinstance(outcome, Rejected) and outcome.code == UNSUPPORTED_LANGUAGE:
            check = f"the engine's language in the declaration ({rules.language!r})"
            return Refused("Language", session.address, f"{outcome.code}: {outcome.message}", check)
    return None


def _combine(key: tuple[Any, ...], parts: Sequence[Document], outcomes: Sequence[Outcome], now: datetime) -> RowOutcome:
    rejected = [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
    if rejected:
        where = f" (in {len(rejected)} of {len(parts)} parts)" if len(parts) > 1 else ""
        return RowOutcome(key, None, Rejected(rejected[0].code, rejected[0].message + where), len(parts), now)
    scores = [outcome for outcome in outcomes if isinstance(outcome, Scored)]
    return RowOutcome(key, combine_scores(scores), None, len(parts), now)


def combine_scores(parts: Sequence[Scored]) -> Scored:
    """The scores of a text that was cut: the parts' confidences weighted by their characters.

    The label follows the rule by which the service makes a document's of its sentences' ("How to: Sentiment analysis",
    Microsoft Learn): positive or negative where some parts are and the others neutral, mixed where there are both.
    """
    if len(parts) == 1:
        return parts[0]
    labels = {part.sentiment for part in parts} - {"neutral"}
    sentiment = "mixed" if len(labels) > 1 else labels.pop() if labels else "neutral"
    weight = sum(part.characters for part in parts)

    def weigh(values: Iterable[float]) -> float:
        return sum(part.characters * value for part, value in zip(parts, values, strict=True)) / weight

    return Scored(
        sentiment,
        weigh(part.positive for part in parts),
        weigh(part.neutral for part in parts),
        weigh(part.negative for part in parts),
        weight,
        sum(part.text_records for part in parts),
        parts[-1].model_version,
    )
