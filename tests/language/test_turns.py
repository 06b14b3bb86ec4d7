"""One run at a time has a table; whoever is not heard of any more has lost it, and does nothing further."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from sqlalchemy.exc import OperationalError

from resources import language_turns
from resources.control import ControlDatabase
from resources.language_turns import TurnLost, TurnTaken, hold_turn
from tests.language.conftest import Scorer, Service, Shop

SHORT = timedelta(seconds=0.6)


def test_a_turn_is_renewed_for_as_long_as_it_is_held(control: ControlDatabase) -> None:
    with hold_turn(control.engine, "shop.main.T", "first", SHORT) as turn:
        time.sleep(2 * SHORT.total_seconds())
        turn.check()
        with (
            pytest.raises(TurnTaken, match="is being scored by run first"),
            hold_turn(control.engine, "shop.main.T", "second", SHORT),
        ):
            pass
        with hold_turn(control.engine, "shop.main.Other", "second", SHORT):
            turn.check()
    with hold_turn(control.engine, "shop.main.T", "second", SHORT) as later:
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
            time.sleep(1)
        return page

    monkeypatch.setattr(runs, "score_page", slow)
    with pytest.raises(TurnLost):
        sqlite_scorer.score(lease=SHORT)
    assert [row.scored for row in sqlite_shop.read(table)] == [1] * 10 + [0] * 10
    assert len(sqlite_scorer.pages()) == 1
