"""Batches: each is one transaction, and a run that ended early is taken up where it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from adfml_assets.write_back import progress, run
from adfml_assets.write_back.errors import Superseded, ValueInvalid
from adfml_assets.write_back.progress import Partition
from adfml_assets.write_back.run import write_partition
from adfml_assets.write_back.written import Written
from tests.write_back.conftest import DAY, LATER, TARGET, Place, count, make_rows, scores_of, square, to_rows, write

BATCHES = replace(TARGET, batch_rows=4)


@pytest.fixture
def break_off(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Begins to write ten rows and breaks off before the batch of a number, counted from 0; that once."""
    write_batch = run._write_batch

    def begin(batches: int) -> None:
        numbers = iter(range(1_000))

        def stop(*arguments: Any) -> Written | None:
            if next(numbers) == batches:
                raise ZeroDivisionError
            return write_batch(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(run, "_write_batch", stop)
            with pytest.raises(ZeroDivisionError):
                write(place, square(range(10)), target=BATCHES)

    return begin


def read_progress(place: Place) -> list[tuple[Any, ...]]:
    return place.fetch("SELECT asset, partition_key, rows_done, inserted, updated, unchanged FROM adfml_write_back")


@pytest.mark.parametrize("rows", [1, 4, 5, 8, 11])
def test_batches_give_what_one_transaction_gives(place: Place, rows: int) -> None:
    write(place, square(range(3), 7.0), day=LATER)
    write(place, square(range(2, 6)))
    written = write(place, square(range(rows)), target=BATCHES)
    assert scores_of(place) == {**square(range(2, 6)), **square(range(rows)), **square(range(3), 7.0)}
    assert count(written)[0] == max(rows - 6, 0)
    assert (written.resumed, read_progress(place)) == (0, [])
    again = write(place, square(range(rows)), target=BATCHES)
    assert (again.changed, count(again)[3]) == (0, min(rows, 3))


def test_a_run_that_ended_early_is_taken_up_where_it_ended(place: Place, break_off: Callable[[int], None]) -> None:
    break_off(2)
    assert scores_of(place) == square(range(8))
    assert read_progress(place) == [("scores", f"{DAY}", 8, 8, 0, 0)]
    # Whether what is written is looked at again shows in what somebody changes meanwhile.
    place.execute('UPDATE "Predictions" SET "Score" = -1 WHERE "RecordId" = 3')
    written = write(place, square(range(10)), target=BATCHES)
    assert (count(written), written.resumed) == ((10, 0, 0, 0), 8)
    assert scores_of(place) == {**square(range(10)), 3: -1.0}
    assert read_progress(place) == []
    # The next run begins with the first row.
    assert count(write(place, square(range(10)), target=BATCHES)) == (0, 1, 9, 0)


@pytest.mark.parametrize("statement", ['DROP TABLE "Predictions"', 'DELETE FROM "Predictions"'])
def test_a_table_that_was_emptied_meanwhile_gets_all_rows(
    place: Place, break_off: Callable[[int], None], statement: str
) -> None:
    break_off(2)
    place.execute(statement)
    written = write(place, square(range(10)), target=BATCHES)
    assert (count(written), written.resumed) == ((10, 0, 0, 0), 0)
    assert (scores_of(place), read_progress(place)) == (square(range(10)), [])


def test_no_rows_leave_no_progress(place: Place, break_off: Callable[[int], None]) -> None:
    assert write(place, {}, target=BATCHES).rows == 0
    assert read_progress(place) == []
    break_off(1)
    assert write(place, {}, target=BATCHES, digest="none").rows == 0
    assert read_progress(place) == []


@pytest.mark.parametrize("change", ["other scores", "the whole of it", "older ones may overwrite"])
def test_other_rows_begin_anew(place: Place, break_off: Callable[[int], None], change: str) -> None:
    break_off(2)
    values, target, digest = square(range(10)), BATCHES, "d"
    if change == "other scores":
        values, digest = square(range(12), 3.0), "e"
    elif change == "the whole of it":
        target = TARGET
    else:
        target = replace(BATCHES, overwrite_newer=True)
    written = write(place, values, target=target, digest=digest)
    assert written.resumed == 0
    # The score of record 0 is 0 in both.
    assert written.unchanged == (1 if change == "other scores" else 8)
    assert scores_of(place) == values


def test_partitions_do_not_share_their_progress(place: Place, break_off: Callable[[int], None]) -> None:
    break_off(1)
    later = write(place, square(range(6), 3.0), target=BATCHES, day=LATER)
    assert (later.rows, later.resumed) == (6, 0)
    assert [row[2] for row in read_progress(place)] == [4]
    assert write(place, square(range(10)), target=BATCHES).resumed == 4
    assert scores_of(place) == {**square(range(10)), **square(range(6), 3.0)}


def test_another_run_of_the_same_rows_is_not_in_the_way(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    write_batch, inner = run._write_batch, []

    def let_another_one_in(*arguments: Any) -> Written | None:
        if not inner:
            inner.append(None)
            inner.append(write(place, square(range(10)), target=replace(BATCHES, batch_rows=3)))
        return write_batch(*arguments)

    monkeypatch.setattr(run, "_write_batch", let_another_one_in)
    written = write(place, square(range(10)), target=BATCHES)
    assert count(inner[1]) == (10, 0, 0, 0)
    # The other one had written all of it: nothing was left to do.
    assert count(written) == (0, 0, 10, 0)
    assert (scores_of(place), read_progress(place)) == (square(range(10)), [])


def test_what_another_run_has_written_is_not_written_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    write_batch, calls = run._write_batch, []

    def fall_behind(*arguments: Any) -> Written | None:
        calls.append(arguments[4:])
        # What another run did between this one's look at the progress and its transaction.
        return write_batch(*arguments) and None if len(calls) == 1 else write_batch(*arguments)

    monkeypatch.setattr(run, "_write_batch", fall_behind)
    written = write(place, square(range(10)), target=BATCHES)
    assert calls == [(0, 4), (4, 8), (8, 10)]
    assert (count(written), written.resumed) == ((10, 0, 0, 0), 4)


def test_a_run_of_other_rows_ends_this_one(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    write_batch, done = run._write_batch, []

    def let_another_one_begin(connection: Any, plan: Any, rows: Any, of: Partition, start: int, stop: int) -> Any:
        if start == 4:
            with connection.begin():
                table = progress.build_table(None)
                connection.execute(table.update().values(digest="other", rows_done=0))
        done.append(start)
        return write_batch(connection, plan, rows, of, start, stop)

    monkeypatch.setattr(run, "_write_batch", let_another_one_begin)
    with pytest.raises(Superseded, match=r"another run writes other rows for scores, partition 2026-03-10") as caught:
        write(place, square(range(10)), target=BATCHES)
    assert (done, caught.value.rows_done) == ([0, 4], 4)
    assert scores_of(place) == square(range(4))


def test_batches_need_to_know_the_partition(place: Place) -> None:
    with pytest.raises(ValueError, match="batch_rows needs to know the partition"):
        write_partition(place.databases, BATCHES, make_rows({1: 1.0}))


def test_an_error_later_on_writes_no_batch(place: Place) -> None:
    write(place, {})
    # SQLite takes any number, and DuckDB a text of any length.
    kind, values, wrong = "VARCHAR(2)", ["ab"] * 9 + ["abc"], "2 characters at most, found 'abc'"
    if place.dialect == "duckdb":
        kind, values, wrong = "SMALLINT", [1] * 9 + [70_000], r"a value of SMALLINT\(\) \(as int16\), found 70000"
    place.execute(f'ALTER TABLE "Predictions" ADD COLUMN "Short" {kind}')
    rows = make_rows(square(range(10)))
    table = pa.Table.from_batches(rows.batches).append_column("given", pa.array(values))
    rows = to_rows(table, {**rows.columns, "Short": "given"}, rows.constants)
    with pytest.raises(ValueInvalid, match=rf"Short: expected {wrong} \(RecordId 9\)"):
        write_partition(place.databases, BATCHES, rows, of=Partition("a", "p", "d"))
    assert scores_of(place) == {}
