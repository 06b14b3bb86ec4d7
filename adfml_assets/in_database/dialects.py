"""How each database writes numbers, texts and names, and how it reads a table's column as a feature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from adfml_assets.in_database.errors import CannotCompile
from adfml_assets.in_database.sql import Function, Name, Sql, Text

_SMALLEST_NORMAL = 2.2250738585072014e-308
_DECIMAL_DIGITS = 15
_ALIASES = {"postgres": "postgresql", "tsql": "mssql"}


@dataclass(frozen=True)
class Dialect:
    """The words of one database.

    Attributes:
        name: as SQLAlchemy calls it.
        parsed_as: as sqlglot calls it.
        quote: a name.
        number: a float64 literal that is read back as exactly this number.
        text: a text literal.
        text_end: what ends a text that is compared, in the column and in the literal.
        read_number: a column as float64; NULL for NaN and infinity. Takes the quoted column, and whether it is boolean.
        read_text: a column as text that is compared character by character.
        functions: names of functions that differ.
        with_first: queries stand in a WITH, one after the other, because a parser has no room for many in each other
            (SQLite's stack holds 100 words). T-SQL takes no WITH inside a statement: there they stand in each other.
        fence: keeps the planner from merging a query into the one around it, which would compute a column anew
            wherever it is used: words after SELECT, and words at the end.
        top, limit: the same with at most so many rows, `{}` standing for the number.
        random: orders rows at random.
        wrong_number, wrong_text: conditions under which a column holds another kind of value; "": its type says it.
        expression_size: columns and values in an expression at most; 0: no limit.
        usual_number: a condition that holds where all of some numbers are there and of usual size, `{}` standing for
            them with commas between, and another `{}` for that size; "": rows are not told apart.
        usual_text: a condition that holds where a text is there and is one.
        own_row: the value of an expression that reads its columns very often, from a row of its own: `{0}` stands for
            the expression, `{1}` for the columns; "": it is read where it stands.
    """

    name: str
    parsed_as: str
    quote: Callable[[str], str]
    number: Callable[[float], str]
    text: Callable[[str], str]
    read_number: Callable[[str, bool], str]
    read_text: Callable[[str], str]
    functions: dict[str, str]
    with_first: bool
    fence: tuple[str, str]
    top: str
    limit: str
    random: str
    text_end: str = ""
    wrong_number: str = ""
    wrong_text: str = ""
    expression_size: int = 0
    usual_number: str = ""
    usual_text: str = ""
    own_row: str = ""

    def render(self, sql: Sql) -> str:
        """The text of an expression."""
        words: list[str] = []
        for part in sql.parts:
            if isinstance(part, str):
                words.append(part)
            elif isinstance(part, Name):
                words.append(part.text)
            elif isinstance(part, Text):
                words.append(self.text(part.value + self.text_end))
            elif isinstance(part, Function):
                words.append(self.functions.get(part.name, part.name.upper()))
            else:
                words.append(self.number(float(part)))
        return "".join(words)

    def quote_table(self, names: Sequence[str]) -> str:
        """A table: database, schema and table, or fewer of them from the right."""
        return ".".join(map(self.quote, names))


def find_dialect(name: str) -> Dialect:
    """A dialect by its name in SQLAlchemy or sqlglot: sqlite, postgresql or postgres, duckdb, mssql or tsql.

    Raises:
        CannotCompile: there is no SQL for such a database.
    """
    found = _DIALECTS.get(_ALIASES.get(name, name))
    if found is None:
        raise CannotCompile(f"a model for {name}", "the database", f"one of {', '.join(_DIALECTS)}")
    return found


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quote_brackets(name: str) -> str:
    return "[" + name.replace("]", "]]") + "]"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _text_tsql(value: str) -> str:
    return "N" + _text(value)


def _exponent(value: float) -> str:
    """Always with an exponent: without one, T-SQL and DuckDB would take it for a decimal, SQLite a whole number."""
    text = repr(value)
    return text if "e" in text else f"{text}e0"


def _number_sqlite(value: float) -> str:
    # SQLite reads the shortest digits of about one number in 5,000 as the number next to it; all 17 it reads right.
    text = repr(value)
    digits = len(text.partition("e")[0].strip("-0.").replace(".", ""))
    return _exponent(value) if digits <= _DECIMAL_DIGITS else format(value, ".16e")


def _number_postgresql(value: float) -> str:
    # Without the cast it is a numeric, and so is everything computed with it: far slower, and not rounded.
    return f"{_exponent(value)}::FLOAT8"


def _number_tsql(value: float) -> str:
    # SQL Server's floats have no subnormal numbers. What is next below keeps every comparison as it was.
    if 0 < abs(value) < _SMALLEST_NORMAL:
        value = 0.0 if value > 0 else -_SMALLEST_NORMAL
    return _exponent(value).upper()


def _finite(read: str) -> str:
    # Infinity less itself is NaN: never 0.
    return f"CASE WHEN {read} - {read} = 0 THEN {read} END"


def _number_of_postgresql(column: str, boolean: bool) -> str:
    return _finite(f"CAST({f'CAST({column} AS INT)' if boolean else column} AS DOUBLE PRECISION)")


_SQLITE = Dialect(
    name="sqlite",
    parsed_as="sqlite",
    quote=_quote,
    number=_number_sqlite,
    text=_text,
    # Infinity times 0 is NaN, which is NULL here.
    read_number=lambda column, boolean: f"CASE WHEN {column} * 0e0 = 0 THEN CAST({column} AS REAL) END",
    # What is put together has no collation of its own.
    read_text=lambda column: f"CAST({column} AS TEXT) || ''",
    functions={},
    with_first=True,
    fence=("", "LIMIT -1 OFFSET 0"),
    top="",
    limit="LIMIT {} OFFSET 0",
    random="RANDOM()",
    # Texts and blobs are larger than every number, in a comparison with a text too.
    wrong_number="{} >= ''",
    wrong_text="TYPEOF({}) IN ('integer', 'real', 'blob')",
    # With one argument they would be aggregates. NULL comes out where one is; texts are larger than numbers.
    usual_number="MIN({0}, 0) >= -{1} AND MAX({0}, 0) <= {1}",
    usual_text="TYPEOF({}) = 'text'",
    # A column of a query is copied whenever it is read; one beside an aggregate is not.
    own_row="(SELECT CASE WHEN COUNT(*) = 1 THEN {0} END FROM (SELECT {1}))",
)
_POSTGRESQL = Dialect(
    name="postgresql",
    parsed_as="postgres",
    quote=_quote,
    number=_number_postgresql,
    text=_text,
    read_number=_number_of_postgresql,
    read_text=lambda column: f'CAST({column} AS TEXT) COLLATE "C"',
    functions={},
    with_first=True,
    fence=("", "OFFSET '0'"),
    top="",
    limit="LIMIT {} OFFSET 0",
    random="RANDOM()",
)
_DUCKDB = Dialect(
    name="duckdb",
    parsed_as="duckdb",
    quote=_quote,
    number=_exponent,
    text=_text,
    read_number=lambda column, boolean: _finite(f"CAST({column} AS DOUBLE)"),
    read_text=lambda column: f"CAST({column} AS TEXT)",
    functions={},
    with_first=True,
    fence=("", ""),
    top="",
    limit="LIMIT {}",
    random="RANDOM()",
)
_TSQL = Dialect(
    name="mssql",
    parsed_as="tsql",
    quote=_quote_brackets,
    number=_number_tsql,
    text=_text_tsql,
    read_number=lambda column, boolean: f"CAST({column} AS FLOAT)",
    read_text=lambda column: f"CAST({column} AS NVARCHAR(4000)) COLLATE Latin1_General_100_BIN2 + N'|'",
    # Blanks at the end of a text do not count in a comparison, unless something else ends it.
    text_end="|",
    functions={"ln": "LOG"},
    with_first=False,
    # OFFSET is only for ordered queries here.
    fence=("TOP (9223372036854775807) ", ""),
    top="TOP ({}) ",
    limit="",
    random="NEWID()",
    expression_size=65_000,
)
_DIALECTS = {dialect.name: dialect for dialect in (_SQLITE, _POSTGRESQL, _DUCKDB, _TSQL)}
