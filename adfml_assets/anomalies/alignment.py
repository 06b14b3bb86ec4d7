"""From a series' readings to complete rows: gaps, missing values, and an even distance where one is declared.

What the service called alignPolicy (alignMode, fillNAMethod, paddingValue), with the same words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from adfml_assets.anomalies.declared import Alignment, Fill, format_duration, format_moment
from adfml_assets.anomalies.errors import DuplicateTimestamps, GapTooLarge, GridTooFine, InfiniteValues, MissingValues

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MOST_POINTS_A_READING = 20


@dataclass(frozen=True)
class Rows:
    """Complete rows of a series.

    Attributes:
        times: microseconds since 1970, UTC, ascending.
        values: a row a time, a column a variable; all finite.
        filled: how many values of each row were filled.
        left_out: rows that stayed incomplete, and so are not there.
    """

    times: NDArray[np.int64]
    values: NDArray[np.float64]
    filled: NDArray[np.int16]
    left_out: int


def align(
    times: NDArray[np.int64], values: NDArray[np.float64], variables: tuple[str, ...], rules: Alignment, where: str
) -> Rows:
    """Complete rows of one series' readings in one window.

    Values are filled from readings of the same window only. Before the first and after the last reading of a variable
    `linear` repeats the nearest; what `previous` and `subsequent` cannot fill there is left out.

    Args:
        times: microseconds, ascending.
        values: a column a variable, NaN where there is none.
        where: the series and window, for messages.

    Raises:
        DuplicateTimestamps, InfiniteValues, MissingValues, GapTooLarge, GridTooFine: see there.
    """
    import numpy as np

    if len(times) == 0:
        return Rows(times, values, np.zeros(0, np.int16), 0)
    _require_distinct(times, where)
    _require_finite(times, values, variables, where)
    if rules.every:
        times, values = _average(times, values, rules.every)
    left_out = 0
    if rules.mode == "inner":
        complete = ~np.isnan(values).any(axis=1)
        left_out = int(len(times) - complete.sum())
        times, values = times[complete], values[complete]
    elif rules.fill == "not_fill":
        _require_complete(times, values, variables, where)
    _require_some(times, values, variables, where)
    if rules.max_gap and rules.gaps == "fail":
        _require_no_gap(times, values, variables, rules.max_gap, where)
    if rules.every and rules.mode == "outer" and rules.fill != "not_fill":
        times, values = _add_rows(times, values, rules, where)
    missing = np.isnan(values)
    if missing.any():
        values = values.copy()
        for column in np.flatnonzero(missing.any(axis=0)):
            values[:, column] = _fill(times, values[:, column], rules)
    complete = ~np.isnan(values).any(axis=1)
    if not complete.all():
        left_out += int(len(times) - complete.sum())
        times, values, missing = times[complete], values[complete], missing[complete]
    return Rows(times, values, missing.sum(axis=1).astype(np.int16), left_out)


def _require_distinct(times: NDArray[np.int64], where: str) -> None:
    import numpy as np

    repeated = np.flatnonzero(times[1:] == times[:-1]) + 1
    if len(repeated):
        raise DuplicateTimestamps(where, len(repeated), [format_moment(int(times[at])) for at in repeated[:3]])


def _require_finite(
    times: NDArray[np.int64], values: NDArray[np.float64], variables: tuple[str, ...], where: str
) -> None:
    import numpy as np

    for column, variable in enumerate(variables):
        infinite = np.flatnonzero(np.isinf(values[:, column]))
        if len(infinite):
            raise InfiniteValues(where, variable, len(infinite), format_moment(int(times[infinite[0]])))


def _require_complete(
    times: NDArray[np.int64], values: NDArray[np.float64], variables: tuple[str, ...], where: str
) -> None:
    import numpy as np

    missing = np.isnan(values)
    if missing.any():
        counts = {name: int(n) for name, n in zip(variables, missing.sum(axis=0), strict=True) if n}
        first = format_moment(int(times[missing.any(axis=1).argmax()]))
        raise MissingValues(where, counts, first, len(times))


def _require_some(
    times: NDArray[np.int64], values: NDArray[np.float64], variables: tuple[str, ...], where: str
) -> None:
    import numpy as np

    missing = np.isnan(values).sum(axis=0)
    counts = {name: int(n) for name, n in zip(variables, missing, strict=True) if n == len(times)}
    if counts and len(times):
        raise MissingValues(where, counts, format_moment(int(times[0])), len(times))


def _average(
    times: NDArray[np.int64], values: NDArray[np.float64], every: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The mean of each interval that has readings; an interval has the time of its beginning."""
    import numpy as np

    bins = times // every * every
    starts = np.flatnonzero(np.concatenate([[True], bins[1:] != bins[:-1]]))
    if len(starts) == len(times):
        return bins, values
    counts = np.add.reduceat(~np.isnan(values), starts, axis=0, dtype=np.int64)
    sums = np.add.reduceat(np.nan_to_num(values), starts, axis=0)
    means = np.full(sums.shape, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return bins[starts], means


def _require_no_gap(
    times: NDArray[np.int64], values: NDArray[np.float64], variables: tuple[str, ...], allowed: int, where: str
) -> None:
    import numpy as np

    for column, variable in enumerate(variables):
        read = times[~np.isnan(values[:, column])]
        # The first and last time of the others count: a variable that falls silent has a gap.
        read = np.concatenate([times[:1], read, times[-1:]])
        lengths = np.diff(read)
        worst = int(lengths.argmax())
        if lengths[worst] > allowed:
            begin, end = int(read[worst]), int(read[worst + 1])
            raise GapTooLarge(
                where,
                variable,
                format_moment(begin),
                format_moment(end),
                format_duration(end - begin),
                format_duration(allowed),
                int((lengths > allowed).sum()),
            )


def _add_rows(
    times: NDArray[np.int64], values: NDArray[np.float64], rules: Alignment, where: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The rows of the grid that no reading fell into, without values; none inside of gaps that are too long."""
    import numpy as np

    every = rules.every or 1
    steps = np.diff(times)
    steps = np.where(steps > rules.max_gap, every, steps) if rules.max_gap else steps
    missing = steps // every - 1
    total = int(missing.sum()) + len(times)
    if total > _MOST_POINTS_A_READING * len(times):
        raise GridTooFine(where, len(times), total, format_duration(every))
    if total == len(times):
        return times, values
    position = np.concatenate([[0], np.cumsum(missing + 1)])
    grid = np.repeat(np.concatenate([times[:-1], times[-1:]]), np.concatenate([missing + 1, [1]]))
    grid += (np.arange(total) - np.repeat(position, np.concatenate([missing + 1, [1]]))) * every
    filled = np.full((total, values.shape[1]), np.nan)
    filled[position] = values
    return grid, filled


def _fill(times: NDArray[np.int64], column: NDArray[np.float64], rules: Alignment) -> NDArray[np.float64]:
    """One variable with its missing values filled, except inside of gaps that are too long."""
    import numpy as np

    missing = np.isnan(column)
    known = np.flatnonzero(~missing)
    at = np.flatnonzero(missing)
    # The readings before and after each missing value; -1 and len(known) where there is none.
    after = np.searchsorted(known, at)
    before = after - 1
    values = _choose_values(rules.fill, rules.padding_value, times, column, known, at, before, after)
    if rules.max_gap:
        begin = np.where(before >= 0, times[known[np.maximum(before, 0)]], times[0])
        end = np.where(after < len(known), times[known[np.minimum(after, len(known) - 1)]], times[-1])
        values = np.where(end - begin > rules.max_gap, np.nan, values)
    result = column.copy()
    result[at] = values
    return result


def _choose_values(
    fill: Fill,
    padding: float | None,
    times: NDArray[np.int64],
    column: NDArray[np.float64],
    known: NDArray[np.int64],
    at: NDArray[np.int64],
    before: NDArray[np.int64],
    after: NDArray[np.int64],
) -> NDArray[np.float64]:
    import numpy as np

    if fill == "linear":
        # Relative to the first time: microseconds since 1970 have more digits than a double keeps exactly.
        origin = times[0]
        return np.interp((times[at] - origin).astype(float), (times[known] - origin).astype(float), column[known])
    if fill == "previous":
        return np.where(before >= 0, column[known[np.maximum(before, 0)]], np.nan)
    if fill == "subsequent":
        return np.where(after < len(known), column[known[np.minimum(after, len(known) - 1)]], np.nan)
    value = {"zero": 0.0, "fixed": padding}.get(fill)
    return np.full(len(at), np.nan if value is None else value)
