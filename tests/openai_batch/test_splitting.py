"""Requests are split by both limits, exactly, and nothing is lost, doubled or out of order."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.errors import NotFound
from resources.lake import Lake
from resources.openai_requests import Shard, ShardWriter, begin_line, copy_lines, iterate_lines, read_custom_id

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
lines_strategy = st.lists(st.text(max_size=30).map(lambda text: text.replace("\n", " ") + "\n"), max_size=60)


def path(index: int) -> str:
    return f"ml/text-requests/t/{index:04d}.jsonl"


def write(lake: Lake, batches: list[list[str]], max_rows: int, max_bytes: int) -> list[Shard]:
    with ShardWriter(lake, path, max_rows=max_rows, max_bytes=max_bytes) as writer:
        for batch in batches:
            writer.write(pa.array(batch, pa.large_string()))
    return writer.shards


@quick
@given(
    lines=lines_strategy, cuts=st.sets(st.integers(0, 60)), max_rows=st.integers(1, 12), max_bytes=st.integers(121, 300)
)
def test_each_file_is_as_full_as_the_limits_allow(
    lake: Lake, lines: list[str], cuts: set[int], max_rows: int, max_bytes: int
) -> None:
    edges = sorted({0, len(lines), *(cut for cut in cuts if cut < len(lines))})
    batches = [lines[start:end] for start, end in pairwise(edges)]
    shards = write(lake, batches, max_rows, max_bytes)

    read = [list(iterate_lines(lake, shard.path)) for shard in shards]
    assert [line.decode() for shard in read for line in shard] == lines
    for shard, content in zip(shards, read, strict=True):
        data = b"".join(content)
        assert (shard.rows, shard.bytes) == (len(content), len(data))
        assert 0 < shard.rows <= max_rows
        assert shard.bytes <= max_bytes
    for shard, following in zip(shards, read[1:], strict=False):
        # The next line would not have fitted.
        assert shard.rows == max_rows or shard.bytes + len(following[0]) > max_bytes


def test_a_slice_of_an_array_is_written_as_what_it_shows(lake: Lake) -> None:
    lines = pa.array([f"{number}\n" for number in range(100)], pa.large_string())
    with ShardWriter(lake, path, max_rows=7) as writer:
        writer.write(lines.slice(10, 20))
    read = [line.decode() for shard in writer.shards for line in iterate_lines(lake, shard.path)]
    assert read == [f"{number}\n" for number in range(10, 30)]


def test_no_lines_are_no_file(lake: Lake) -> None:
    assert write(lake, [[], []], 5, 100) == []
    assert lake.list_files("ml/text-requests") == []


def test_the_first_bytes_are_no_byte_order_mark(lake: Lake) -> None:
    (shard,) = write(lake, [[begin_line("a" * 40) + "{}}\n"]], 5, 1000)
    assert lake.read_bytes(shard.path).startswith(b'{"custom_id":"aaaa')


def test_a_file_that_is_being_written_is_not_visible_where_the_block_fails(lake: Lake) -> None:
    with pytest.raises(RuntimeError), ShardWriter(lake, path, max_rows=2) as writer:  # noqa: PT012
        writer.write(pa.array(["1\n", "2\n", "3\n"], pa.large_string()))
        raise RuntimeError
    assert lake.list_files("ml/text-requests") == [path(0)]


def test_lines_to_be_asked_again_are_copied_as_they_were(lake: Lake) -> None:
    ids = [f"{number:040d}" for number in range(50)]
    lines = [begin_line(custom_id) + f'{{"n":"\u2028 {custom_id}"}}}}\n' for custom_id in ids]
    (shard,) = write(lake, [lines], 100, 100_000)
    wanted = set(ids[3:40:5])
    copied = copy_lines(lake, shard.path, path(9), wanted)
    read = list(iterate_lines(lake, path(9)))
    assert copied.rows == len(read) == len(wanted)
    assert {read_custom_id(line) for line in read} == wanted
    assert {line.decode() for line in read} <= set(lines)


def test_a_file_that_is_gone_is_said_to_be(lake: Lake) -> None:
    with pytest.raises(NotFound):
        list(iterate_lines(lake, path(0)))
