"""Files of a workload, wherever they are: a local folder, a Unity Catalog volume, or the lake over abfss://.

Remote files are copied with `dbutils`, the one tool that has the job's own credentials on every kind of Databricks
compute. Writing is sequential throughout, because a volume takes no random writes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from workloads.errors import WorkloadError

_LEFTOVER_SECONDS = 24 * 3600


def is_remote(path: str) -> bool:
    """Whether a path must be copied to be read: a URL such as `abfss://…`, or `dbfs:/…`."""
    return "://" in path or path.startswith("dbfs:/")


def split_path(path: str) -> tuple[str, str]:
    """Split a file's path into its folder and its name, for local paths and URLs alike."""
    folder, _, name = path.rstrip("/").rpartition("/")
    return folder or ("/" if path.startswith("/") else "."), name


class FileArea:
    """Gives local paths for reading and writing files of any folder, and tidies up when it is closed.

    Use it as a context manager.

    Args:
        staging_path: Folder that remote files are copied through. Serverless and standard-access-mode compute forbid
            `dbutils` the local disk, so there it must be a folder of a Unity Catalog volume (`/Volumes/…`).
            "" is a local temporary folder, which is right on dedicated compute.
    """

    def __init__(self, staging_path: str = "") -> None:
        self._staging_path = staging_path
        self._scratch: Path | None = None

    def __enter__(self) -> FileArea:
        """Give the area itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the copies of remote files."""
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def read(self, folder: str, name: str) -> Path:
        """Give a local path to read `folder/name` from; remote files are copied first.

        Raises:
            WorkloadError: There is no such file; the message says what the folder holds instead.
        """
        if is_remote(folder):
            local = self._new_scratch_file(name)
            self._copy(_join(folder, name), _dbutils_path(local))
            return local
        path = Path(folder) / name
        if not path.is_file():
            raise WorkloadError(f"no file {name} in {folder}: {_describe_folder(Path(folder))}", path=str(path))
        return path

    @contextmanager
    def write(self, folder: str, name: str) -> Iterator[Path]:
        """Give a local path to write to; when the block ends cleanly, its content becomes `folder/name` at once.

        If the block raises or the process dies, `folder/name` stays what it was. A copy to `abfss://` is not atomic,
        so readers there rely on what is written last: a Parquet footer, or the hash in metadata.json.

        Raises:
            WorkloadError: The folder cannot be made or written to.
        """
        if is_remote(folder):
            local = self._new_scratch_file(name)
            yield local
            self._copy(_dbutils_path(local), _join(folder, name))
            return
        target = Path(folder) / name
        unfinished = target.with_name(f".{name}.{uuid.uuid4().hex[:12]}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(target)
        except OSError as error:
            raise _describe_failure(target, error) from error
        try:
            yield unfinished
            try:
                with unfinished.open("rb") as file:
                    os.fsync(file.fileno())
                unfinished.replace(target)
            except OSError as error:
                raise _describe_failure(target, error) from error
        finally:
            unfinished.unlink(missing_ok=True)

    def remove(self, folder: str, name: str) -> None:
        """Remove `folder/name` if it is there.

        Raises:
            WorkloadError: It is there and cannot be removed.
        """
        if is_remote(folder):
            _dbutils().fs.rm(_join(folder, name))
            return
        try:
            (Path(folder) / name).unlink(missing_ok=True)
        except OSError as error:
            raise _describe_failure(Path(folder) / name, error) from error

    def remove_folder(self, folder: str) -> None:
        """Remove a folder with all that is in it, if it is there.

        Raises:
            WorkloadError: It is there and cannot be removed.
        """
        if is_remote(folder):
            _dbutils().fs.rm(folder, True)
            return
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _describe_failure(Path(folder), error) from error

    def _new_scratch_file(self, name: str) -> Path:
        if self._scratch is None:
            if self._staging_path:
                self._scratch = Path(self._staging_path) / f"adfml-{uuid.uuid4().hex}"
                self._scratch.mkdir(parents=True)
            else:
                self._scratch = Path(tempfile.mkdtemp(prefix="adfml-"))
        folder = self._scratch / uuid.uuid4().hex[:8]
        folder.mkdir()
        return folder / name

    def _copy(self, source: str, target: str) -> None:
        try:
            _dbutils().fs.cp(source, target)
        except Exception as error:
            hint = (
                "local files are forbidden to dbutils here: give --staging-path a folder of a Unity Catalog volume"
                if "forbidden" in str(error).lower()
                else "does it exist, and may this job's identity reach it?"
            )
            reason = str(error).strip().partition("\n")[0]
            raise WorkloadError(
                f"cannot copy {source} to {target}: {hint} ({type(error).__name__}: {reason})",
                source=source,
                target=target,
            ) from error


def _join(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"


def _dbutils_path(local: Path) -> str:
    # Without a scheme dbutils means the workspace's storage, not the disk; volumes are part of the former.
    return str(local) if local.parts[:2] == ("/", "Volumes") else f"file:{local}"


def _dbutils() -> Any:
    from databricks.sdk.runtime import dbutils

    return dbutils


def _describe_folder(folder: Path) -> str:
    if not folder.is_dir():
        return "the folder does not exist"
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return f"the folder holds {', '.join(names[:20]) or 'nothing'}"


def _describe_failure(target: Path, error: OSError) -> WorkloadError:
    return WorkloadError(
        f"cannot write {target} ({type(error).__name__}: {error}): is its folder a folder, is there room, and may this "
        "process write there?",
        path=str(target),
    )


def _remove_leftovers(target: Path) -> None:
    # A process that died while writing leaves its unfinished file; a younger one may still be written by another.
    for leftover in target.parent.glob(f".{target.name}.*.tmp"):
        try:
            if time.time() - leftover.stat().st_mtime > _LEFTOVER_SECONDS:
                leftover.unlink()
        except FileNotFoundError:
            continue
