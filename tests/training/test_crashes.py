"""A version's training data is there whole or not at all, wherever a run ends."""

from __future__ import annotations

from typing import Any

import pytest

from adfml_assets.errors import NothingToTrainOn
from adfml_assets.training.choice import Asked
from adfml_assets.training.errors import PeriodInvalid
from resources.lake import Lake
from resources.manifest import read_manifest
from tests.training.conftest import World, day
from tests.training.test_from_features import iso


class Killed(BaseException):
    """The process ends here."""


def count_writes(monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    """Let a process end at its n-th change of the lake."""
    left = iter(range(last))

    def wrap(name: str) -> None:
        real = getattr(Lake, name)

        def change(self: Lake, path: str, *rest: Any, **options: Any) -> Any:
            if path.startswith("ml/") and next(left, None) is None:
                raise Killed
            return real(self, path, *rest, **options)

        monkeypatch.setattr(Lake, name, change)

    for name in ("delete", "write_bytes", "write_parquet"):
        wrap(name)


@pytest.mark.parametrize("moment", range(6))
def test_a_killed_run_leaves_the_old_version_or_none_and_the_next_one_makes_it_whole(
    one_snapshot: World, moment: int
) -> None:
    wanted = one_snapshot.build(Asked(start_date=iso(100)[0]))
    with pytest.MonkeyPatch.context() as patch:
        count_writes(patch, moment)
        with pytest.raises(Killed):
            one_snapshot.build(Asked(start_date=iso(60)[0]))
    standing = read_manifest(one_snapshot.lake, wanted.folder)
    if moment == 0:
        assert standing == wanted.manifest
    else:
        assert standing is None
    one_snapshot.write_events(day(310), 310)
    one_snapshot.write_features(day(310), [day(n) for n in range(40, 311, 10)])
    again = one_snapshot.build()
    assert again.card["snapshot_date"] == iso(300)[0]
    # Once the card of the killed run is there, it says what the version is to be made from.
    assert again.card["start_date"] == (iso(60)[0] if moment >= 2 else iso(100)[0])
    for file in again.manifest.files:
        again.lake.verify_file(f"{again.folder}/{file.name}", file)


def test_a_run_that_is_refused_leaves_the_version_as_it_was(one_snapshot: World) -> None:
    wanted = one_snapshot.build()
    with pytest.raises(PeriodInvalid, match="expected a date up to"):
        one_snapshot.build(Asked(start_date=iso(200)[0], end_date=iso(100)[0]))
    with pytest.raises(NothingToTrainOn, match="the train split has no rows"):
        one_snapshot.build(Asked(start_date=iso(260)[0]))
    assert read_manifest(one_snapshot.lake, wanted.folder) == wanted.manifest
    assert one_snapshot.build().card == wanted.card
