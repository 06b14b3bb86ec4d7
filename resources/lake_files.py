"""Files of obstore as pyarrow wants them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

Explain = Callable[[], AbstractContextManager[None]]
"""A block whose store errors become errors of this package."""

# Four blocks under way and one that fills: 20 MB held, and 160 MB/s at an answer in 100 ms.
WRITE_BUFFER_BYTES = 4 * 1024 * 1024
WRITE_CONCURRENCY = 4
READ_BUFFER_BYTES = 4 * 1024 * 1024


@contextmanager
def open_new(store: Any, key: str, explain: Explain, local: Path | None) -> Iterator[NewFile]:
    """A file to write into, which is there, whole, when the block ends well, and never otherwise.

    Args:
        store: obstore's store of the container.
        key: of the file in it.
        explain: see `Explain`. Errors of the block itself pass as they are.
        local: where the file lies on this machine; it is then on the disk when the block has ended.
    """
    import obstore

    with explain():
        remote = obstore.open_writer(
            store, key, buffer_size=WRITE_BUFFER_BYTES, max_concurrency=WRITE_CONCURRENCY
        ).__enter__()
    try:
        yield NewFile(remote, explain)
    except BaseException:
        # The first error is the one to tell; what was sent is no file and goes with its blocks.
        with suppress(Exception):
            remote.__exit__(*sys.exc_info())
        raise
    with explain():
        remote.__exit__(None, None, None)
        if local is not None:
            settle(local)


def settle(path: Path) -> None:
    """Have a file and its name on the disk: after a power cut it is still there."""
    sync(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class NewFile:
    """Takes bytes."""

    def __init__(self, remote: Any, explain: Explain) -> None:
        self._remote = remote
        self._explain = explain

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            ResourceError: the store took no more.
        """
        with self._explain():
            self._remote.write(data)


class SizedReader:
    """obstore's reader as pyarrow wants it: bytes of its own type and `closed` as an attribute."""

    def __init__(self, reader: Any, explain: Explain) -> None:
        self._reader = reader
        self._explain = explain
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; all that is left where it is below 0."""
        with self._explain():
            return bytes(self._reader.read(size) if size >= 0 else self._reader.readall())

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move."""
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        """The place."""
        return int(self._reader.tell())

    def readable(self) -> bool:
        """Yes."""
        return True

    def writable(self) -> bool:
        """No."""
        return False

    def seekable(self) -> bool:
        """Yes."""
        return True

    def close(self) -> None:
        """Read no more."""
        self.closed = True
