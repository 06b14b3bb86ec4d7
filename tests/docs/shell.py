"""The commands in fences of shell and console, with what is shown after them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from tests.docs.pages import PAGES, Fence

_PROMPT = "$ "
_OPERATORS = {"&&", "||", ";", "|", ">", "&"}


@dataclass(frozen=True)
class Command:
    """One command as it stands on a page, without what a shell does around it.

    Attributes:
        words: the program and its arguments.
        given: what is piped into it, where that is written out.
        settings: variables set for it alone.
        shown: the output on the page; None where none is shown.
    """

    fence: Fence
    words: tuple[str, ...]
    given: str | None = None
    settings: dict[str, str] = field(default_factory=dict)
    shown: tuple[str, ...] | None = None

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def __str__(self) -> str:
        return f"{self.fence}: {self.text[:70]}"


def list_commands() -> list[Command]:
    """Every command of every page, in order."""
    return [command for page in PAGES for fence in page.fences for command in read_fence(fence)]


def read_fence(fence: Fence) -> Iterator[Command]:
    if fence.kind == "sh":
        text = fence.text.replace("\\\n", " ")
        for line in text.splitlines():
            yield from _read_line(fence, line, None)
    if fence.kind == "console":
        lines = fence.text.splitlines()
        assert lines[0].startswith(_PROMPT), f"{fence}: a console begins with a prompt"
        number = 0
        while number < len(lines):
            shown = number + 1
            while shown < len(lines) and not lines[shown].startswith(_PROMPT):
                shown += 1
            yield from _read_line(fence, lines[number].removeprefix(_PROMPT), tuple(lines[number + 1 : shown]))
            number = shown


def _read_line(fence: Fence, line: str, shown: tuple[str, ...] | None) -> Iterator[Command]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.commenters = "#" if "#" in line and not re.search(r"\S#", line) else ""
    lexer.wordchars += "$~%{}@:=*,!?[]<>.+^-/"
    parts = [list(words) for is_operator, words in groupby(lexer, lambda word: word in _OPERATORS) if not is_operator]
    piped = re.search(r"\s\|\s", line) is not None
    for number, words in enumerate(parts):
        if piped and number == 0 and words[0] in ("echo", "cat"):
            continue
        given = " ".join(parts[0][1:]) + "\n" if piped and number == 1 else None
        settings = dict(word.split("=", 1) for word in words if _is_setting(words, word))
        rest = tuple(word for word in words if not _is_setting(words, word))
        if rest:
            yield Command(fence, rest, given, settings, shown)


def _is_setting(words: Sequence[str], word: str) -> bool:
    before = words[: words.index(word)]
    return re.fullmatch(r"[A-Z][A-Z_0-9]*=.*", word) is not None and all("=" in earlier for earlier in before)
