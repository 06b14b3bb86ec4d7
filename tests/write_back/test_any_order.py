"""Whatever is written in whatever order, the table is what a dictionary would be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.write_back.conftest import DAY, TARGET, Place, write

RECORDS = 6
MODELS = ("a", "b")


@dataclass(frozen=True)
class Writing:
    """One partition that is written."""

    day: int
    model: str
    scores: dict[int, float]
    batch_rows: int | None
    overwrite_newer: bool
    repeated: bool

    @property
    def date(self) -> date:
        return DAY + timedelta(days=self.day)


WRITINGS = st.lists(
    st.builds(
        Writing,
        day=st.integers(0, 3),
        model=st.sampled_from(MODELS),
        scores=st.dictionaries(st.integers(0, RECORDS), st.sampled_from([0.0, 0.5, 1.0])),
        batch_rows=st.sampled_from([None, None, 1, 3]),
        overwrite_newer=st.sampled_from([False, False, False, True]),
        repeated=st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writings=WRITINGS)
def test_the_table_is_what_a_dictionary_would_be(place: Place, writings: list[Writing]) -> None:
    place.execute('DROP TABLE IF EXISTS "Predictions"')
    model: dict[tuple[int, str], tuple[float, date]] = {}
    number = count()
    for writing in writings:
        counted = {"inserted": 0, "updated": 0, "unchanged": 0, "kept_newer": 0}
        for record, score in writing.scores.items():
            key, new = (record, writing.model), (score, writing.date)
            there = model.get(key)
            if there is None:
                counted["inserted"] += 1
            elif there[1] > writing.date and not writing.overwrite_newer:
                counted["kept_newer"] += 1
                continue
            else:
                counted["unchanged" if there == new else "updated"] += 1
            model[key] = new
        target = replace(TARGET, batch_rows=writing.batch_rows, overwrite_newer=writing.overwrite_newer)
        for again in range(2 if writing.repeated else 1):
            given_as = {"target": target, "day": writing.date, "model": writing.model, "digest": f"{next(number)}"}
            written = write(place, writing.scores, **given_as)  # type: ignore[arg-type]
            if not again:
                assert {name: getattr(written, name) for name in counted} == counted
            else:
                assert (written.changed, written.kept_newer) == (0, counted["kept_newer"])
            found = {key: (row["Score"], row["SnapshotDate"]) for key, row in place.read().items()}
            assert found == model
