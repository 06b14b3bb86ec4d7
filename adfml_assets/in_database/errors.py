"""Why a model cannot be scored inside a database: said before any row is written."""

from __future__ import annotations

from collections.abc import Hashable

from adfml_assets.errors import AdfmlError

OTHER_WAYS = (
    "T-SQL PREDICT or sp_execute_external_script on SQL Server and Managed Instance, or an engine outside the database"
)
"""What can score a model that has no SQL."""


class CannotCompile(AdfmlError):
    """A model, or a step of it, has no SQL that would give the same scores.

    Attributes:
        what: the class or setting that has none.
        where: the step it is in, such as `pipeline > scale`.
        use: what to use instead.
    """

    def __init__(self, what: str, where: str, use: str = OTHER_WAYS) -> None:
        self.what = what
        self.where = where
        self.use = use
        super().__init__(f"{where}: {what} cannot be compiled to SQL. Use {use}.")


class ScoresDiffer(AdfmlError):
    """The compiled SQL and the Python model do not give a row the same score. No row was written.

    Attributes:
        key: the row's key; None for a row that was made up.
        python, sql: both scores; None where there is none.
        values: the row's features.
        differing, compared: how many rows of the sample differ, and how many there were.
    """

    def __init__(
        self,
        key: Hashable,
        python: float | None,
        sql: float | None,
        values: dict[str, object],
        differing: int,
        compared: int,
    ) -> None:
        self.key = key
        self.python = python
        self.sql = sql
        self.values = values
        self.differing = differing
        self.compared = compared
        row = f"the row with key {key!r}" if key is not None else "a made-up row"
        listed = ", ".join(f"{name}={value!r}" for name, value in values.items())
        super().__init__(
            f"The model's SQL gives {row} the score {_show(sql)}, the model itself {_show(python)} (features: "
            f"{listed}); {differing} of {compared} rows differ. Nothing was written. Check that the table's columns "
            f"have the types of the training data; if they have, score with {OTHER_WAYS}."
        )


class SqlRefused(AdfmlError):
    """A database does not run the SQL of a model."""

    def __init__(self, dialect: str, reason: str) -> None:
        self.dialect = dialect
        self.reason = reason
        super().__init__(
            f"{dialect} does not run the model's SQL ({reason}). Check the table, the columns it reads and the "
            "condition from_query.where; SQLite needs its math functions (SQLITE_ENABLE_MATH_FUNCTIONS). Else score "
            f"with {OTHER_WAYS}."
        )


def _show(score: float | None) -> str:
    return "none (the row cannot be scored)" if score is None else repr(score)
