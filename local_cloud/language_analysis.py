"""Sentiment of English texts, sentence by sentence, by TextBlob's lexicon: small, without a download, deterministic."""

from __future__ import annotations

import math
import threading
from typing import Any

LABELS = ("positive", "neutral", "negative")
_SENTENCE = r"[^.!?\n]+[.!?]*[\s]*|[.!?\s]+"
_SHARPNESS = 4.0
_NEUTRAL_WITHIN = 0.25
_loading = threading.Lock()


def count_text_elements(text: str) -> int:
    """The length the service's limits speak of: .NET's StringInfo.LengthInTextElements, Unicode's grapheme clusters."""
    import regex

    return len(text) if text.isascii() and "\r\n" not in text else len(regex.findall(r"\X", text))


def measure(text: str, index_type: str) -> int:
    """A text's length in the units of a stringIndexType."""
    if index_type == "UnicodeCodePoint":
        return len(text)
    if index_type == "Utf16CodeUnit":
        return len(text.encode("utf-16-le", "surrogatepass")) // 2
    return count_text_elements(text)


def analyze(text: str, index_type: str, *, opinions: bool) -> dict[str, Any]:
    """``sentiment``, ``confidenceScores`` and ``sentences`` of a document.

    A document is positive or negative where some of its sentences are and the others are neutral, neutral where all
    are, and mixed where there are both; its scores are its sentences', weighted by their lengths.
    """
    sentences: list[dict[str, Any]] = []
    start = 0
    for sentence in _split(text):
        offset, length = measure(text[:start], index_type), measure(sentence.rstrip(), index_type)
        start += len(sentence)
        if not sentence.strip():
            continue
        scores = _score(sentence)
        found = {
            "sentiment": max(scores, key=lambda label: scores[label]),
            "confidenceScores": scores,
            "offset": offset,
            "length": length,
            "text": sentence.rstrip(),
        }
        sentences.append({**found, "targets": [], "assessments": []} if opinions else found)
    labels = {sentence["sentiment"] for sentence in sentences} - {"neutral"}
    sentiment = "mixed" if len(labels) > 1 else labels.pop() if labels else "neutral"
    weights = [len(sentence["text"]) for sentence in sentences]
    total = {
        label: sum(w * s["confidenceScores"][label] for w, s in zip(weights, sentences, strict=True)) / sum(weights)
        for label in LABELS
    }
    return {"sentiment": sentiment, "confidenceScores": _round(total), "sentences": sentences}


def _split(text: str) -> list[str]:
    import regex

    return regex.findall(_SENTENCE, text)


def _score(sentence: str) -> dict[str, float]:
    polarity = _polarity(sentence)
    raw = {
        "positive": math.exp(_SHARPNESS * polarity),
        "neutral": math.exp(_SHARPNESS * (_NEUTRAL_WITHIN - abs(polarity))),
        "negative": math.exp(-_SHARPNESS * polarity),
    }
    return _round({label: value / sum(raw.values()) for label, value in raw.items()})


def _polarity(sentence: str) -> float:
    from textblob.en import sentiment

    # The lexicon is read by the first call; two at once would read it twice.
    with _loading:
        return float(sentiment(sentence)[0])


def _round(scores: dict[str, float]) -> dict[str, float]:
    """Two digits each, as the service has them; the largest takes what is missing to 1."""
    rounded = {label: round(value, 2) for label, value in scores.items()}
    largest = max(rounded, key=lambda label: rounded[label])
    rounded[largest] = round(1 - sum(value for label, value in rounded.items() if label != largest), 2)
    return rounded
