"""Rows of a table scored inside its database: as the Python model scores them, all of them or none, and once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor

from adfml_assets.in_database import compile as compiling
from adfml_assets.in_database.errors import ScoresDiffer, SqlRefused
from adfml_assets.in_database.run import require_written
from adfml_assets.in_database.scoring_errors import ColumnsDiffer, ScoresMissing
from adfml_assets.in_database.server_errors import WayUnavailable, WrongModelBytes
from adfml_assets.in_database.sql import Sql
from adfml_assets.scoring.errors import NoSuchAlias, PastRecords, ScoredDateInvalid
from adfml_assets.scoring.model_choice import ModelChoice
from adfml_assets.write_back.errors import DuplicateKeys, NullKeys
from resources.errors import NotFound
from tests.conftest import NOW, TODAY
from tests.in_database.scored import MODEL, TARGET_COLUMNS, Place, open_place, predict, put_version, train

ROWS = [(1, 1.5, 3), (2, None, 7), (3, -20.0, None), (4, 8.25, -2), (5, None, None)]


@pytest.fixture(params=["sqlite", "duckdb", "postgresql"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with open_place(request.param, request, monkeypatch) as opened:
        opened.make_table()
        put_version(opened.lake, opened.control, train())
        yield opened


@pytest.fixture
def sqlite(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    with open_place("sqlite", request, monkeypatch) as opened:
        opened.make_table()
        put_version(opened.lake, opened.control, train())
        yield opened


def dump(place: Place) -> list[Any]:
    """Everything the two tables have."""
    columns = ", ".join(f'"{name}"' for name in TARGET_COLUMNS)
    return [
        place.fetch(f'SELECT {columns} FROM "Predictions" ORDER BY 1'),
        place.fetch('SELECT "Id", amount, recency, "ScoredDate" FROM "Waiting" ORDER BY 1'),
    ]


def test_rows_that_wait_get_the_scores_of_the_model_and_a_date(place: Place) -> None:
    place.add(*ROWS, (9, 1.0, 1))
    place.execute("""UPDATE "Waiting" SET "ScoredDate" = '2026-01-01 00:00:00' WHERE "Id" = 9""")
    scored = place.score()
    assert place.read_scores() == pytest.approx(predict(ROWS), rel=1e-12)
    names = ", ".join(f'"{name}"' for name in TARGET_COLUMNS[2:])
    said = place.fetch(f'SELECT DISTINCT {names} FROM "Predictions"')
    now, day = NOW.replace(tzinfo=None), date.fromisoformat(TODAY)
    as_text = f"{now:%Y-%m-%d %H:%M:%S.%f}"
    moments = (as_text, TODAY, TODAY) if place.kind == "sqlite" else (now, day, day)
    assert said == [(MODEL, "1", "champion", *moments)]
    dates = place.read_dates()
    assert {dates.pop(key) for key, _, _ in ROWS} == {moments[0]}
    assert str(dates[9]) == "2026-01-01 00:00:00"
    written = scored.done.written
    assert (written.rows, written.inserted, written.marked, written.unchanged) == (5, 5, 5, 0)
    assert scored.compared is not None
    assert scored.compared.compared == 5
    assert scored.compared.largest_difference < 1e-12
    assert (scored.plan.way.way, scored.plan.platform.compiled) == ("compiled", True)


def test_scoring_again_changes_nothing(place: Place) -> None:
    place.add(*ROWS)
    place.score()
    before = dump(place)
    again = place.score()
    assert (again.done.written.rows, again.done.written.marked) == (0, 0)
    assert dump(place) == before


def test_without_a_condition_only_rows_whose_score_is_another_are_written_again(place: Place) -> None:
    place.where = None
    place.add(*ROWS)
    place.score()
    before = dump(place)
    place.now = NOW + timedelta(hours=2)
    written = place.score().done.written
    assert (written.rows, written.unchanged, written.updated, written.marked) == (5, 5, 0, 0)
    assert dump(place) == before
    place.execute(
        'UPDATE "Waiting" SET amount = 30, recency = 30 WHERE "Id" = 2',
        'UPDATE "Waiting" SET "ScoredDate" = NULL WHERE "Id" = 3',
    )
    written = place.score().done.written
    assert (written.rows, written.unchanged, written.updated, written.marked) == (5, 4, 1, 2)
    assert place.read_scores()[2] == pytest.approx(predict([(2, 30.0, 30)])[2])
    later = [key for key, moment in place.read_dates().items() if "11:30" in str(moment)]
    assert sorted(later) == [2, 3]


def test_another_version_scores_the_day_anew(place: Place) -> None:
    place.where = None
    place.add(*ROWS)
    place.score()
    put_version(place.lake, place.control, train(1), "2")
    written = place.score().done.written
    assert (written.updated, written.unchanged) == (5, 0)
    assert place.read_scores() == pytest.approx(predict(ROWS, train(1)), rel=1e-12)
    written = place.score(choice=ModelChoice(None, "1")).done.written
    assert written.updated == 5
    assert place.fetch('SELECT DISTINCT "ModelVersion", "ModelAlias" FROM "Predictions"') == [("1", "")]


def test_scores_of_a_newer_day_stay(place: Place) -> None:
    place.where = None
    place.add(*ROWS)
    place.now = NOW + timedelta(days=1)
    place.score()
    before = place.fetch('SELECT * FROM "Predictions" ORDER BY 1')
    place.now = NOW
    assert place.score().done.written.kept_newer == 5
    assert place.fetch('SELECT * FROM "Predictions" ORDER BY 1') == before


def test_no_row_waits(place: Place) -> None:
    assert place.score().done.written.rows == 0
    assert place.read_scores() == {}


def test_nothing_is_written_where_the_sql_gives_another_score(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_model = compiling.compile_model

    def spoil(*arguments: Any) -> Any:
        compiled = compile_model(*arguments)
        return replace(compiled, score=Sql((*compiled.score.parts, " + ", 1e-3)))

    monkeypatch.setattr(compiling, "compile_model", spoil)
    place.add(*ROWS)
    with pytest.raises(ScoresDiffer, match=r"the row with key \d the score .* Nothing was written") as refused:
        place.score()
    assert (refused.value.differing, refused.value.compared) == (5, 5)
    assert place.count_scores() == 0
    with pytest.raises(ScoresDiffer, match="a made-up row"):
        place.score(verify="synthetic", sample_rows=0)
    # The caller says how far they may be apart.
    place.execute('UPDATE "Waiting" SET recency = 10000, amount = 10000')
    assert place.score(tolerance=0.01).done.written.rows == 5


def test_a_row_without_a_score_takes_all_back(place: Place) -> None:
    linear = LinearRegression().fit([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]], [1.0, 2.0, 3.0])
    put_version(place.lake, place.control, linear, "2")
    place.add(*ROWS)
    message = r"gives 3 of 5 rows of shop.*Waiting no score, for example those with Id 2, 3, 5: a feature is NULL"
    with pytest.raises(ScoresMissing, match=message):
        place.score()
    assert place.count_scores() == 0
    assert set(place.read_dates().values()) == {None}
    place.where = "amount IS NOT NULL AND recency IS NOT NULL -- what the model takes"
    assert place.score().done.written.rows == 2


def test_keys_that_are_no_keys_take_all_back(place: Place) -> None:
    place.table = "Loose"
    place.make_table(key="INTEGER")
    place.add((1, 1.0, 1), (2, 1.0, 1), (2, 2.0, 2))
    with pytest.raises(DuplicateKeys, match=r"several rows have one key \(RecordId, ModelName\): \(2, 'spend'\)"):
        place.score()
    place.execute('DELETE FROM "Loose" WHERE amount = 2')
    place.add((None, 1.0, 1))
    with pytest.raises(NullKeys, match="1 rows have NULL in their key"):
        place.score()
    assert (place.count_scores(), set(place.read_dates().values())) == (0, {None})


def test_a_key_there_twice_is_refused_also_where_one_of_its_rows_is_written_just_so(place: Place) -> None:
    place.table, place.where = "Loose", None
    place.make_table(key="INTEGER")
    place.add((1, 1.0, 1), (2, 1.0, 1))
    place.score()
    before = place.fetch('SELECT * FROM "Predictions" ORDER BY 1')
    place.add((2, 30.0, 30))
    with pytest.raises(DuplicateKeys, match=r"several rows have one key \(RecordId, ModelName\): \(2, 'spend'\)"):
        place.score()
    place.execute('DELETE FROM "Loose" WHERE amount = 30')
    place.add((2, 1.0, 1))
    with pytest.raises(DuplicateKeys):
        place.score()
    assert place.fetch('SELECT * FROM "Predictions" ORDER BY 1') == before


def test_a_text_among_numbers_is_a_row_without_a_score(sqlite: Place) -> None:
    sqlite.add(*ROWS)
    sqlite.execute("""UPDATE "Waiting" SET amount = 'n/a' WHERE "Id" = 4""")
    with pytest.raises(ScoresMissing, match=r"gives 1 of 5 rows of shop.main.Waiting no score, .* with Id 4: "):
        sqlite.score()
    assert sqlite.count_scores() == 0


def test_a_table_that_lacks_features_is_refused_with_both_lists(place: Place) -> None:
    put_version(place.lake, place.control, train(), "2", features=("recency", "orders", "amount"))
    place.add(*ROWS)
    with pytest.raises(ColumnsDiffer) as refused:
        place.score()
    assert refused.value.expected == ("recency", "orders", "amount")
    assert refused.value.found == ("name", "amount", "recency")
    said = str(refused.value)
    assert "cannot score shop." in said
    assert "missing are orders." in said
    assert "3 wanted, 3 found; 1 missing, 1 not wanted." in said
    assert place.count_scores() == 0


def test_a_column_of_another_type_is_refused(sqlite: Place) -> None:
    sqlite.execute('ALTER TABLE "Waiting" RENAME COLUMN amount TO money')
    sqlite.execute('ALTER TABLE "Waiting" RENAME COLUMN name TO amount')
    with pytest.raises(ColumnsDiffer, match=r"of another type: amount\.(?s:.)*amount: a number  amount: VARCHAR\(20\)"):
        sqlite.score()


def test_a_view_without_declared_types_is_scored(sqlite: Place) -> None:
    sqlite.add(*ROWS)
    sqlite.execute('CREATE VIEW "Made" AS SELECT "Id", amount * 1.0 AS amount, recency + 0 AS recency FROM "Waiting"')
    source = replace(sqlite.spec.source, table="Made", scored_date=None, where="Id < 4")
    assert sqlite.score(source=source).done.written.marked == 0
    assert sqlite.read_scores() == pytest.approx(predict(ROWS[:3]), rel=1e-12)


def test_what_is_declared_of_the_table_has_to_be_there(sqlite: Place) -> None:
    spec = sqlite.spec
    with pytest.raises(NotFound, match=r"no column 'Key' in shop.main.Waiting. It has: Id, ScoredDate, amount"):
        sqlite.score(source=replace(spec.source, key="Key"))
    with pytest.raises(NotFound, match="no table 'Nothing'"):
        sqlite.score(source=replace(spec.source, table="Nothing"))
    with pytest.raises(ScoredDateInvalid, match="name is VARCHAR"):
        sqlite.score(source=replace(spec.source, scored_date="name"))
    with pytest.raises(NoSuchAlias):
        sqlite.score(choice=ModelChoice("challenger", None))


def test_a_past_day_in_a_table_of_something_else_was_not_written(place: Place) -> None:
    place.execute('CREATE TABLE "Predictions" ("Id" INTEGER)')
    with pytest.raises(PastRecords):
        require_written(place.databases, place.spec, "2026-03-01", TODAY)


def test_a_condition_that_the_database_refuses_is_where_to_look(sqlite: Place) -> None:
    sqlite.where = "nothing = 1"
    with pytest.raises(SqlRefused, match=r"near \"nothing\": syntax error|no such column.*from_query\.where"):
        sqlite.score()


def test_a_model_file_that_was_changed_is_not_loaded(sqlite: Place) -> None:
    put_version(sqlite.lake, sqlite.control, train(), "2", sha256="0" * 64)
    with pytest.raises(WrongModelBytes, match=r"version=2/model\.skops"):
        sqlite.score()


@pytest.mark.parametrize(
    ("file", "way", "message"),
    [
        ("model.onnx", "auto", "a model stored as onnx has no SQL.*an engine outside"),
        ("model.skops", "predict", r"PREDICT is T-SQL, and SQLite has none: use compiled SQL \(way: compiled\)"),
        ("model.skops", "external_script", "sp_execute_external_script is T-SQL, and SQLite has none"),
    ],
)
def test_a_way_that_is_not_there_is_refused(sqlite: Place, file: str, way: Any, message: str) -> None:
    put_version(sqlite.lake, sqlite.control, train(), "2", file=file)
    with pytest.raises(WayUnavailable, match=message):
        sqlite.score(way=way)


def test_a_model_that_has_no_sql_is_refused_with_the_step(sqlite: Place) -> None:
    put_version(sqlite.lake, sqlite.control, KNeighborsRegressor().fit([[1.0, 2.0]] * 6, [1.0] * 6), "2")
    with pytest.raises(WayUnavailable, match="the model: KNeighborsRegressor cannot be compiled to SQL"):
        sqlite.score()


def test_made_up_rows_are_compared_where_no_row_may_leave(place: Place) -> None:
    place.add(*ROWS)
    scored = place.score(verify="synthetic", sample_rows=40)
    assert scored.compared is not None
    assert scored.compared.compared == 40
    assert place.read_scores() == pytest.approx(predict(ROWS), rel=1e-12)


def test_booleans_and_decimals_are_numbers(place: Place) -> None:
    place.table = "Exact"
    place.execute(
        'CREATE TABLE "Exact" ("Id" INTEGER, amount NUMERIC(9, 2), recency BOOLEAN, "ScoredDate" TIMESTAMP)',
        'INSERT INTO "Exact" VALUES (1, 2.25, TRUE, NULL), (2, NULL, FALSE, NULL)',
    )
    place.score()
    assert place.read_scores() == pytest.approx(predict([(1, 2.25, 1), (2, None, 0)]), rel=1e-12)


def test_numbers_that_arrow_has_no_type_for_are_numbers(place: Place) -> None:
    """An archive keeps them as text: numbers without a precision, as sums in views are, and very large ones."""
    wide = "HUGEINT" if place.kind == "duckdb" else "NUMERIC"
    place.table = "Wide"
    place.execute(
        f'CREATE TABLE "Wide" ("Id" INTEGER, amount {wide}, recency {wide}, "ScoredDate" TIMESTAMP)',
        'INSERT INTO "Wide" VALUES (1, 2, 12, NULL), (2, NULL, -3, NULL)',
    )
    place.score()
    assert place.read_scores() == pytest.approx(predict([(1, 2.0, 12), (2, None, -3)]), rel=1e-12)
    place.execute(
        'CREATE VIEW "Sums" AS SELECT "Id", sum(amount) AS amount, sum(recency) AS recency FROM "Wide" GROUP BY "Id"'
    )
    source = replace(place.spec.source, table="Sums", scored_date=None, where=None)
    assert place.score(source=source).done.written.unchanged == 2


def test_a_condition_may_have_anything_in_it(place: Place) -> None:
    place.add(*ROWS)
    place.execute('UPDATE "Waiting" SET name = \':a 10%% \\:s\' WHERE "Id" < 3')
    place.where = "name LIKE ':a 10%' AND name <> '12:30:00 %(x)s ? {y}' -- 100% of :these"
    place.score()
    assert sorted(place.read_scores()) == [1, 2]


def test_two_runs_at_once_score_each_row_once(place: Place) -> None:
    rows = [(number, number / 3, number % 9) for number in range(2_000)]
    place.add(*rows)
    place.score()
    place.execute('DELETE FROM "Predictions"', 'UPDATE "Waiting" SET "ScoredDate" = NULL')
    with ThreadPoolExecutor(2) as pool:
        done = [run.result().done.written for run in [pool.submit(place.score) for _ in range(2)]]
    assert sorted(one.inserted for one in done) == [0, 2_000]
    assert sum(one.marked for one in done) == 2_000
    assert place.read_scores() == pytest.approx(predict(rows), rel=1e-12)


def test_a_table_of_an_older_adfml_is_written_without_the_column_it_does_not_have(place: Place) -> None:
    place.add(*ROWS)
    place.score()
    place.execute('ALTER TABLE "Predictions" DROP COLUMN "FeatureSnapshot"', 'UPDATE "Waiting" SET "ScoredDate" = NULL')
    written = place.score().done.written
    assert (written.left_out, written.unchanged, written.marked) == (("FeatureSnapshot",), 5, 5)


def test_a_row_that_changes_meanwhile_is_not_noted_with_the_score_of_before(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_place("postgresql", request, monkeypatch) as place:
        put_version(place.lake, place.control, train())
        place.make_table()
        place.add(*ROWS)
        changed: list[str] = []

        def change(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            if "adfml_scored" in statement and statement.startswith("UPDATE") and not changed:
                changed.append(statement)
                place.execute('UPDATE "Waiting" SET recency = 40, amount = 40 WHERE "Id" = 2')

        sa.event.listen(place.databases.engine("shop"), "before_cursor_execute", change)
        place.score()
        assert changed
        expected = predict([row if row[0] != 2 else (2, 40.0, 40) for row in ROWS])
        assert place.read_scores() == pytest.approx(expected, rel=1e-12)
        assert None not in place.read_dates().values()
