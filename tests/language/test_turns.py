"""One run at a time has a table; whoever is not heard of any more has lost it, and does nothing further."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from resources import language_turns
from resources.control import ControlDatabase, utc_now
from resources.language_turns import TurnLost, TurnTaken, hold_turn
from tests.language.conftest import Scorer, Service, Shop

SHORT = timedelta(seconds=0.6)
HELD = timedelta(seconds=2)
"""Of a turn that must not be lost however busy the machine is: it is renewed six times as often."""


def wait_for(done: Callable[[], bool]) -> None:
    stop_at = time.monotonic() + 60
    while not done():
        assert time.monotonic() < stop_at
        time.sleep(0.02)


def read_renewal(control: ControlDatabase, name: str) -> datetime:
    """When the turn at a table was renewed last."""
    columns = language_turns.table.c
    with control.engine.connect() as connection:
        found: datetime = connection.execute(sa.select(columns.claimed_at).where(columns.asset == name)).scalar_one()
    return found


def test_a_turn_is_renewed_for_as_long_as_it_is_held(control: ControlDatabase) -> None:
    with hold_turn(control.engine, "shop.main.T", "first", HELD) as turn:
        began = utc_now()
        wait_for(lambda: read_renewal(control, "shop.main.T") > began + HELD)
        turn.check()
        with (
            pytest.raises(TurnTaken, match="is being scored by run first"),
            hold_turn(control.engine, "shop.main.T", "second", HELD),
        ):
            pass
        with hold_turn(control.engine, "shop.main.Other", "second", HELD):
            turn.check()
    with hold_turn(control.engine, "shop.main.T", "second", HELD) as later:
        assert later.stamp > turn.stamp


def test_a_turn_that_cannot_be_renewed_is_lost_before_another_run_can_have_it(
    control: ControlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = language_turns._set

    def broken(*args: object, ended: bool) -> bool:
        raise OperationalError("UPDATE", {}, Exception("the control database is gone"))

    with hold_turn(control.engine, "shop.main.T", "first", SHORT) as turn:
        monkeypatch.setattr(language_turns, "_set", broken)
        with hold_turn(control.engine, "shop.main.T", "second", SHORT):
            with pytest.raises(TurnLost, match=r"Run first lost its turn at shop\.main\.T"):
                turn.check()
            monkeypatch.setattr(language_turns, "_set", original)


def test_a_run_that_lost_its_turn_writes_nothing_more(
    sqlite_scorer: Scorer, sqlite_shop: Shop, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    import adfml_assets.text.language_run as runs

    table = sqlite_shop.feedback(["I love it"] * 20)
    original = runs.score_page

    def slow(*args: object) -> object:
        # Held up in the middle of its second page, while its turn passes to another run.
        page = original(*args)  # type: ignore[arg-type]  # passed on as they came
        if len(service.documents()) == 20:
            name = sqlite_scorer.plan().rows.name
            engine = sqlite_scorer.control.engine
            update = language_turns.table.update().where(language_turns.table.c.asset == name)
            with engine.begin() as connection:
                connection.execute(update.values(number=language_turns.table.c.number + 1, run_id="other"))
            # Its keeper ends when it finds that out.
            wait_for(lambda: all(thread.name != "turn" for thread in threading.enumerate()))
        return page

    monkeypatch.setattr(runs, "score_page", slow)
    with pytest.raises(TurnLost):
        sqlite_scorer.score()
    assert [row.scored for row in sqlite_shop.read(table)] == [1] * 10 + [0] * 10
    assert len(sqlite_scorer.pages()) == 1
