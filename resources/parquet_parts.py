"""Writing a table's rows as one or several Parquet files, encoded in a thread beside the caller."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any

from resources.parquet_encoding import choose_settings, require_columns
from resources.parquet_files import CountingFile, ParquetOptions, WrittenFile, build_writer

if TYPE_CHECKING:
    import pyarrow as pa

OpenFile = Callable[[str], AbstractContextManager[Any]]
"""Opens a new file of the lake by its path: visible when the block ends well, never otherwise."""


class Abandoned(Exception):
    """The block that writes has ended with an exception: nothing more is to be written."""


class PartedSink:
    """Where a table's record batches go.

    Attributes:
        schema: of every batch.
        files: those that are whole; all of them once the block has ended.
    """

    def __init__(
        self, build_path: Callable[[int], str], schema: pa.Schema, options: ParquetOptions, open_file: OpenFile
    ) -> None:
        self.schema = schema
        self.files: list[WrittenFile] = []
        self._handover = _Handover(options.row_group_bytes)
        self._encoder = _Encoder(build_path, schema, options, open_file, self.files)
        self._rows = 0

    @property
    def rows(self) -> int:
        """Rows handed over so far."""
        return self._rows

    @property
    def bytes_written(self) -> int:
        """Bytes of Parquet given to the store so far, in all files."""
        return self._encoder.bytes_written

    def write(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Append rows, as many as there are; the batch must not be changed afterwards. Waits while too much is held.

        Raises:
            ValueError: the batch has another schema.
            Exception: what stopped an earlier batch from being written.
        """
        import pyarrow as pa

        if not batch.schema.equals(self.schema):
            raise ValueError(f"The rows are not of the file's schema: expected {self.schema}, found {batch.schema}.")
        for piece in [batch] if isinstance(batch, pa.RecordBatch) else batch.to_batches():
            if piece.num_rows:
                self._handover.put(piece)
                self._rows += piece.num_rows

    def _run(self) -> None:
        try:
            with ExitStack() as stack:
                self._encoder.encode(self._handover.take_all(), stack)
        except BaseException as error:
            self._handover.fail(error)


@contextmanager
def write_parts(
    build_path: Callable[[int], str],
    schema: pa.Schema,
    options: ParquetOptions,
    open_file: OpenFile,
    delete: Callable[[str], None],
) -> Iterator[PartedSink]:
    """A sink whose files are whole when the block ends; after an exception there are none."""
    require_columns(schema, options)
    sink = PartedSink(build_path, schema, options, open_file)
    thread = Thread(target=sink._run, name="parquet", daemon=True)
    thread.start()
    try:
        yield sink
        sink._handover.end()
        thread.join()
        sink._handover.check()
    except BaseException:
        sink._handover.fail(Abandoned())
        thread.join()
        for file in sink.files:
            # The first error is the one to tell; what stays is named by no manifest and removed by the next run.
            with suppress(Exception):
                delete(file.path)
        sink.files.clear()
        raise


class _Handover:
    """Batches on their way to the thread that encodes: at most `limit` bytes, or one batch."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._batches: deque[pa.RecordBatch] = deque()
        self._ended = False
        self._error: BaseException | None = None
        self._changed = Condition()

    def put(self, batch: pa.RecordBatch) -> None:
        """Hand a batch over, when there is room.

        Raises:
            Exception: the encoder's.
        """
        size = batch.nbytes
        with self._changed:
            while self._batches and self._held + size > self._limit and self._error is None:
                self._changed.wait()
            self.check()
            self._batches.append(batch)
            self._held += size
            self._changed.notify_all()

    def take_all(self) -> Iterator[pa.RecordBatch]:
        """The batches until the end.

        Raises:
            Abandoned: the caller's block ended with an exception.
        """
        while True:
            with self._changed:
                while not self._batches and not self._ended and self._error is None:
                    self._changed.wait()
                self.check()
                if not self._batches:
                    return
                batch = self._batches.popleft()
                self._held -= batch.nbytes
                self._changed.notify_all()
            yield batch
            del batch

    def end(self) -> None:
        """No batch will follow."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Nothing more can or shall be written; the first reason stays."""
        with self._changed:
            self._error = self._error or error
            self._batches.clear()
            self._changed.notify_all()

    def check(self) -> None:
        """Raise the reason why nothing more is written, if there is one."""
        if self._error is not None:
            raise self._error


class _Encoder:
    """Collects batches to row groups and writes them, a file after the other; lives in the thread."""

    def __init__(
        self,
        build_path: Callable[[int], str],
        schema: pa.Schema,
        options: ParquetOptions,
        open_file: OpenFile,
        files: list[WrittenFile],
    ) -> None:
        self._build_path = build_path
        self._schema = schema
        self._options = options
        self._open_file = open_file
        self._files = files
        self._settings: dict[str, Any] | None = None
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._part: _Part | None = None
        self._closed_bytes = 0

    @property
    def bytes_written(self) -> int:
        """Bytes of all files so far."""
        part = self._part
        return self._closed_bytes + (part.file.size if part else 0)

    def encode(self, batches: Iterator[pa.RecordBatch], stack: ExitStack) -> None:
        """Write all batches; a file that is open when this fails is aborted with the stack."""
        for batch in batches:
            self._collect(batch, stack)
        if self._pending or (not self._files and self._part is None):
            self._write_group(stack)
        self._close_part(stack)

    def _collect(self, batch: pa.RecordBatch, stack: ExitStack) -> None:
        limit = self._options.row_group_bytes
        size = batch.nbytes
        if self._pending_bytes + size > limit and size > limit // 4 and batch.num_rows > 1:
            # Halves, not a share by the average row: one wide row among narrow ones moves every average.
            half = batch.num_rows // 2
            self._collect(batch.slice(0, half), stack)
            self._collect(batch.slice(half), stack)
            return
        if self._pending and self._pending_bytes + size > limit:
            self._write_group(stack)
        self._pending.append(batch)
        self._pending_bytes += size

    def _write_group(self, stack: ExitStack) -> None:
        import pyarrow as pa

        group = pa.Table.from_batches(self._pending, self._schema)
        self._pending, self._pending_bytes = [], 0
        if self._settings is None:
            self._settings = choose_settings(group, self._options)
        if self._part is not None and self._part.file.size >= self._options.file_bytes:
            self._close_part(stack)
        if self._part is None:
            path = self._build_path(len(self._files))
            self._part = stack.enter_context(_open_part(path, self._schema, self._settings, self._open_file))
        self._part.write(group)

    def _close_part(self, stack: ExitStack) -> None:
        part = self._part
        if part is not None:
            part.writer.close()
            stack.close()
            self._part = None
            self._closed_bytes += part.file.size
            self._files.append(WrittenFile(part.path, part.rows, part.file.size, part.file.digest.hexdigest()))


class _Part:
    """One file while it is written."""

    def __init__(self, path: str, file: CountingFile, writer: Any) -> None:
        self.path = path
        self.file = file
        self.writer = writer
        self.rows = 0

    def write(self, group: pa.Table) -> None:
        """Append a row group; one of no rows only leaves the schema."""
        if group.num_rows:
            self.writer.write_table(group, row_group_size=group.num_rows)
            self.rows += group.num_rows


@contextmanager
def _open_part(path: str, schema: pa.Schema, settings: dict[str, Any], open_file: OpenFile) -> Iterator[_Part]:
    with open_file(path) as remote:
        file = CountingFile(remote)
        try:
            yield _Part(path, file, build_writer(file, schema, settings))
        except BaseException:
            file.abandoned = True
            raise
