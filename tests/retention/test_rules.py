"""Which partitions go: by days, the newest, the first of a month; and bad rules are told with what is right."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adfml_assets.retention.plan import list_old_days
from adfml_assets.retention.rules import PartitionRule, RulesInvalid, read_rules
from adfml_assets.retention.series import Series, split_folder
from demo.home import PROJECT
from tests.retention.conftest import Site, days_ago

TODAY = date(2026, 6, 30)
DAYS = st.sets(st.dates(date(2025, 1, 1), TODAY), max_size=60).map(lambda days: sorted(map(str, days)))


def series(days: list[str]) -> Series:
    return Series("a", "archive/s/m/a", {day: f"archive/s/m/a/snapshot_date={day}" for day in days})


@given(DAYS, st.integers(1, 400), st.integers(1, 10), st.booleans())
def test_what_a_rule_keeps_is_never_among_what_goes(days: list[str], keep: int, newest: int, monthly: bool) -> None:
    rule = PartitionRule(assets="*", keep_days=keep, keep_newest=newest, keep_first_of_month=monthly)
    old = list_old_days(series(days), rule, TODAY)
    assert set(old) <= set(days)
    assert not set(old) & set(days[-newest:])
    assert all((TODAY - date.fromisoformat(day)).days >= keep for day in old)
    left = [day for day in days if day not in old]
    if monthly:
        assert {day[:7] for day in left} == {day[:7] for day in days}
    for day in set(left) - set(days[-newest:]):
        first_of_month = min(found for found in days if found[:7] == day[:7])
        assert (TODAY - date.fromisoformat(day)).days < keep or (monthly and day == first_of_month)


def test_thirty_days_are_today_and_the_twenty_nine_before(site: Site) -> None:
    site.scores(*days_ago(0, 1, 29, 30, 31))
    assert site.going(keep_days=30) == days_ago(31, 30)


def test_the_first_rule_that_fits_holds_and_without_one_all_is_kept(site: Site) -> None:
    site.scores(*days_ago(0, 100))
    site.features(*days_ago(0, 100))
    plans = site.plan({"assets": "ml/scores/*", "keep_days": 500}, {"assets": "ml/*", "keep_days": 5})
    assert [(each.asset, each.found, each.going) for each in plans] == [("ml/scores/sales", 2, [])]


def test_versions_and_what_is_no_partition_are_never_listed(site: Site) -> None:
    site.put("ml/models/sales", "ml/models/sales/version=1", "1")
    site.put("ml/training_data/sales", "ml/training-data/sales/version=2026-01-01", "2026-01-01")
    site.lake.write_bytes("ml/batch-output/sales/2026-01-01/x.parquet", b"")
    assert site.plan({"assets": "*", "keep_days": 1}) == []


@pytest.mark.parametrize(
    ("folder", "found"),
    [
        ("archive/s/m/t/snapshot_date=2026-01-02", ("archive/s/m/t", "2026-01-02")),
        ("ml/scores/x/2026/01/02", ("ml/scores/x", "2026-01-02")),
        ("ml/models/x/version=2026-01-02", None),
        ("feature-store/x/_jobs/2026-01-02", None),
        ("ml/text-requests/x/2026/01/02/answers", None),
    ],
)
def test_a_folder_is_a_days_or_none(folder: str, found: tuple[str, str] | None) -> None:
    assert split_folder(folder) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "partitions: [{assets: a, keep_days: 0}]",
            "partitions.0.keep_days: Input should be greater than or equal to 1",
        ),
        ("partitions: [{assets: a, keepdays: 3}]", "partitions.0.keepdays: Extra inputs are not permitted"),
        ("partition: []", "partition: Extra inputs are not permitted"),
        ("- a", "the file: Input should be a valid dictionary"),
        ("a: [", "it is no YAML"),
    ],
)
def test_a_wrong_file_is_told_with_the_place(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "retention.yaml"
    file.write_text(text)
    with pytest.raises(RulesInvalid) as caught:
        read_rules(file)
    assert f"{file}: {said}" in str(caught.value)


def test_a_missing_file_says_where_one_is_to_begin_with(tmp_path: Path) -> None:
    with pytest.raises(RulesInvalid, match=r"does not exist; deploy/retention\.yaml is one to begin with"):
        read_rules(tmp_path / "none.yaml")
    assert read_rules(PROJECT / "deploy/retention.yaml").ledger is not None
