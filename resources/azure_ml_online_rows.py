"""Rows as an online endpoint takes them, and its answer: one score or one error for every row."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from resources.errors import NotFound, ResourceError

if TYPE_CHECKING:
    import pyarrow as pa

MESSAGE_CHARACTERS = 1000


class NotJson(ResourceError):
    """A row holds a value that JSON has no form for."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"cannot be sent as JSON: {reason}")


class WrongAnswer(ResourceError):
    """An endpoint answered, but not with one score a row."""

    def __init__(self, address: str, expected: str, found: str) -> None:
        self.address = address
        self.expected = expected
        self.found = found
        super().__init__(
            f"The online endpoint at {address} answered {found}; expected {expected}. Let its scoring script return "
            "one number a row, in the order of the rows."
        )


@dataclass(frozen=True)
class Rows:
    """Some rows to be scored: values in the order of `columns`; `first` is the number of the first row, from 0."""

    columns: tuple[str, ...]
    data: Sequence[Sequence[Any]]
    first: int

    def __len__(self) -> int:
        """How many."""
        return len(self.data)

    def cut(self, start: int, stop: int) -> Rows:
        """The rows from `start` to before `stop`."""
        return Rows(self.columns, self.data[start:stop], self.first + start)


@dataclass
class Answers:
    """What came back for rows: for each a score, or the reason why there is none."""

    scores: list[float | None] = field(default_factory=list)
    errors: list[str | None] = field(default_factory=list)
    deployments: set[str] = field(default_factory=set)

    def add_score(self, score: float) -> None:
        """A row has a score."""
        self.scores.append(score)
        self.errors.append(None)

    def add_error(self, message: str) -> None:
        """A row has none."""
        self.scores.append(None)
        self.errors.append(message)

    def extend(self, others: Answers) -> None:
        """Append the answers for the rows that follow."""
        self.scores += others.scores
        self.errors += others.errors
        self.deployments |= others.deployments


@dataclass(frozen=True)
class Scored:
    """The answers for rows, in the rows' order. Exactly one of score and error of a row is not null.

    Attributes:
        scores: float64, in the label's unit; null where the row has an error.
        errors: string; null where the row has a score.
        deployments: the deployments that say they answered (header `azureml-model-deployment`).
    """

    scores: pa.Array
    errors: pa.Array
    deployments: frozenset[str] = frozenset()

    def __len__(self) -> int:
        """How many rows."""
        return len(self.scores)

    def __iter__(self) -> Iterator[tuple[float | None, str | None]]:
        """(score, error) of each row."""
        return iter(zip(self.scores.to_pylist(), self.errors.to_pylist(), strict=True))

    @property
    def failed(self) -> int:
        """How many rows have an error."""
        return len(self.errors) - int(self.errors.null_count)


def collect_scored(answers: Sequence[Answers]) -> Scored:
    """Answers for consecutive rows, as one."""
    import pyarrow as pa

    return Scored(
        scores=pa.array([score for one in answers for score in one.scores], pa.float64()),
        errors=pa.array([error for one in answers for error in one.errors], pa.string()),
        deployments=frozenset(name for one in answers for name in one.deployments),
    )


def choose_columns(
    records: pa.RecordBatch | Sequence[Mapping[str, Any]], columns: Sequence[str] | None
) -> tuple[str, ...]:
    """The columns that are sent, in this order: `columns`, or all that there are.

    Raises:
        NotFound: no record has such a column, or several columns have its name.
    """
    import pyarrow as pa

    if isinstance(records, pa.RecordBatch):
        existing = list(records.schema.names)
    else:
        existing = list(dict.fromkeys(name for record in records for name in record))
    chosen = tuple(existing if columns is None else columns)
    for name in chosen:
        if name not in existing:
            raise NotFound("column", name, "the records to score", existing)
        if chosen.count(name) > 1 or existing.count(name) > 1:
            raise NotFound("single column", name, "the records to score (it is there several times)", existing)
    if not chosen:
        raise NotFound("column", "any", "the records to score", existing)
    return chosen


def take_rows(
    records: pa.RecordBatch | Sequence[Mapping[str, Any]], columns: tuple[str, ...], start: int, stop: int, offset: int
) -> Rows:
    """Rows `start` to before `stop` of a batch, or of a list of records, where what a record lacks is null.

    Args:
        offset: the number of the batch's first row.
    """
    import pyarrow as pa

    if isinstance(records, pa.RecordBatch):
        part = records.slice(start, stop - start)
        values = [part.column(name).to_pylist() for name in columns]
        return Rows(columns, list(zip(*values, strict=True)), offset + start)
    return Rows(columns, [[record.get(name) for name in columns] for record in records[start:stop]], offset + start)


def encode_rows(rows: Rows) -> bytes:
    """The JSON body of a request (Azure ML, "Deploy MLflow models to online endpoints", the split form).

    NaN and infinity become null, times ISO 8601, bytes base64; decimals keep all their digits.

    Raises:
        NotJson: a value has no JSON form.
    """
    import orjson

    index = list(range(rows.first, rows.first + len(rows)))
    split = {"columns": rows.columns, "index": index, "data": rows.data}
    try:
        return orjson.dumps({"input_data": split}, default=_encode_value, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as error:
        raise NotJson(str(error.__cause__ or error)) from None


def _encode_value(value: Any) -> Any:
    import orjson

    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f")) if value.is_finite() else None
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"a value of type {type(value).__name__}")


def split_rows(rows: Rows, max_bytes: int) -> Iterator[tuple[Rows, bytes | NotJson]]:
    """The rows in parts whose bodies have at most `max_bytes`, in order; a row that is larger is a part of its own.

    A row that has no JSON form is a part of its own too, with the reason instead of a body.
    """
    body: bytes | NotJson
    try:
        body = encode_rows(rows)
    except NotJson as error:
        body = error
    if len(rows) == 1 or (isinstance(body, bytes) and len(body) <= max_bytes):
        yield rows, body
        return
    half = (len(rows) + 1) // 2
    fitting = len(rows) * max_bytes // len(body) if isinstance(body, bytes) else half
    size = max(1, min(half, fitting))
    for start in range(0, len(rows), size):
        yield from split_rows(rows.cut(start, start + size), max_bytes)


def parse_answer(content: bytes, rows: int, address: str) -> Answers:
    """The scores in an endpoint's answer. A row whose score is null, not finite or no number has an error instead.

    Raises:
        ValueError: it is no JSON.
        WrongAnswer: it is no list, or has another number of elements than there are rows.
    """
    # Python's json takes the NaN and Infinity that scoring scripts written in Python send.
    found = json.loads(content)
    expected = f"a JSON list of {rows} numbers"
    if not isinstance(found, list):
        raise WrongAnswer(address, expected, f"{type(found).__name__} {content[:200].decode(errors='replace')}")
    if len(found) != rows:
        raise WrongAnswer(address, expected, f"a list of {len(found)}")
    answers = Answers()
    for value in found:
        number = _read_number(value)
        if number is None:
            answers.add_error(f"the model gave no finite number: {json.dumps(value)[:100]}")
        else:
            answers.add_score(number)
    return answers


def _read_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
