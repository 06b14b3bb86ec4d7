"""Texts as the Language service takes them: counted as it counts, cut where they are too long, packed into requests.

Limits ("Service limits for Azure AI Language", Microsoft Learn): 5,120 characters a document as measured by .NET's
StringInfo.LengthInTextElements, 10 documents and 1 MB a request. A text element is what a reader sees as one
character. Which edition of the rule the service follows is not documented for the limit (offsets follow Unicode 8, .NET
Framework and .NET 5 count differently): `count_text_elements` counts by the newest rule, the fewest, and
`count_at_most` wherever any of them begins a new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from unicodedata import category

DOCUMENT_CHARACTERS = 5_120
REQUEST_DOCUMENTS = 10
REQUEST_BYTES = 1_000_000
TEXT_RECORD_CHARACTERS = 1_000
"""What is billed: text records of up to 1,000 characters, counted anew for every document (the price page)."""

_ENVELOPE_BYTES = 600  # the request around its documents
_DOCUMENT_OVERHEAD = 60  # a document around its id, language and text
_SENTENCE_END = r"(?:[.!?…]+[\"'”’)\]]*\s+|[。！？]|\n+)"  # noqa: RUF001 - full-width marks are meant
# Not before what belongs to the character before it: a mark, or the second half of CR LF.
_NO_MARK = r"(?![\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}])(?!(?<=\r)\n)"
PART_BYTES = 90_000
"""A part of a cut text: ten of them fit into one request, whatever they are made of."""


@dataclass(frozen=True)
class Document:
    """One document of a request.

    Attributes:
        id: unique in the run.
        text: not empty, within the limits.
        language: as the service names it.
        size: bytes it takes in a request.
    """

    id: str
    text: str
    language: str
    size: int


def build_document(id: str, text: str, language: str) -> Document:
    """A document with its size.

    Raises:
        UnicodeEncodeError: the text holds half a surrogate pair, which no UTF-8 can say.
    """
    size = measure_bytes(text) + measure_bytes(id) + len(language) + _DOCUMENT_OVERHEAD
    return Document(id, text, language, size)


def measure_bytes(text: str) -> int:
    """Bytes of a text as a JSON string."""
    import orjson

    try:
        return len(orjson.dumps(text))
    except orjson.JSONEncodeError:
        return len(text.encode())  # raises the error that says where


def count_text_elements(text: str) -> int:
    """Characters of a text as .NET 5 and later count them: Unicode's extended grapheme clusters."""
    return len(text) if _is_plain(text) else sum(1 for _ in _list_clusters(text))


def count_at_most(text: str) -> int:
    """Characters of a text, at least as many as any edition of the rule counts, at most its code points."""
    return len(text) if _is_plain(text) else sum(map(_count_in_cluster, _list_clusters(text)))


def count_text_records(characters: int) -> int:
    """Text records that a document of so many characters is billed as."""
    return max(1, -(-characters // TEXT_RECORD_CHARACTERS))


def split_text(text: str, limit: int = DOCUMENT_CHARACTERS, byte_limit: int = PART_BYTES) -> list[str]:
    """Cut a text into parts of at most `limit` characters by any edition of the rule.

    Cut at the end of the last sentence that fits, else after the last white space, else between two characters: never
    within one. Joined, the parts are the text; a part that would be blank is left out.

    Raises:
        ValueError: one single character (a letter with thousands of marks) is over a limit.
    """
    parts: list[str] = []
    rest = text
    while rest:
        head = _take(rest, limit, byte_limit)
        if len(head) < len(rest):
            head = head[: _find_border(head)]
        parts.append(head)
        rest = rest[len(head) :]
    return [part for part in parts if part.strip()]


def pack(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Requests of at most 10 documents and 1 MB, in order."""
    batch: list[Document] = []
    size = _ENVELOPE_BYTES
    for document in documents:
        if batch and (len(batch) == REQUEST_DOCUMENTS or size + document.size > REQUEST_BYTES):
            yield batch
            batch, size = [], _ENVELOPE_BYTES
        batch.append(document)
        size += document.size
    if batch:
        yield batch


def fits(document: Document) -> bool:
    """Whether a document alone is within a request's bytes."""
    return document.size + _ENVELOPE_BYTES <= REQUEST_BYTES


def _is_plain(text: str) -> bool:
    """Whether every code point is a character by every rule; only CR LF is not, among ASCII."""
    return text.isascii() and "\r\n" not in text


def _list_clusters(text: str) -> Iterator[str]:
    import regex

    return (found[0] for found in regex.finditer(r"\X", text))


def _count_in_cluster(cluster: str) -> int:
    # Older rules begin a character at every code point that is no mark: after a joiner, at a skin tone, in a flag.
    return 1 + sum(1 for point in cluster[1:] if not category(point).startswith("M"))


def _take(text: str, limit: int, byte_limit: int) -> str:
    """As many whole characters of a text's beginning as fit."""
    if len(text) <= limit and measure_bytes(text) <= byte_limit:
        return text
    count = size = end = 0
    for cluster in _list_clusters(text):
        count += _count_in_cluster(cluster)
        size += measure_bytes(cluster)
        if count > limit or size > byte_limit:
            break
        end += len(cluster)
    if end == 0:
        raise ValueError(f"its first character has {len(next(_list_clusters(text)))} code points")
    return text[:end]


def _find_border(head: str) -> int:
    """Where to cut: within the second half, so that no part gets tiny, at a sentence's end, else at white space."""
    import regex

    half = len(head) // 2
    for pattern in (_SENTENCE_END, r"\s+"):
        # The white space that ends the head may go on in the rest: a cut there is as good.
        ends = [found.end() for found in regex.finditer(pattern + _NO_MARK, head) if found.end() > half]
        if ends:
            return ends[-1]
    return len(head)
