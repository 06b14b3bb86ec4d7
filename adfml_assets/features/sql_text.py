"""The SQL of a feature set as its author wrote it: parameters put in, lines kept, so that messages name the right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from adfml_assets.features.errors import NotPortable, SqlInvalid, WrongArguments

if TYPE_CHECKING:
    from sqlglot import Token
    from sqlglot.exp import Expression


def bind_parameters(feature_set: str, text: str, parameters: Mapping[str, Any]) -> str:
    """The text with every `$name` replaced by its value as a literal, up to its semicolon; nothing else is touched.

    Args:
        text: one that `check_query` has let pass.

    Raises:
        WrongArguments: it names a parameter that is not given, or does not use one that is.
    """
    from sqlglot import TokenType
    from sqlglot.dialects.duckdb import DuckDB

    tokens = DuckDB().tokenize(text)
    text = text[: next((token.start for token in tokens if token.token_type is TokenType.SEMICOLON), len(text))]
    places = list(_find_parameters(tokens))
    named = list(dict.fromkeys(name for _, _, name in places))
    unknown = [name for name in parameters if name not in named]
    missing = [name for name in named if name not in parameters]
    if unknown or missing:
        raise WrongArguments(feature_set, "its SQL", unknown, missing, named)
    bound, end = "", 0
    for start, stop, name in places:
        bound += text[end:start] + _build_literal(parameters[name])
        end = stop
    return bound + text[end:]


def check_query(feature_set: str, text: str) -> None:
    """Make sure that a text is one SELECT that DuckDB can parse.

    Raises:
        SqlInvalid: it is not; says the line.
    """
    import duckdb

    try:
        statements = duckdb.extract_statements(text)
    except duckdb.Error as error:
        line, reason = split_message(str(error))
        raise SqlInvalid(feature_set, line or 1, reason) from None
    if len(statements) != 1:
        raise SqlInvalid(feature_set, 1, f"it has {len(statements)} statements")
    if statements[0].type != duckdb.StatementType.SELECT:
        raise SqlInvalid(feature_set, 1, f"it is a statement {statements[0].type.name}")


def split_message(message: str) -> tuple[int | None, str]:
    """The line that an error of DuckDB names, where it names one, and its first sentence."""
    line = re.search(r"LINE (\d+):", message)
    return int(line[1]) if line else None, " ".join(message.partition("\nLINE ")[0].split())


def parse_query(feature_set: str, text: str) -> Expression:
    """The tree of a text that DuckDB takes.

    Raises:
        NotPortable: it has what only DuckDB has.
    """
    import sqlglot
    from sqlglot.errors import ParseError

    try:
        return sqlglot.parse_one(text, read="duckdb")
    except ParseError as error:
        first = error.errors[0] if error.errors else {}
        what = f"line {first.get('line', 1)} of its SQL ({first.get('highlight') or first.get('description')})"
        raise NotPortable(feature_set, what, "Write it in plainer SQL, or leave the engine at duckdb.") from None


def _find_parameters(tokens: Sequence[Token]) -> Iterator[tuple[int, int, str]]:
    """Start, end and name of every `$name` outside of texts and comments."""
    from sqlglot import TokenType

    for sign, name in pairwise(tokens):
        if sign.token_type is TokenType.PARAMETER and name.start == sign.end + 1:
            yield sign.start, name.end + 1, name.text


def _build_literal(value: Any) -> str:
    from sqlglot import exp

    # In brackets: a minus before a negative number would begin a comment.
    literal = exp.convert(value).sql(dialect="duckdb")
    return f"({literal})" if literal.startswith("-") else literal
