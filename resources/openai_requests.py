"""The files an OpenAI batch is made of: JSON lines, streamed into the lake and split by both limits of the service.

Limits: Microsoft, "Azure OpenAI batch" (100,000 requests and 200 MB a file). A megabyte is 1,000,000 bytes here: what
fits it also fits the larger one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resources.errors import Corrupt
from resources.lake import Lake

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

ENDPOINT = "/v1/chat/completions"
MAX_ROWS = 100_000
MAX_BYTES = 200 * 1_000_000
ID_CHARACTERS = 40
_HEAD = b'{"custom_id":"'
_BLOCK_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class Shard:
    """A file of requests: its path in the lake, requests, and bytes."""

    path: str
    rows: int
    bytes: int


def begin_line(custom_id: str) -> str:
    """How the line of a request begins, for those who write lines: up to where its body follows."""
    return f'{_HEAD.decode()}{custom_id}","method":"POST","url":"{ENDPOINT}","body":'


def read_custom_id(line: bytes) -> str:
    """The custom_id of a line that `begin_line` began."""
    return line[len(_HEAD) : len(_HEAD) + ID_CHARACTERS].decode()


class ShardWriter(AbstractContextManager["ShardWriter"]):
    """Streams lines into files of the lake, each filled up to the first limit that it meets.

    A file is visible once it is full; on an exception the one that is being written is not, and the others stay as
    files that nothing names.

    Attributes:
        shards: those that are whole; all of them once the block has ended.
    """

    def __init__(
        self, lake: Lake, build_path: Callable[[int], str], *, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES
    ) -> None:
        self._lake = lake
        self._build_path = build_path
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self.shards: list[Shard] = []
        self._open: _OpenShard | None = None

    def write(self, lines: pa.LargeStringArray) -> None:
        """Append lines, each ending in a line feed and none longer than the limit in bytes."""
        import numpy as np

        if not len(lines):
            return
        _, offsets_buffer, data_buffer = lines.buffers()
        ends = np.frombuffer(offsets_buffer, np.int64, len(lines) + 1, lines.offset * 8)
        data = memoryview(data_buffer)
        start = 0
        while start < len(lines):
            shard = self._open or self._start()
            stop = self._find_stop(shard, ends, start)
            if stop > start:
                shard.write(data[ends[start] : ends[stop]], stop - start)
            if stop < len(lines):
                self._finish()
            start = stop

    def _find_stop(self, shard: _OpenShard, ends: np.ndarray, start: int) -> int:
        """The first line that fits the open shard no more."""
        import numpy as np

        by_bytes = int(np.searchsorted(ends, ends[start] + self._max_bytes - shard.bytes, side="right")) - 1
        return min(by_bytes, start + self._max_rows - shard.rows, len(ends) - 1)

    def _start(self) -> _OpenShard:
        self._open = _OpenShard(self._lake, self._build_path(len(self.shards)))
        return self._open

    def _finish(self) -> None:
        if self._open is not None:
            self.shards.append(self._open.close())
            self._open = None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        """End the last file, or leave it out where the block failed."""
        if kind is None:
            self._finish()
        elif self._open is not None:
            self._open.abandon(kind, error, trace)


class _OpenShard:
    def __init__(self, lake: Lake, path: str) -> None:
        self._stack = ExitStack()
        # The lake's own way to a file that is visible whole or not at all.
        self._file = self._stack.enter_context(lake.create_file(path))
        self._path = path
        self.rows = self.bytes = 0

    def write(self, data: memoryview, rows: int) -> None:
        for begin in range(0, len(data), _BLOCK_BYTES):
            self._file.write(bytes(data[begin : begin + _BLOCK_BYTES]))
        self.bytes += len(data)
        self.rows += rows

    def close(self) -> Shard:
        self._stack.close()
        return Shard(self._path, self.rows, self.bytes)

    def abandon(self, kind: Any, error: Any, trace: Any) -> None:
        self._stack.__exit__(kind, error, trace)


def iterate_lines(lake: Lake, path: str) -> Iterator[bytes]:
    """The lines of a file of requests, each with its line feed, in constant memory.

    Raises:
        NotFound: it is not in the lake.
        Corrupt: its last line is not whole.
    """
    rest = b""
    with lake.open_file(path) as file:
        while block := file.read(_BLOCK_BYTES):
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            for line in lines:
                yield line + b"\n"
    if rest:
        raise Corrupt(path, "lines that end in a line feed", "a last line that does not")


def copy_lines(lake: Lake, source: str, target: str, custom_ids: set[str]) -> Shard:
    """Write those lines of a file of requests that are to be asked again as a file of their own."""
    shard = _OpenShard(lake, target)
    try:
        for line in iterate_lines(lake, source):
            if read_custom_id(line) in custom_ids:
                shard.write(memoryview(line), 1)
    except BaseException as error:
        shard.abandon(type(error), error, error.__traceback__)
        raise
    return shard.close()
