"""Files of the lake that a library writes on this machine: whole in the lake when they are done, never before."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from resources.lake_files import READ_BUFFER_BYTES, Explain, sync
from resources.parquet_files import WrittenFile


class StagedFile:
    """A Parquet file that is about to be written.

    Attributes:
        path: in the lake.
        local: where on this machine. An empty file may be there, to be written over.
        written: it, once it is in the lake.
    """

    def __init__(self, path: str, local: Path) -> None:
        self.path = path
        self.local = local
        self.written: WrittenFile | None = None
        self._measured: Future[WrittenFile] | None = None

    def seal(self) -> None:
        """Say that the file is whole: what takes time is done in a thread, while the caller looks at it or goes on."""
        if self._measured is None:
            executor = ThreadPoolExecutor(1, "checksum")
            self._measured = executor.submit(self._measure)
            executor.shutdown(wait=False)

    def measure(self) -> WrittenFile:
        """The file as it is, on the disk.

        Raises:
            OSError: it cannot be read or stored.
        """
        self.seal()
        assert self._measured is not None  # noqa: S101 - sealed
        return self._measured.result()

    def _measure(self) -> WrittenFile:
        import pyarrow.parquet as pq

        with self.local.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        return WrittenFile(self.path, pq.read_metadata(self.local).num_rows, self.local.stat().st_size, digest)


@contextmanager
def stage_file(
    path: str,
    target: Path | None,
    create_file: Callable[[str], AbstractContextManager[Any]],
    explain: Explain,
) -> Iterator[StagedFile]:
    """See `Lake.stage_parquet`.

    Args:
        path: in the lake.
        target: where that is on this machine: the file is written beside it and renamed. None: it is sent elsewhere.
        create_file: opens a file of the lake to be sent to.
        explain: see `resources.lake_files.Explain`.
    """
    if target is None:
        with tempfile.TemporaryDirectory(prefix="adfml-") as folder:
            staged = StagedFile(path, Path(folder) / path.rpartition("/")[2])
            yield staged
            written = staged.measure()
            with create_file(path) as remote, staged.local.open("rb") as file:
                shutil.copyfileobj(file, remote, READ_BUFFER_BYTES)
            staged.written = written
        return
    with explain():
        local, descriptor = _reserve(target)
    staged = StagedFile(path, local)
    try:
        yield staged
        with explain():
            written = staged.measure()
            local.replace(target)
            sync(target.parent)
        staged.written = written
    except BaseException:
        local.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def delete_staged(folder: Path, is_abandoned: Callable[[str], bool]) -> int:
    """Delete the files (`name#1`) that files of a folder are written under until they are whole; returns how many.

    Those that a process of this machine still holds (`stage_file`) stay.
    """
    if not folder.is_dir():
        return 0
    count = 0
    for staged in folder.iterdir():
        name, _, number = staged.name.rpartition("#")
        if name and number.isdigit() and staged.is_file() and is_abandoned(name) and not _is_held(staged):
            staged.unlink(missing_ok=True)
            count += 1
    return count


def _is_held(staged: Path) -> bool:
    try:
        with staged.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass  # it became whole meanwhile, or another process deleted it
    return False


def _reserve(target: Path) -> tuple[Path, int]:
    """An empty file beside another, named as obstore names what it has not ended (`name#1`): no listing shows it.

    It is locked until its descriptor, the second value, is closed: so until this process ends, however it does.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        staged = target.with_name(f"{target.name}#{number}")
        with suppress(FileExistsError):
            descriptor = os.open(staged, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            return staged, descriptor
    raise AssertionError
