"""A run that is killed within its transaction leaves nothing, and the next one scores all of it."""

from __future__ import annotations

import signal

import pytest

from tests.in_database.killed import run_killed
from tests.in_database.scored import open_place, predict, put_version, train
from tests.kills import repeat_kills

_ROWS = [(number, number / 7, number % 50) for number in range(500)]
_MOMENTS = (0, 8, 2, 5, 9, 1, 3, 4, 6, 7)
"""0 is the commit, the others come after so many statements on the staged rows."""


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgresql"])
@repeat_kills(2)
def test_a_killed_run_leaves_nothing_and_the_next_one_all(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str, kill: int
) -> None:
    statements = _MOMENTS[kill % len(_MOMENTS)]
    with open_place(kind, request, monkeypatch) as place:
        place.make_table()
        put_version(place.lake, place.control, train())
        place.add(*_ROWS)
        assert run_killed(kind, statements) == -signal.SIGKILL
        assert place.count_scores() == 0
        assert set(place.read_dates().values()) == {None}
        written = place.score().done.written
        assert (written.inserted, written.marked) == (500, 500)
        assert place.read_scores() == pytest.approx(predict(_ROWS), rel=1e-12)
        assert None not in place.read_dates().values()
