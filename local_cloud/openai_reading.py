"""What the model of the local cloud makes of a text: its polarity, its subjectivity, its sentences and words.

The model is TextBlob's lexicon of English; it needs no download and reads some 16,000 short texts a second.
"""

from __future__ import annotations

import re
from functools import cached_property, lru_cache

POSITIVE_ABOVE = 0.05
"""The polarity above which a text is positive, and below whose negative it is negative."""

_BLOCKS = (
    re.compile(r"<(review|text|feedback|comment|document|input|content)\b[^>]*>(.*?)</\1>", re.DOTALL | re.IGNORECASE),
    re.compile(r"(\"\"\"|'''|```)(.*?)\1", re.DOTALL),
)
_LABEL = re.compile(r"^[ \t]*(?:review|text|feedback|comment|message|input)[ \t]*:[ \t]*", re.MULTILINE | re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
_WORD = re.compile(r"[^\W\d_]+", re.UNICODE)
_COMMON = frozenset(
    _WORD.findall(
        "about after again also because been before being could does down each even every from have having here into"
        " just like made make many more most much only other over same should some such than that their them then"
        " there these they this those through very was were what when where which while will with would your"
    )
)


def find_subject(message: str) -> str:
    """The text that a prompt asks about: the last marked block in it, what follows the last label, or all of it.

    Instructions name the classes ("positive or negative"), which would count as words of the text.
    """
    for pattern in _BLOCKS:
        if found := list(pattern.finditer(message)):
            return found[-1].group(2).strip()
    if labels := list(_LABEL.finditer(message)):
        return message[labels[-1].end() :].strip()
    return message.strip()


class Reading:
    """A text as it was read; what is not asked for is not worked out."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def _sentiment(self) -> tuple[float, float]:
        """Polarity and subjectivity: the means of the sentences that hold an opinion, so that each is read once."""
        if len(self.sentences) == 1:
            return _judge_sentence(self.text)
        found = [sentence._sentiment for sentence in self.sentences]
        opinions = [one for one in found if one[1] > 0]
        if not opinions:
            return 0.0, 0.0
        polarity, subjectivity = (sum(values) / len(opinions) for values in zip(*opinions, strict=True))
        return polarity, subjectivity

    @property
    def polarity(self) -> float:
        """How good or bad it is, in [-1, 1]."""
        return self._sentiment[0]

    @property
    def subjectivity(self) -> float:
        """How much of an opinion it is, in [0, 1]."""
        return self._sentiment[1]

    @cached_property
    def sentences(self) -> list[Reading]:
        """Its sentences; the text itself where there is one."""
        parts = [part.strip() for part in _SENTENCE_END.split(self.text) if part.strip()]
        return [Reading(part) for part in parts] if len(parts) > 1 else [self]

    @cached_property
    def words(self) -> list[str]:
        """Its words in lower case."""
        return [word.lower() for word in _WORD.findall(self.text)]

    @cached_property
    def stems(self) -> frozenset[str]:
        """The beginnings of its words: "delivered" and "delivery" have the same."""
        return frozenset(find_stem(word) for word in self.words)

    @property
    def key_words(self) -> list[str]:
        """Its long, uncommon words, each once, in order."""
        return list(dict.fromkeys(word for word in self.words if len(word) > 3 and word not in _COMMON))

    @property
    def is_mixed(self) -> bool:
        """Whether it has clearly good and clearly bad sentences."""
        polarities = [sentence.polarity for sentence in self.sentences]
        return max(polarities) > 2 * POSITIVE_ABOVE and min(polarities) < -2 * POSITIVE_ABOVE

    @property
    def label(self) -> str:
        """positive, neutral, negative or mixed."""
        if self.is_mixed:
            return "mixed"
        if self.polarity > POSITIVE_ABOVE:
            return "positive"
        return "negative" if self.polarity < -POSITIVE_ABOVE else "neutral"


def find_stem(word: str) -> str:
    """The beginning of a word that its other forms share, roughly."""
    return word[:5]


@lru_cache(maxsize=4096)
def _judge_sentence(text: str) -> tuple[float, float]:
    from textblob.en import sentiment

    polarity, subjectivity = sentiment(text)
    return max(-1.0, min(1.0, polarity)), max(0.0, min(1.0, subjectivity))


@lru_cache(maxsize=4096)
def split_words(name: str) -> tuple[str, ...]:
    """The words in a name such as ``late_delivery``, ``lateDelivery`` or ``Late delivery``, in lower case."""
    return tuple(word.lower() for word in _WORD.findall(re.sub(r"([a-z])([A-Z])", r"\1 \2", name).replace("_", " ")))
