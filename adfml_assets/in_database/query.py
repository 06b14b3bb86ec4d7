"""The text of a compiled model's query for one database: each level is a query over the one below."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from adfml_assets.in_database.compile import CompiledModel
from adfml_assets.in_database.dialects import Dialect, find_dialect
from adfml_assets.in_database.errors import CannotCompile
from adfml_assets.in_database.sql import Name, Sql

_SOURCE = "s"
_WRONG = "w"
_LEVEL = "adfml_level_"


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
    queries = [_read_features(compiled, words, source, keep, where, booleans, sample)]
    for level, carried in zip(compiled.levels, compiled.carried, strict=True):
        columns = [*kept, *([_WRONG] if words.wrong_number else []), *(name.text for name in carried)]
        columns += [f"{_render(words, expression)} AS {name.text}" for name, expression in level.items()]
        queries.append(_select(words, columns, _refer(words, queries)))
    columns = [f"{alias} AS {words.quote(name)}" for alias, name in zip(kept, keep, strict=True)]
    result = _render(words, compiled.score)
    if words.wrong_number:
        result = f"CASE WHEN {_WRONG} IS NULL THEN {result} END"
    columns.append(f"{result} AS {words.quote(score)}")
    text = f"SELECT {', '.join(columns)} FROM {_refer(words, queries)}"  # noqa: S608 - names are quoted
    if not words.with_first:
        return text
    return f"WITH {', '.join(f'{_LEVEL}{number} AS ({query})' for number, query in enumerate(queries))} {text}"


def _refer(words: Dialect, queries: Sequence[str]) -> str:
    """The last of the queries, as what the next one reads."""
    name = f"{_LEVEL}{len(queries) - 1}"
    return name if words.with_first else f"({queries[-1]}) AS {name}"


def quote_table(dialect: str, *names: str) -> str:
    """A table as `source` takes it: its schema and name, or database, schema and name."""
    return find_dialect(dialect).quote_table(names)


def _read_features(
    compiled: CompiledModel,
    words: Dialect,
    source: str,
    keep: Sequence[str],
    where: str | None,
    booleans: Collection[str],
    sample: int | None,
) -> str:
    def refer(name: str) -> str:
        # With the table's name before it, SQLite takes it for nothing but a column.
        return f"{_SOURCE}.{words.quote(name)}"

    columns = [f"{refer(name)} AS k{position}" for position, name in enumerate(keep)]
    wrong: list[str] = []

    def read(name: Name, position: int, expression: str, condition: str) -> None:
        columns.append(f"{expression} AS {name.text}")
        if condition:
            wrong.append(condition.format(refer(compiled.features[position])))

    for name, position in compiled.numbers.items():
        feature = compiled.features[position]
        read(name, position, words.read_number(refer(feature), feature in booleans), words.wrong_number)
    for name, position in compiled.texts.items():
        read(name, position, words.read_text(refer(compiled.features[position])), words.wrong_text)
    if words.wrong_number:
        columns.append(f"CASE WHEN {' OR '.join(wrong) or '0'} THEN 1 END AS {_WRONG}")
    condition = f" WHERE (\n{where}\n)" if where else ""
    return _select(words, columns or ["1 AS one"], f"{source} AS {_SOURCE}{condition}", sample)


def _select(words: Dialect, columns: Sequence[str], rest: str, sample: int | None = None) -> str:
    before, after = words.fence
    if sample is not None:
        before, after = words.top.format(sample), f"ORDER BY {words.random} {words.limit.format(sample)}".rstrip()
    return f"SELECT {before}{', '.join(columns)} FROM {rest} {after}".rstrip()  # noqa: S608 - names are quoted


def _render(words: Dialect, expression: Sql) -> str:
    if words.expression_size and expression.size > words.expression_size:
        raise CannotCompile(
            f"a tree of {expression.size:,} columns and values (SQL Server takes {words.expression_size:,})",
            "the model",
        )
    return words.render(expression)
