"""T-SQL that no server here can run: read from the shipped files, its dynamic statements put together, and parsed.

The parser does not know PREDICT, THROW and INSERT ... EXECUTE. Each of them is looked at by itself, and then replaced
by a statement of the same place in the grammar.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import sqlglot
from sqlglot import exp

T = TypeVar("T", bound=exp.Expression)

FOLDER = Path(__file__).resolve().parents[2] / "resources" / "sql"
_THROW = re.compile(r"THROW \d{5}, (?:@Message|N'(?:[^']|'')*'), 1;")
_PREDICT = re.compile(
    r"PREDICT\(MODEL = (?P<model>@\w+), DATA = (?P<data>(?:\[(?:[^\]]|\]\])*\]|[\w.])+) AS d"
    r"(?P<runtime>, RUNTIME = ONNX)?\)\s+WITH \((?P<prediction>\[(?:[^\]]|\]\])*\]) float\) AS p"
)
_INSERT_EXECUTE = re.compile(
    r"INSERT INTO (?P<table>\S+) \((?P<columns>[^)]*)\)\s+EXECUTE (?P<call>.*?);\n\n", re.DOTALL
)
_PART = re.compile(r"\s*(?:N'((?:[^']|'')*)'|QUOTENAME\(@(\w+)\)|@(\w+))\s*")


def read_batches(file: str) -> list[str]:
    """The file's batches, split at its GO lines."""
    return re.split(r"(?m)^GO$", (FOLDER / file).read_text())


def find_batch(file: str, start: str) -> str:
    """The one batch that has a line beginning with `start`."""
    (found,) = [batch for batch in read_batches(file) if re.search(rf"(?m)^{re.escape(start)}", batch)]
    return found


def build_dynamic(procedure: str, variable: str, values: Mapping[str, str]) -> str:
    """The statement that `SET @variable = N'...' + ...;` puts together, for values of the variables in it.

    Args:
        values: variable -> value, without @.
    """
    (text,) = re.findall(rf"(?ms)^    SET @{variable} = ((?:N'(?:[^']|'')*'|[^';])*);", procedure)
    parts, position = [], 0
    while position < len(text):
        found = _PART.match(text, position)
        assert found is not None, text[position : position + 80]
        literal, quoted, plain = found.groups()
        if literal is not None:
            parts.append(literal.replace("''", "'"))
        else:
            parts.append("[" + values[quoted].replace("]", "]]") + "]" if quoted else values[plain])
        position = found.end()
        if position < len(text):
            assert text[position] == "+", text[position:]
            position += 1
    return "".join(parts)


def parse(text: str) -> list[exp.Expression]:
    """The statements, after what the parser does not know was replaced."""
    text = _PREDICT.sub("adfml_data AS d CROSS JOIN adfml_predicted AS p", text)
    text = _INSERT_EXECUTE.sub("SELECT 1;\n\n", f"{text}\n\n")
    return [tree for tree in sqlglot.parse(_THROW.sub("SELECT 51000;", text), read="tsql") if tree is not None]


def find_one(text: str, kind: type[T]) -> T:
    """The one statement of a kind. The parser takes what follows an IF for a part of it."""
    (found,) = [node for tree in parse(text) for node in tree.find_all(kind) if not node.find_ancestor(exp.Merge)]
    return found


def find_predict(text: str) -> dict[str, str]:
    """The one PREDICT of a statement: model, data, runtime, prediction; as they are written."""
    (found,) = _PREDICT.finditer(text)
    return {name: value or "" for name, value in found.groupdict().items()}


def find_insert_execute(text: str) -> dict[str, str]:
    """The one INSERT ... EXECUTE of a batch: table, columns, call."""
    (found,) = _INSERT_EXECUTE.finditer(text + "\n\n")
    return found.groupdict()


def list_errors(text: str) -> dict[int, int]:
    """Error number -> how often it is thrown."""
    numbers = [int(number) for number in re.findall(r"THROW (\d{5})", text)]
    return {number: numbers.count(number) for number in numbers}
