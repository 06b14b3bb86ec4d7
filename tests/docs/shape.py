"""Whether what a command says has the shape of what a page shows: the same words, other numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

_ID = re.compile(r"(?<=Backfill )[a-z]{8}\b|(?<=watch )[a-z]{8}\b|(?<=/b/)[a-z]{8}\b")
_WORD = re.compile(r"\S*\d\S*|https?://\S+")
_BORDER = set("━┏┓┗┛┡┩╇┳┻─└┘┴┼├┤╭╮╰╯═╔╗")
_ELLIPSIS = "..."


def normalise(line: str) -> str:
    """A line without its numbers, ids and addresses, and what follows a list that differs from shop to shop."""
    line = line.partition(" materialises: ")[0] if " materialises: " in line else line
    return " ".join(_WORD.sub("#", _ID.sub("ID", line)).split())


def find_missing(shown: Sequence[str], said: str) -> list[str]:
    """The shown lines that are not in what was said, in their order. Of tables: headings and first columns."""
    actual = [key for line in said.splitlines() for key in _keys(line)]
    missing, position = [], 0
    for line in shown:
        for key in _keys(line):
            found = next((i for i in range(position, len(actual)) if _matches(key, actual[i])), None)
            if found is None:
                missing.append(f"{line}   (looked for: {key})")
            else:
                position = found
    return missing


def _keys(line: str) -> list[str]:
    text = line.strip()
    if not text or text == _ELLIPSIS or set(text) <= _BORDER:
        return []
    if text[0] in "│┃":
        cells = [normalise(cell) for cell in re.split("[│┃]", text)[1:-1]]
        return [f"cell {cell}" for cell in (cells if text[0] == "┃" else cells[:1]) if cell]
    return [normalise(text)]


def _matches(wanted: str, actual: str) -> bool:
    if _ELLIPSIS not in wanted:
        return wanted == actual
    return actual.startswith(wanted.partition(_ELLIPSIS)[0].rstrip())
