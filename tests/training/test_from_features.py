"""Training data from a feature set: one snapshot with all its dates, or every snapshot with its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adfml_assets.training.choice import Asked
from adfml_assets.training.spec import FeaturesSource, Period
from resources.errors import NotFound
from tests.training.conftest import SET, World, day, write_daily_features


def iso(*numbers: int) -> list[str]:
    return [day(number).isoformat() for number in numbers]


def test_the_newest_snapshot_gives_all_its_dates_with_what_came_after_them(one_snapshot: World) -> None:
    built = one_snapshot.build()
    assert built.folder == "ml/training-data/m/version=1"
    assert built.card["periods"]["test"] == iso(270)
    assert built.card["periods"]["validation"] == iso(240)
    assert built.card["periods"]["train"] == iso(*range(30, 211, 10))
    test = built.read("test")
    assert test.column_names == ["Id", "feature_date", "amount_30d", "spend"]
    assert test["Id"].to_pylist() == [1, 2, 3]
    assert test["spend"].to_pylist() == [sum(range(271, 301))] * 3
    assert built.read("train").num_rows == built.card["rows"]["train"] == 19 * 3


def test_a_row_without_a_label_row_has_the_label_0(one_snapshot: World) -> None:
    one_snapshot.keys = (1, 2, 3, 4)
    one_snapshot.write_features(day(300), [day(n) for n in range(30, 301, 10)])
    test = one_snapshot.build().read("test")
    assert dict(zip(test["Id"].to_pylist(), test["spend"].to_pylist(), strict=True))[4] == 0.0


def test_each_snapshot_gives_the_rows_of_its_own_date_as_they_were_known_then(many_snapshots: World) -> None:
    built = many_snapshots.build()
    assert built.card["periods"]["test"] == iso(270)
    assert built.card["periods"]["train"] == iso(*range(30, 211, 10))
    for split in ("train", "validation", "test"):
        rows = built.read(split)
        known = [(when - day(0)).days for when in rows["feature_date"].to_pylist()]
        # The feature says which snapshot a row is of; later snapshots have rows of the same dates, changed.
        assert rows["amount_30d"].to_pylist() == known
    assert built.card["source"]["snapshot_dates"] == iso(*range(30, 301, 10))
    assert [part["folder"][-10:] for part in built.manifest.source["features"]] == iso(*range(30, 211, 10), 240, 270)


def test_of_several_snapshots_of_one_date_the_oldest_counts(many_snapshots: World) -> None:
    many_snapshots.write_features(day(275), [day(270)], {"amount_30d": lambda key, when: -1.0})
    assert -1.0 not in many_snapshots.build().read("test")["amount_30d"].to_pylist()


def test_start_and_end_choose_the_dates(one_snapshot: World) -> None:
    asked = Asked(start_date=iso(100)[0], end_date=iso(205)[0])
    card = one_snapshot.build(asked).card
    assert (card["start_date"], card["end_date"]) == (iso(100)[0], iso(200)[0])
    one_snapshot.version = "2"
    one_snapshot.source = FeaturesSource(SET, period=Period(day(100), day(205)))
    assert one_snapshot.build().card["periods"] == card["periods"]


def test_a_run_is_heard_before_the_declaration(one_snapshot: World) -> None:
    one_snapshot.source = FeaturesSource(SET, period=Period(day(60), day(205)))
    card = one_snapshot.build(Asked(end_date=iso(180)[0])).card
    assert (card["start_date"], card["end_date"]) == (iso(60)[0], iso(180)[0])


def test_a_version_keeps_its_snapshot_and_a_new_one_takes_the_latest(one_snapshot: World) -> None:
    first = one_snapshot.build()
    one_snapshot.write_events(day(310), 310)
    one_snapshot.write_features(day(310), [day(n) for n in range(40, 311, 10)])
    again = one_snapshot.build()
    assert again.hashes == first.hashes
    assert again.card == first.card
    one_snapshot.version = "2"
    assert one_snapshot.build().card["snapshot_date"] == iso(310)[0]
    one_snapshot.version = "1"
    assert one_snapshot.build(Asked(snapshot_date=iso(310)[0])).card["periods"]["test"] == iso(280)
    with pytest.raises(NotFound, match=r"no snapshot '2026-01-01' in feature set spending. It has: 2025-10-28"):
        one_snapshot.build(Asked(snapshot_date="2026-01-01"))


def test_a_version_of_each_snapshot_keeps_those_it_was_made_from(many_snapshots: World) -> None:
    asked = Asked(end_date=iso(250)[0])
    first = many_snapshots.build(asked)
    write_daily_features(many_snapshots, 215)
    write_daily_features(many_snapshots, 310)
    many_snapshots.write_events(day(310), 310)
    assert many_snapshots.build().hashes == first.hashes
    assert many_snapshots.build().card["asked"] == first.card["asked"]
    told = many_snapshots.build(asked)
    assert iso(215)[0] in told.card["left_out"]["between_splits"]
    assert iso(215)[0] not in first.card["left_out"]["between_splits"]


def test_what_a_version_was_told_before_stays_beside_what_it_is_told_now(one_snapshot: World) -> None:
    one_snapshot.build(Asked(start_date=iso(100)[0]))
    card = one_snapshot.build(Asked(end_date=iso(250)[0])).card
    assert (card["start_date"], card["end_date"]) == (iso(100)[0], iso(250)[0])


def test_several_dates_can_be_held_out(one_snapshot: World) -> None:
    one_snapshot.source = replace(FeaturesSource(SET), validation_dates=2, test_dates=3)
    periods = one_snapshot.build().card["periods"]
    assert periods["test"] == iso(250, 260, 270)
    assert periods["validation"] == iso(210, 220)
    assert periods["train"][-1] == iso(180)[0]


def test_events_are_rows_of_their_days(world: World) -> None:
    world.write_events(day(300), 300)
    world.facts = {"rows": "event", "event_time": "at", "feature_date": None, "feature_dates": []}
    columns = {"at": lambda key, when: when, "amount_30d": lambda key, when: float(key)}
    world.write_features(day(300), [day(n) for n in range(30, 301, 7)], columns, features=["amount_30d"])
    built = world.build()
    assert built.read("test").column_names == ["Id", "feature_date", "amount_30d", "spend"]
    assert built.card["periods"]["test"] == iso(268)
    assert built.read("test")["spend"].to_pylist() == [sum(range(269, 299))] * 3
