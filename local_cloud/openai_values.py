"""The single values of a structured answer: which of an enumeration, which number, yes or no, which words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

from local_cloud.openai_limits import fraction
from local_cloud.openai_reading import POSITIVE_ABOVE, Reading, find_stem, split_words

_DEGREES = {
    "awful": -1.0,
    "terrible": -1.0,
    "bad": -0.6,
    "poor": -0.6,
    "unhappy": -0.6,
    "dissatisfied": -0.6,
    "negative": -0.5,
    "neg": -0.5,
    "neutral": 0.0,
    "neu": 0.0,
    "okay": 0.0,
    "positive": 0.5,
    "pos": 0.5,
    "satisfied": 0.6,
    "good": 0.6,
    "happy": 0.6,
    "great": 0.8,
    "excellent": 1.0,
}
_LEVELS = {"none": 0.0, "low": 0.2, "minor": 0.2, "medium": 0.5, "moderate": 0.5, "high": 0.8, "critical": 1.0}
_STRONG = ("very", "strongly", "extremely")
_WEAK = ("slightly", "somewhat", "weakly")
_REST = ("other", "general", "unknown", "unclear", "none", "misc", "miscellaneous", "na")
_BAD_NEWS = frozenset(map(find_stem, ("negative", "complaint", "urgent", "urgency", "severity", "priority", "risk")))
_BAD_NEWS_TOO = frozenset(map(find_stem, ("problem", "issue", "escalate", "refund", "churn", "anger", "escalation")))
_GOOD_NEWS = frozenset(map(find_stem, ("positive", "recommend", "satisfied", "happy", "praise", "resolved")))


def choose_value(reading: Reading, values: Sequence[Any], name: str) -> Any:
    """One of an enumeration: by polarity where it names sentiments or levels or numbers, else by shared words."""
    texts = {value: split_words(value) for value in values if isinstance(value, str)}
    degrees = {value: degree for value, words in texts.items() if (degree := _degree(words)) is not None}
    if len(degrees) >= 2:
        mixed = next((value for value, words in texts.items() if words == ("mixed",)), None)
        if mixed is not None and reading.is_mixed:
            return mixed
        return _nearest_degree(reading, degrees)
    levels = {value: _LEVELS[words[0]] for value, words in texts.items() if len(words) == 1 and words[0] in _LEVELS}
    if len(levels) >= 2:
        wanted = _badness(reading) if _stems(name) & (_BAD_NEWS | _BAD_NEWS_TOO) else abs(reading.polarity)
        return min(levels, key=lambda value: abs(levels[value] - wanted))
    numbers = sorted(value for value in values if isinstance(value, int | float) and not isinstance(value, bool))
    if len(numbers) == len(values):
        return numbers[min(int((reading.polarity + 1) / 2 * len(numbers)), len(numbers) - 1)]
    return _by_words(reading, values, texts)


def measure(reading: Reading, schema: Mapping[str, Any], name: str, *, whole: bool) -> int | float:
    """A number in the bounds of its schema, higher for a better text.

    Raises:
        ValueError: there is no such number.
    """
    low, high = _bounds(schema, name, whole=whole)
    stems = _stems(name)
    if stems & frozenset(map(find_stem, ("subjectivity", "opinion"))):
        share = reading.subjectivity
    elif stems & frozenset(map(find_stem, ("confidence", "probability", "certainty"))):
        share = 0.5 + abs(reading.polarity) / 2
    elif stems & (_BAD_NEWS | _BAD_NEWS_TOO):
        share = _badness(reading)
    else:
        share = (reading.polarity + 1) / 2
    given = schema.get("multipleOf", 1 if whole else None)
    if given is None:
        value = round(low + share * (high - low), 4)
        return min(max(value, low), high)
    # Decimal: a multiple of 0.1 worked out in binary is none.
    step = Decimal(str(given))
    if step <= 0 or (whole and step != int(step)):
        raise ValueError(f"'multipleOf' {given} must be {'an integer' if whole else 'a number'} above 0.")
    first, last = math.ceil(Decimal(str(low)) / step), math.floor(Decimal(str(high)) / step)
    if first > last:
        raise ValueError(f"there is no multiple of {given} from {low} to {high}.")
    steps = first + min(int(share * (last - first + 1)), last - first)
    return int(steps * step) if whole else float(steps * step)


def judge(reading: Reading, name: str) -> bool:
    """Yes or no: what the name asks for good or bad news, otherwise whether the text is an opinion."""
    stems = _stems(name)
    if stems & (_BAD_NEWS | _BAD_NEWS_TOO):
        return reading.polarity < -POSITIVE_ABOVE
    if stems & _GOOD_NEWS:
        return reading.polarity > POSITIVE_ABOVE
    return reading.subjectivity > 0.5


def extract_text(reading: Reading, name: str, shortest: int, longest: int) -> str:
    """The beginning of the text, whole sentences as far as they fit, within the lengths given in characters."""
    if "language" in split_words(name) and shortest <= 2 <= longest:
        return "en"
    text = " ".join(reading.sentences[0].text.split())
    for sentence in reading.sentences[1:]:
        longer = f"{text} {' '.join(sentence.text.split())}"
        if len(longer) > longest:
            break
        text = longer
    return text[:longest].rstrip().ljust(shortest, ".")


def _bounds(schema: Mapping[str, Any], name: str, *, whole: bool) -> tuple[float, float]:
    low: float | None = schema.get("minimum")
    high: float | None = schema.get("maximum")
    if (above := schema.get("exclusiveMinimum")) is not None:
        inside = math.floor(above) + 1 if whole else above + _inset(above)
        low = inside if low is None else max(low, inside)
    if (below := schema.get("exclusiveMaximum")) is not None:
        inside = math.ceil(below) - 1 if whole else below - _inset(below)
        high = inside if high is None else min(high, inside)
    stems = _stems(name)
    if low is None and high is None and "multipleOf" in schema:
        return 0, max(10, schema["multipleOf"])
    if low is None and high is None:
        if stems & frozenset(map(find_stem, ("rating", "stars", "score"))) and whole:
            return 1, 5
        if stems & frozenset(map(find_stem, ("polarity", "sentiment", "compound"))):
            return -1, 1
        return (0, 10) if whole else (0.0, 1.0)
    span = max(10.0 if whole else 1.0, float(schema.get("multipleOf", 0)))
    if low is None:
        low = (high or 0) - span
    if high is None:
        high = low + span
    if low > high or (whole and math.ceil(low) > math.floor(high)):
        raise ValueError(f"there is no {'integer' if whole else 'number'} from {low} to {high}.")
    return low, high


def _inset(bound: float) -> float:
    """How far inside a bound that is itself excluded; answers are written with four decimals."""
    return max(1e-4, abs(bound) * 1e-9)


def _degree(words: Sequence[str]) -> float | None:
    known = [_DEGREES[word] for word in words if word in _DEGREES]
    if len(known) != 1 or "not" in words:
        return None
    if any(word in _STRONG for word in words):
        return known[0] * 2
    return known[0] / 2 if any(word in _WEAK for word in words) else known[0]


def _nearest_degree(reading: Reading, degrees: Mapping[str, float]) -> str:
    polarity = reading.polarity
    if abs(polarity) <= POSITIVE_ABOVE:
        return min(degrees, key=lambda value: abs(degrees[value]))
    # A weak opinion is still one: only degrees of its own sign are asked how near they are.
    alike = {value: degree for value, degree in degrees.items() if degree * polarity > 0}
    return min(alike or degrees, key=lambda value: abs(degrees[value] - polarity))


def _by_words(reading: Reading, values: Sequence[Any], texts: Mapping[str, Sequence[str]]) -> Any:
    shared = {value: len(reading.stems & set(map(find_stem, words))) for value, words in texts.items()}
    best = max(shared.values(), default=0)
    if best > 0:
        return next(value for value in shared if shared[value] == best)
    rest = next((value for value, words in texts.items() if words and words[0] in _REST), None)
    if rest is not None:
        return rest
    return values[int(fraction(reading.text) * len(values))]


def _badness(reading: Reading) -> float:
    return max(0.0, -reading.polarity)


@lru_cache(maxsize=4096)
def _stems(name: str) -> frozenset[str]:
    return frozenset(map(find_stem, split_words(name)))
