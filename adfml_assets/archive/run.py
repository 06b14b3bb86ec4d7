"""One run over the tables of one database: its snapshot, shared by all tables, and what every copy needs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from adfml_assets.archive.progress import Progress
from resources.control import ControlDatabase
from resources.errors import ConnectionLost, Unreachable
from resources.intervals import Intervals
from resources.lake import Lake
from resources.parquet_files import ParquetOptions

if TYPE_CHECKING:
    from resources.servers.base import Server, Snapshot

T = TypeVar("T")

ATTEMPTS = 4
"""How often a table is copied anew when its connection is cut, the first copy included."""


@dataclass(frozen=True)
class CopyOptions:
    """How rows are copied.

    Attributes:
        parquet: compression, size of row groups and files.
        times_typed: whether times of day stay Parquet's TIME, which Spark cannot read, in place of text.
        readers: a table larger than `split_bytes` is read by so many connections, each to files of its own, where the
            server lets them share a snapshot.
        split_bytes: see `readers`; by the server's own estimate.
    """

    parquet: ParquetOptions = field(default_factory=ParquetOptions)
    times_typed: bool = False
    readers: int = 2
    split_bytes: int = 1 << 28


class ArchiveRun:
    """What the copies of one run share. Used by several threads."""

    def __init__(
        self,
        lake: Lake,
        control: ControlDatabase,
        server: Server,
        *,
        address: str,
        now: datetime,
        run_id: str,
        options: CopyOptions | None = None,
        intervals: Intervals | None = None,
    ) -> None:
        """Nothing is opened yet, but Arrow's memory is chosen for this process.

        Args:
            address: of the database, without secrets, for the manifests.
            now: the run's time, with zone; taken once.
            run_id: the Dagster run.
            intervals: where watermark intervals are kept; None: in the control database.
        """
        choose_memory_pool()
        self.lake = lake
        self.server = server
        self.address = address
        self.now = now
        self.run_id = run_id
        self.options = options or CopyOptions()
        self.claims = control.claims
        self.intervals = intervals or control.intervals
        self.progress = Progress()
        self._shared: Snapshot | None = None
        self._stack = ExitStack()
        self._lock = threading.Lock()

    @property
    def today(self) -> str:
        """The run's day, UTC."""
        return self.now.strftime("%Y-%m-%d")

    def read(self, action: Callable[[Snapshot], T]) -> T:
        """Run an action on the run's snapshot; where its connection is cut, again on a new one, with growing pauses.

        Raises:
            ConnectionLost: the connection was cut ATTEMPTS times.
        """
        try:
            return action(self._open_shared())
        except ConnectionLost:
            return self.read_anew(action, attempts=ATTEMPTS - 1, pause_first=True)

    def read_anew(self, action: Callable[[Snapshot], T], attempts: int = ATTEMPTS, *, pause_first: bool = False) -> T:
        """Run an action on a snapshot of its own, of now."""
        import tenacity

        @tenacity.retry(
            # Also a server that is just starting again after it cut the connection.
            retry=tenacity.retry_if_exception_type(Unreachable),
            wait=tenacity.wait_random_exponential(multiplier=0.5, max=30),
            stop=tenacity.stop_after_attempt(attempts),
            reraise=True,
        )
        def run() -> T:
            with self.server.open_snapshot() as snapshot:
                return action(snapshot)

        if pause_first:
            threading.Event().wait(0.5)
        return run()

    def close(self) -> None:
        """End the shared snapshot."""
        with self._lock:
            self._shared = None
            self._stack.close()

    def _open_shared(self) -> Snapshot:
        with self._lock:
            if self._shared is None:
                self._shared = self._stack.enter_context(self.server.open_snapshot())
            return self._shared


@cache
def choose_memory_pool() -> None:
    """Let Arrow allocate through jemalloc where it is built in: it gives back what batches leave, 40 MB at the peak."""
    # Arrow reads this when it is loaded; a pool set later comes after what the first one already holds.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")
    import pyarrow as pa

    if "jemalloc" in pa.supported_memory_backends():
        pa.set_memory_pool(pa.jemalloc_memory_pool())


@contextmanager
def closing_run(run: ArchiveRun) -> Iterator[ArchiveRun]:
    """The run, closed at the end of the block."""
    try:
        yield run
    finally:
        run.close()
