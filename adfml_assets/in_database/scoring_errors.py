"""What keeps rows from being scored where they are: said before anything is written, or everything is taken back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adfml_assets.errors import AdfmlError


class ColumnsDiffer(AdfmlError):
    """A table does not have a model's features as its columns.

    Attributes:
        expected, found: the model's features, and the table's columns without its key and dates, each in order.
        reason: what differs, in words.
    """

    def __init__(
        self, model: str, version: str, table: str, expected: Sequence[str], found: Sequence[str], reason: str
    ) -> None:
        self.model = model
        self.version = version
        self.table = table
        self.expected = tuple(expected)
        self.found = tuple(found)
        self.reason = reason
        super().__init__(
            f"Model {model} version {version} cannot score {table} where it is: {reason}\nNothing was written. In the "
            "database features are columns by their names: give the table these columns, name a view that has them in "
            "from_query.table, or score with a version that was trained on this table."
        )


class ScoresMissing(AdfmlError):
    """The model gives rows no score.

    Attributes:
        missing, rows: how many rows have none, and how many there are.
        examples: keys of some of them.
    """

    def __init__(
        self, model: str, version: str, table: str, key: str, missing: int, rows: int, examples: Sequence[Any]
    ) -> None:
        self.model = model
        self.version = version
        self.table = table
        self.key = key
        self.missing = missing
        self.rows = rows
        self.examples = tuple(examples)
        shown = ", ".join(map(repr, self.examples))
        super().__init__(
            f"Model {model} version {version} gives {missing} of {rows} rows of {table} no score, for example those "
            f"with {key} {shown}: a feature is NULL, or no finite number, and the model takes none such. Nothing was "
            "written. Leave these rows out by from_query.where, mend their features, or train a version that takes "
            "missing values."
        )
