"""The comparison of a model's SQL with the model itself, on rows of the table or on made-up ones."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adfml_assets.in_database.compile import CompiledModel
from adfml_assets.in_database.errors import ScoresDiffer, SqlRefused
from adfml_assets.in_database.made_up_rows import make_up_rows, write_rows
from adfml_assets.in_database.query import to_sql

if TYPE_CHECKING:
    import pandas as pd

RELATIVE = 1e-6
"""How far two scores may be apart unless told, as a share of the Python model's."""

ABSOLUTE = 1e-9
"""How far two scores near 0 may be apart."""

_KEY = "key"


@dataclass(frozen=True)
class Verified:
    """What a comparison found.

    Attributes:
        compared: rows.
        without_score: rows that neither the SQL nor the model scores.
        largest_difference: between two scores of a row, as a share of the model's; 0 where both are next to 0.
    """

    compared: int
    without_score: int
    largest_difference: float


def verify_compiled(
    estimator: Any,
    compiled: CompiledModel,
    connection: Any,
    dialect: str,
    source: str,
    *,
    keys: Sequence[str],
    where: str | None = None,
    booleans: Collection[str] = (),
    sample_rows: int = 1_000,
    tolerance: float = RELATIVE,
) -> Verified:
    """Compare the scores of a random sample of a table's rows. These rows are all that leaves the database.

    Args:
        estimator: the model that was compiled.
        connection: of SQLAlchemy, or one whose `execute(sql)` gives a cursor (sqlite3, psycopg, DuckDB).
        dialect, source, where, booleans: as for `to_sql`, so that the SQL that is compared is the SQL that will run.
        keys: columns that name a row in an error.
        sample_rows: at most so many rows.
        tolerance: how far two scores may be apart, as a share of the model's.

    Raises:
        ScoresDiffer: a row's scores are farther apart than that (or 1e-9), or only one of both exists.
        SqlRefused: the database does not run the SQL.
    """
    sql = to_sql(
        compiled,
        dialect,
        source,
        keep=[*keys, *compiled.features],
        where=where,
        booleans=booleans,
        sample=sample_rows,
    )
    rows = fetch_rows(connection, dialect, sql)
    width = len(keys)
    named = [row[0] if width == 1 else tuple(row[:width]) for row in rows]
    values, scores = [row[width:-1] for row in rows], [row[-1] for row in rows]
    return _compare(estimator, compiled, named, values, scores, tolerance)


def verify_made_up(
    estimator: Any,
    compiled: CompiledModel,
    connection: Any,
    dialect: str,
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    rows: int = 500,
    seed: int = 0,
    tolerance: float = RELATIVE,
) -> Verified:
    """Compare the scores of made-up rows, for data of which not one row may leave the database.

    The values lie in the ranges, on the model's own thresholds and next to them, and are missing at times.

    Args:
        estimator, connection, dialect, tolerance: as for `verify_compiled`.
        ranges: feature -> its smallest and largest value in training.

    Raises:
        ScoresDiffer, SqlRefused: as `verify_compiled`.
    """
    values = make_up_rows(compiled, ranges or {}, rows, seed)
    source = write_rows(dialect, [_KEY, *compiled.features], [(number, *row) for number, row in enumerate(values)])
    found = fetch_rows(connection, dialect, to_sql(compiled, dialect, source, keep=[_KEY]))
    by_key = {int(key): score for key, score in found}
    scores = [by_key.get(number) for number in range(rows)]
    return _compare(estimator, compiled, [None] * rows, values, scores, tolerance)


def fetch_rows(connection: Any, dialect: str, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query without parameters: a % in it is a %.

    Raises:
        SqlRefused: the database does not run it.
    """
    import sqlalchemy as sa

    try:
        if isinstance(connection, sa.Connection):
            result = connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
        else:
            result = connection.execute(sql)
        return [tuple(row) for row in result.fetchall()]
    except Exception as error:  # drivers have no common base
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        raise SqlRefused(dialect, reason[:300]) from error


def build_frame(compiled: CompiledModel, rows: Sequence[Sequence[Any]]) -> pd.DataFrame:
    """Rows as a model takes them: numbers as float64 (NULL, infinity and texts as NaN); everything else as it is."""
    import numpy as np
    import pandas as pd

    columns: dict[str, Any] = {}
    numbers = set(compiled.numbers.values())
    for position, name in enumerate(compiled.features):
        values = [row[position] for row in rows]
        if position in numbers:
            none = (str, bytes, type(None))
            floats = np.array([math.nan if isinstance(one, none) else float(one) for one in values], dtype=np.float64)
            columns[name] = np.where(np.isinf(floats), np.nan, floats)
        else:  # a text, or what the model drops
            marker = compiled.text_features.get(name)
            columns[name] = pd.Series([marker if value is None else value for value in values], dtype=object)
    return pd.DataFrame(columns)


def score_in_python(estimator: Any, compiled: CompiledModel, frame: pd.DataFrame) -> list[float | None]:
    """The model's own scores; None for a row it refuses, or gives no finite score."""
    import numpy as np

    named = hasattr(estimator, "feature_names_in_")

    def score(part: pd.DataFrame) -> list[float | None]:
        rows = part if named else part.to_numpy()
        try:
            if compiled.chosen is None:
                scores = np.asarray(estimator.predict(rows), dtype=np.float64).ravel()
            else:
                scores = np.asarray(estimator.predict_proba(rows), dtype=np.float64)[:, compiled.chosen]
        except ValueError:
            # It refuses all rows for the sake of one.
            if len(part) == 1:
                return [None]
            middle = len(part) // 2
            return score(part.iloc[:middle]) + score(part.iloc[middle:])
        return [float(one) if np.isfinite(one) else None for one in scores]

    if frame.empty:
        return []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return score(frame)


def _compare(
    estimator: Any,
    compiled: CompiledModel,
    keys: Sequence[Any],
    rows: Sequence[Sequence[Any]],
    scores: Sequence[float | None],
    tolerance: float,
) -> Verified:
    own = score_in_python(estimator, compiled, build_frame(compiled, rows))
    # SQLite keeps a text in a column of numbers. Python may make a number of it; a row that has one gets no score.
    numbers = sorted(set(compiled.numbers.values()))
    own = [
        None if any(isinstance(row[at], str | bytes) for at in numbers) else score
        for row, score in zip(rows, own, strict=True)
    ]
    both = enumerate(zip(own, scores, strict=True))
    differing = [position for position, (python, sql) in both if _differ(python, sql, tolerance)]
    if differing:
        first = differing[0]
        values = dict(zip(compiled.features, rows[first], strict=True))
        raise ScoresDiffer(keys[first], own[first], scores[first], values, len(differing), len(rows))
    pairs = [(python, sql) for python, sql in zip(own, scores, strict=True) if python is not None and sql is not None]
    apart = [abs(python - sql) / abs(python) for python, sql in pairs if abs(python - sql) > ABSOLUTE]
    return Verified(len(rows), len(rows) - len(pairs), max(apart, default=0.0))


def _differ(python: float | None, sql: float | None, tolerance: float) -> bool:
    if python is None or sql is None:
        return python is not sql
    return not abs(python - sql) <= max(ABSOLUTE, tolerance * abs(python))
