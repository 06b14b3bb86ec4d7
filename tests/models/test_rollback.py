"""A rollback goes back to the champion before, however the champions came about."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.control import ControlDatabase
from resources.model_registry import ModelRegistry, NothingToRollBack
from tests.models.conftest import MODEL, promote_each, record


def test_back_to_the_champion_before_and_no_further_than_the_first(models: ModelRegistry) -> None:
    promote_each(models, "1", "2", "3")
    change = models.rollback(MODEL, "alice", "It scores zeros.")
    assert (change.version, change.previous, change.action, change.changed_by) == ("2", "3", "rollback", "alice")
    assert models.aliases(MODEL) == {"champion": "2"}
    assert models.rollback(MODEL, "alice", "also").version == "1"
    with pytest.raises(NothingToRollBack, match="Model sales cannot be rolled back: version 1 is the first champion"):
        models.rollback(MODEL, "alice", "also")
    assert models.aliases(MODEL) == {"champion": "1"}


def test_what_was_rolled_back_is_passed_over(models: ModelRegistry) -> None:
    promote_each(models, "1", "2")
    models.rollback(MODEL, "alice", "bad")
    promote_each(models, "3")
    assert models.rollback(MODEL, "alice", "bad too").version == "1"


def test_an_older_version_promoted_by_hand_is_rolled_back_to_the_newer_one(models: ModelRegistry) -> None:
    promote_each(models, "1", "2")
    models.promote(MODEL, "1", "alice", "2 looks odd", force=True)
    assert models.rollback(MODEL, "alice", "2 was right").version == "2"


def test_without_a_champion_there_is_nothing_to_go_back_to(models: ModelRegistry) -> None:
    with pytest.raises(NothingToRollBack, match="no version is or was champion"):
        models.rollback(MODEL, "alice", "")
    models.register(record("1"))
    with pytest.raises(NothingToRollBack):
        models.rollback(MODEL, "alice", "")


def test_a_champion_that_was_taken_away_comes_back(models: ModelRegistry) -> None:
    promote_each(models, "1")
    models.point(MODEL, "champion", None, "alice", "by mistake")
    assert models.rollback(MODEL, "alice", "that was a mistake").version == "1"


STEPS = st.lists(st.one_of(st.integers(1, 4).map(str), st.just("back")), min_size=1, max_size=10)


@pytest.fixture(scope="module")
def databases() -> list[int]:
    return []


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_any_chain_of_promotions_and_rollbacks(databases: list[int], steps: list[str]) -> None:
    """Promotions pile up, a rollback takes the top one off: the registry agrees with that at every step."""
    models, model = ControlDatabase().models, f"m{len(databases)}"
    databases.append(1)
    for version in "1234":
        models.register(replace(record(version), model=model))
    pile: list[str] = []
    for step in steps:
        if step != "back":
            models.promote(model, step, "x", "x", force=True)
            pile += [step] if pile[-1:] != [step] else []
        elif len(pile) > 1:
            pile.pop()
            assert models.rollback(model, "x", "x").version == pile[-1]
        else:
            with pytest.raises(NothingToRollBack):
                models.rollback(model, "x", "x")
        assert models.aliases(model).get("champion") == (pile[-1] if pile else None)
    changes = [change for change in models.list_changes(model) if change.alias == "champion"]
    assert [c.previous for c in changes[1:]] == [c.version for c in changes[:-1]]
