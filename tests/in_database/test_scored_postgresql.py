"""What PostgreSQL alone has: its keys' types, parallel queries, inheritance."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest
import sqlalchemy as sa

from adfml_assets.write_back.errors import DuplicateKeys
from tests.conftest import NOW, TODAY
from tests.in_database.scored import Place, open_place, predict, put_version, train


@pytest.fixture
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with open_place("postgresql", request, monkeypatch) as opened:
        put_version(opened.lake, opened.control, train())
        yield opened


@pytest.mark.parametrize(("key", "dated"), [("uuid PRIMARY KEY", "date"), ("varchar(9) UNIQUE", "timestamptz")])
def test_keys_and_dates_of_other_types(place: Place, key: str, dated: str) -> None:
    place.make_table(key, dated)
    keys = [f"00000000-0000-0000-0000-00000000000{n}" if "uuid" in key else f"a {n}" for n in range(3)]
    rows = [(one, 1.0 * n, n) for n, one in enumerate(keys)]
    place.add(*rows)
    assert place.score().done.written.marked == 3
    assert place.read_scores() == pytest.approx(predict(rows), rel=1e-12)
    moments = set(place.read_dates().values())
    assert moments == {date.fromisoformat(TODAY) if dated == "date" else NOW}
    assert place.score().done.written.rows == 0


def test_postgresql_scores_on_all_cores_it_gives_a_query(place: Place) -> None:
    place.make_table()
    place.add(*((number, number / 7, number % 90) for number in range(2000)))
    name, steps = place.engine.url.database, ["min_parallel_table_scan_size", "parallel_setup_cost"]
    settings = [f'ALTER DATABASE "{name}" SET {step} = 0' for step in (*steps, "parallel_tuple_cost")]
    place.execute(*settings, 'ANALYZE "Waiting"')
    place.engine.dispose()
    place.databases.engine("shop").dispose()
    sql = place.score().done.sql
    place.execute("""UPDATE "Waiting" SET "ScoredDate" = NULL""")
    lines = [line for (line,) in place.fetch(f"EXPLAIN CREATE TEMPORARY TABLE t AS {sql}")]
    assert lines[0].startswith("Gather"), "\n".join(lines)
    assert len(place.read_scores()) == 2000


def test_a_key_too_long_for_its_column_is_refused_not_cut(place: Place) -> None:
    place.make_table("varchar(9) PRIMARY KEY")
    place.add(("a 1", 1.0, 1))
    place.score()
    place.execute('ALTER TABLE "Predictions" ALTER COLUMN "RecordId" TYPE varchar(3)')
    place.add(("a 12", 2.0, 2))
    with pytest.raises(sa.exc.DataError, match="too long"):
        place.score()
    assert list(place.read_scores()) == ["a 1"]


def test_children_of_a_table_may_have_its_keys_again(place: Place) -> None:
    """PostgreSQL's inheritance: a query has the rows of the children, the primary key has not."""
    place.make_table()
    place.add((1, 1.0, 1), (2, 1.0, 1))
    place.execute('CREATE TABLE more () INHERITS ("Waiting")', 'INSERT INTO more ("Id") VALUES (2)')
    with pytest.raises(DuplicateKeys, match=r"several rows have one key \(RecordId, ModelName\): \(2, 'spend'\)"):
        place.score()
