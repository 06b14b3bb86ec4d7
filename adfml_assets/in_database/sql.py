"""Pieces of SQL that no dialect has been chosen for yet: words, numbers, texts and names of columns, in a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

LARGEST = 1.7976931348623157e308
"""The largest float64."""

_CHAIN = 200
"""Terms of a sum without brackets: SQLite takes expressions of 1,000 levels, and every term is one."""


@dataclass(frozen=True)
class Name:
    """A column that the compiled query makes and names itself."""

    text: str


@dataclass(frozen=True)
class Text:
    """A text value."""

    value: str


@dataclass(frozen=True)
class Function:
    """A function that dialects call by different names."""

    name: str


LN = Function("ln")

Part: TypeAlias = str | float | Name | Text | Function


@dataclass(frozen=True)
class Sql:
    """An expression. `str` parts are the words that all dialects share."""

    parts: tuple[Part, ...]

    @property
    def names(self) -> frozenset[Name]:
        """The columns it reads."""
        return frozenset(part for part in self.parts if isinstance(part, Name))

    @property
    def size(self) -> int:
        """How many columns and values it has."""
        return sum(not isinstance(part, str) for part in self.parts)


Piece: TypeAlias = Part | Sql


def build(*pieces: Piece) -> Sql:
    """Put pieces in a row."""
    parts: list[Part] = []
    for piece in pieces:
        if isinstance(piece, Sql):
            parts.extend(piece.parts)
        else:
            parts.append(piece)
    return Sql(tuple(parts))


def build_case(whens: Iterable[tuple[Piece, Piece]], otherwise: Piece | None = None) -> Sql:
    """`CASE WHEN condition THEN value ... ELSE otherwise END`; NULL where nothing holds and no other value is given."""
    pieces: list[Piece] = ["CASE"]
    for condition, value in whens:
        pieces += [" WHEN ", condition, " THEN ", value]
    if otherwise is not None:
        pieces += [" ELSE ", otherwise]
    return build(*pieces, " END")


def join(pieces: Sequence[Piece], between: str) -> Sql:
    """Pieces with words between them."""
    joined: list[Piece] = []
    for piece in pieces:
        joined += [between, piece] if joined else [piece]
    return build(*joined)


def add_up(terms: Sequence[Piece]) -> Sql:
    """The sum of terms, in order; in brackets where there are many."""
    if len(terms) <= _CHAIN:
        return join(terms, " + ")
    chunks = [terms[start : start + _CHAIN] for start in range(0, len(terms), _CHAIN)]
    return add_up([build("(", join(chunk, " + "), ")") for chunk in chunks])


def any_of(conditions: Sequence[Piece]) -> Sql:
    """A condition that holds where one of them does."""
    return join(conditions, " OR ")
