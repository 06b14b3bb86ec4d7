"""Promotions, rollbacks and verdicts at the same time end as if one had come after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from resources.control import ControlDatabase
from resources.model_registry import AliasChange, ModelRegistry, NotPassed
from tests.models.conftest import MODEL, add_passed, promote_each


def run_at_once(*actions: Callable[[ModelRegistry], object]) -> list[object]:
    """Each action in a thread with connections of its own; what it returned or raised."""
    barrier = threading.Barrier(len(actions))

    def run(action: Callable[[ModelRegistry], object]) -> object:
        models = ControlDatabase().models
        barrier.wait(10)
        try:
            return action(models)
        except NotPassed as error:
            return error

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(run, actions))


def require_chain(changes: list[AliasChange], alias: str) -> list[str | None]:
    """Every change begins where the one before ended. Returns where they ended."""
    mine = [change for change in changes if change.alias == alias]
    assert [change.previous for change in mine] == [None, *(change.version for change in mine[:-1])]
    return [change.version for change in mine]


@pytest.mark.parametrize("attempt", range(2))
def test_two_promotions_end_in_one_of_the_two_orders(models: ModelRegistry, attempt: int) -> None:
    add_passed(models, "1", "2", "3")
    run_at_once(
        lambda m: m.promote(MODEL, "2", "a", "a", force=True), lambda m: m.promote(MODEL, "3", "b", "b", force=True)
    )
    champions = require_chain(models.list_changes(MODEL), "champion")
    assert sorted(map(str, champions)) == ["2", "3"]
    assert models.aliases(MODEL)["champion"] == champions[-1]


def test_of_two_that_were_compared_with_the_same_champion_one_is_promoted(models: ModelRegistry) -> None:
    promote_each(models, "1")
    add_passed(models, "2", "3", compared_to="1")
    results = run_at_once(lambda m: m.promote(MODEL, "2", "a", "a"), lambda m: m.promote(MODEL, "3", "b", "b"))
    refused = [result for result in results if isinstance(result, NotPassed)]
    assert len(refused) == 1
    champion = models.aliases(MODEL)["champion"]
    assert f"version {champion} is champion now" in str(refused[0])
    assert require_chain(models.list_changes(MODEL), "champion") == ["1", champion]


def test_everything_at_once_leaves_one_history(models: ModelRegistry) -> None:
    promote_each(models, "1", "2", "3", "4")
    add_passed(models, "5", compared_to="4")
    run_at_once(
        lambda m: m.promote(MODEL, "5", "a", "a", force=True),
        lambda m: m.rollback(MODEL, "b", "b"),
        lambda m: m.rollback(MODEL, "c", "c"),
        lambda m: m.promote(MODEL, "5", "d", "d", force=True),
        lambda m: m.judge(MODEL, "5", "passed", "again", "4"),
    )
    changes = models.list_changes(MODEL)
    champions = require_chain(changes, "champion")
    assert len(champions) in (7, 8)
    assert models.aliases(MODEL)["champion"] == champions[-1]
    require_chain(changes, "challenger")
