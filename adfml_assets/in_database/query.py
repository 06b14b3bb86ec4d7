"""The text of a compiled model's query for one database: each level is a query over the one below."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from adfml_assets.in_database.columns import USUAL
from adfml_assets.in_database.compile import Arranged, CompiledModel
from adfml_assets.in_database.dialects import Dialect, find_dialect
from adfml_assets.in_database.errors import CannotCompile
from adfml_assets.in_database.sql import Name, Sql

_SOURCE = "s"
_WRONG = "w"
_USUAL = "u"
_LEVEL, _ROWS = "adfml_level_", "adfml_rows_"

_ARGUMENTS = 50
"""Of a function at most: older SQLite takes 100."""

_MANY_READS = 200
"""Columns that an expression reads, and each of them ten times: the trees of an ensemble."""


def to_sql(
    compiled: CompiledModel,
    dialect: str,
    source: str,
    *,
    keep: Sequence[str] = (),
    where: str | None = None,
    booleans: Collection[str] = (),
    score: str = "score",
    sample: int | None = None,
) -> str:
    """A SELECT of the rows of a table and their scores, to stand alone or after INSERT INTO.

    The score is a float64; NULL where Python refuses the row or gives no finite score. On PostgreSQL run it with
    `SET LOCAL jit = off`: to compile many trees takes longer than to score a million rows.

    Args:
        dialect: the database, as SQLAlchemy or sqlglot calls it: sqlite, postgresql, duckdb, mssql.
        source: the table, quoted, or a query in brackets. See `quote_table`.
        keep: columns of the table that are selected before the score.
        where: a SQL condition on the table's rows, in the database's own words.
        booleans: features that are boolean columns; PostgreSQL does not take them for numbers by itself.
        score: name of the score's column.
        sample: at most so many rows, chosen at random.

    Raises:
        CannotCompile: there is no SQL for this database, or a tree is too large for it.
    """
    words = find_dialect(dialect)
    kept = [f"k{position}" for position in range(len(keep))]
    selected = [f"{alias} AS {words.quote(name)}" for alias, name in zip(kept, keep, strict=True)]
    rest = f"{source} AS {_SOURCE}{f' WHERE ({chr(10)}{where}{chr(10)})' if where else ''}"

    def refer(position: int) -> str:
        # With the table's name before it, SQLite takes it for nothing but a column.
        return f"{_SOURCE}.{words.quote(compiled.features[position])}"

    keys = [f"{_SOURCE}.{words.quote(name)} AS {alias}" for alias, name in zip(kept, keep, strict=True)]
    if words.usual_number and compiled.usual is not None:
        return _tell_apart(compiled, compiled.usual, words, keys, refer, f" FROM {rest}", sample, selected, score)
    read = [*keys, *_read_features(compiled, words, refer, booleans)]
    arranged = Arranged(compiled.levels, compiled.carried, compiled.score)
    carried = [*kept, *([_WRONG] if words.wrong_number else [])]
    first = _select(words, read or ["1 AS one"], f" FROM {rest}", sample)
    queries = _stack(words, arranged, first, carried, _LEVEL)
    columns = [*selected, f"{_score(words, compiled)} AS {words.quote(score)}"]
    return _finish(words, queries, columns, _LEVEL)


def _tell_apart(
    compiled: CompiledModel,
    usual: Arranged,
    words: Dialect,
    keys: Sequence[str],
    refer: Callable[[int], str],
    rest: str,
    sample: int | None,
    selected: Sequence[str],
    score: str,
) -> str:
    """The query that scores usual rows in few words, and looks at every operation in the others only."""
    numbers, texts = compiled.numbers, compiled.texts
    held = {position: name.text for name, position in numbers.items()}
    # A text is held twice: as it is compared, and as it is.
    held |= {position: f"x{position}" for position in texts.values() if position not in held}
    # Without affinity, which would be applied wherever a column is used.
    read = [*keys, *(f"+{refer(position)} AS {alias}" for position, alias in held.items())]
    read += [f"{words.read_text(refer(position))} AS {name.text}" for name, position in texts.items()]
    read.append(f"CASE WHEN {_is_usual(words, compiled, refer)} THEN 1 END AS {_USUAL}")
    kept = [key.rpartition(" AS ")[2] for key in keys]
    carried = [*kept, _USUAL, *held.values()]
    # What is carried for the other rows need not be carried twice.
    own = [tuple(name for name in names if name.text not in carried) for names in usual.carried]
    arranged = Arranged(usual.levels, tuple(own), usual.score)
    queries = _stack(words, arranged, _select(words, read, rest, sample), carried, _ROWS)
    last = f"{_ROWS}{len(queries) - 1}"

    def refer_held(position: int) -> str:
        return f"{last}.{held[position]}"

    others = _stack(
        words,
        Arranged(compiled.levels, compiled.carried, compiled.score),
        _select(words, _read_features(compiled, words, refer_held, ()), ""),
        [_WRONG],
        _LEVEL,
    )
    other = _finish(words, others, [_score(words, compiled)], _LEVEL)
    result = f"CASE WHEN {_USUAL} THEN {_render(words, usual.score)} ELSE ({other}) END"
    return _finish(words, queries, [*selected, f"{result} AS {words.quote(score)}"], _ROWS)


def _is_usual(words: Dialect, compiled: CompiledModel, refer: Callable[[int], str]) -> str:
    numbers = [refer(position) for position in compiled.numbers.values()]
    most = words.number(USUAL)
    chunks = [", ".join(numbers[start : start + _ARGUMENTS]) for start in range(0, len(numbers), _ARGUMENTS)]
    conditions = [words.usual_number.format(chunk, most) for chunk in chunks]
    conditions += [words.usual_text.format(refer(position)) for position in compiled.texts.values()]
    return " AND ".join(conditions)


def _stack(words: Dialect, arranged: Arranged, first: str, carried: Sequence[str], prefix: str) -> list[str]:
    """The query that reads, and one for each level over it."""
    queries = [first]
    for level, names in zip(arranged.levels, arranged.carried, strict=True):
        columns = [*carried, *(name.text for name in names)]
        below = f"{prefix}{len(queries) - 1}"
        columns += [f"{_compute(words, expression, below)} AS {name.text}" for name, expression in level.items()]
        queries.append(_select(words, columns, f" FROM {_refer(words, queries, prefix)}"))
    return queries


def _compute(words: Dialect, expression: Sql, below: str) -> str:
    text = _render(words, expression)
    reads = sum(isinstance(part, Name) for part in expression.parts)
    if not words.own_row or reads < max(_MANY_READS, 10 * len(expression.names)):
        return text
    names = sorted(name.text for name in expression.names)
    return words.own_row.format(text, ", ".join(f"{below}.{name} AS {name}" for name in names))


def _finish(words: Dialect, queries: Sequence[str], columns: Sequence[str], prefix: str) -> str:
    text = f"SELECT {', '.join(columns)} FROM {_refer(words, queries, prefix)}"  # noqa: S608 - names are quoted
    if not words.with_first:
        return text
    return f"WITH {', '.join(f'{prefix}{number} AS ({query})' for number, query in enumerate(queries))} {text}"


def _score(words: Dialect, compiled: CompiledModel) -> str:
    result = _render(words, compiled.score)
    return f"CASE WHEN {_WRONG} IS NULL THEN {result} END" if words.wrong_number else result


def _refer(words: Dialect, queries: Sequence[str], prefix: str) -> str:
    """The last of the queries, as what the next one reads."""
    name = f"{prefix}{len(queries) - 1}"
    return name if words.with_first else f"({queries[-1]}) AS {name}"


def quote_table(dialect: str, *names: str) -> str:
    """A table as `source` takes it: its schema and name, or database, schema and name."""
    return find_dialect(dialect).quote_table(names)


def _read_features(
    compiled: CompiledModel, words: Dialect, refer: Callable[[int], str], booleans: Collection[str]
) -> list[str]:
    """The columns of the lowest level, from the columns that `refer` gives for a feature's position."""
    columns: list[str] = []
    wrong: list[str] = []
    for name, position in compiled.numbers.items():
        boolean = compiled.features[position] in booleans
        columns.append(f"{words.read_number(refer(position), boolean)} AS {name.text}")
        wrong += [words.wrong_number.format(refer(position))] if words.wrong_number else []
    for name, position in compiled.texts.items():
        columns.append(f"{words.read_text(refer(position))} AS {name.text}")
        wrong += [words.wrong_text.format(refer(position))] if words.wrong_text else []
    if words.wrong_number:
        columns.append(f"CASE WHEN {' OR '.join(wrong) or '0'} THEN 1 END AS {_WRONG}")
    return columns


def _select(words: Dialect, columns: Sequence[str], rest: str, sample: int | None = None) -> str:
    before, after = words.fence
    if sample is not None:
        before, after = words.top.format(sample), f"ORDER BY {words.random} {words.limit.format(sample)}".rstrip()
    return f"SELECT {before}{', '.join(columns)}{rest} {after}".rstrip()


def _render(words: Dialect, expression: Sql) -> str:
    if words.expression_size and expression.size > words.expression_size:
        raise CannotCompile(
            f"a tree of {expression.size:,} columns and values (SQL Server takes {words.expression_size:,})",
            "the model",
        )
    return words.render(expression)
