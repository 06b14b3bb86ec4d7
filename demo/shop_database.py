"""How a shop database comes to be: built beside its place, marked with what it was built from, then moved there."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray
from sqlalchemy import Table

from demo.shop_schema import (
    SCHEMA_VERSION,
    PlantedFault,
    ShopFileError,
    ShopSummary,
    create_statements,
    insert_statement,
    reading,
    shop_metadata,
    summarise,
)

logger = logging.getLogger(__name__)

APPLICATION_ID = 0x53484F50
"""SQLite's application_id of every shop database ("SHOP"); a file without it is never replaced."""

LOCK_SECONDS = 10.0
"""How long a rebuild waits for other processes to let go of the database it replaces."""

ROWS_A_BATCH = 50_000

Columns = dict[str, NDArray[Any]]
"""One array a column: datetime64 becomes the stored text, a masked value becomes NULL."""

Fill = Callable[[sqlite3.Connection], None]
"""Puts the rows into the empty tables; runs inside one transaction that its caller commits."""


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a database's content; equal recipes make equal tables.

    Attributes:
        kind: which builder, e.g. "sample_shop".
        builder_version: raised by a builder whenever it would make other rows from the same arguments.
        arguments: its arguments, as JSON values.
        source: size in bytes and sha256 of the file it reads, None if it reads none.
    """

    kind: str
    builder_version: int
    arguments: dict[str, int | str]
    source: dict[str, int | str] | None = None

    @property
    def mark(self) -> int:
        """A 31-bit number of the recipe and the schema version; the database carries it as its user_version."""
        facts = json.dumps({"schema_version": SCHEMA_VERSION, **asdict(self)}, sort_keys=True)
        return int.from_bytes(hashlib.sha256(facts.encode()).digest()[:4], "big") & 0x7FFFFFFF


def fingerprint_path(database: Path) -> Path:
    """The fingerprint file of a database: its name with `.json` appended, in the same folder."""
    return database.with_name(database.name + ".json")


def build(database: Path, recipe: Recipe, fill: Fill, faults: tuple[PlantedFault, ...] = ()) -> ShopSummary:
    """Builds a shop database in a temporary file and puts it in the place of the one that was there.

    A build that dies on any line leaves the old database as it was; its temporary file goes with the next build.
    One that dies between database and fingerprint leaves a whole new database whose mark no fingerprint matches.

    Args:
        database: where it shall stand; missing folders are made.
        recipe: what it is built from.
        fill: puts in the rows.
        faults: the faults `fill` plants, for the fingerprint.

    Raises:
        ShopFileError: the file there is no shop database, is damaged, or is in use.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    _refuse_foreign_file(database)
    with _temporary_file(database) as unfinished:
        with closing(sqlite3.connect(unfinished, isolation_level=None)) as connection:
            # Nobody reads the file before it is moved, so a journal would guard nothing.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {recipe.mark}")
            connection.execute("BEGIN")
            for statement in create_statements():
                connection.execute(statement)
            fill(connection)
            connection.execute("COMMIT")
        summary = summarise(unfinished, faults)
        _settle_old_database(database)
        _move(unfinished, database)
    _write_fingerprint(database, recipe, summary)
    return summary


def ensure(database: Path, recipe: Recipe, build_now: Callable[[], ShopSummary]) -> ShopSummary:
    """The summary of the database if it was built from this recipe, else that of `build_now()`.

    Rows added or changed since the build do not count as a difference: they are the user's. A missing table does.

    Raises:
        ShopFileError: the file there is no shop database, is damaged, or is in use.
    """
    _refuse_foreign_file(database)
    difference, faults = _difference(database, recipe)
    if difference is None:
        return summarise(database, faults)
    logger.info("Building %s: %s.", database, difference)
    return build_now()


def _difference(database: Path, recipe: Recipe) -> tuple[str | None, tuple[PlantedFault, ...]]:
    """Why the database is not the recipe's (None if it is), and the faults its fingerprint names."""
    if not database.exists() or database.stat().st_size == 0:
        return "there is none yet", ()
    try:
        known = json.loads(fingerprint_path(database).read_text(encoding="utf-8"))
        faults = tuple(_fault_from_json(fault) for fault in known["planted_faults"])
        recorded = known["mark"]
    except FileNotFoundError:
        return "it has no fingerprint file", ()
    except (ValueError, KeyError, TypeError):
        return "its fingerprint file is unreadable", ()
    if recorded != recipe.mark:
        return "it was built from other arguments, another source or another version", ()
    with reading(database) as connection:
        if connection.execute("PRAGMA user_version").fetchone()[0] != recipe.mark:
            return "it is not the database its fingerprint file describes", ()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    missing = sorted(set(shop_metadata.tables) - tables)
    return (f"it has no table {', '.join(missing)}", ()) if missing else (None, faults)


def _refuse_foreign_file(database: Path) -> None:
    """Raises unless the place is free, an empty file, or holds a database that carries our application_id."""
    remedy = "Choose another path, or move that file away."
    if database.is_dir():
        raise ShopFileError(str(database), "it is a folder", "the path of a database file", remedy)
    if not database.exists():
        return
    with database.open("rb") as file:
        header = file.read(72)
    if header and not (header.startswith(b"SQLite format 3\0") and header[68:] == APPLICATION_ID.to_bytes(4, "big")):
        raise ShopFileError(str(database), "it was not made by this demo", "a shop database or nothing there", remedy)


@contextmanager
def _temporary_file(target: Path) -> Iterator[Path]:
    """A free name beside `target`, gone afterwards; takes away what builds that were killed left there."""
    prefix = f".{target.name}.{socket.gethostname()}."
    for leftover in target.parent.glob(f"{escape(prefix)}*.tmp"):
        if not _is_being_written(leftover, int(leftover.name.removeprefix(prefix).split(".")[0])):
            leftover.unlink(missing_ok=True)
    unfinished = target.parent / f"{prefix}{os.getpid()}.{secrets.token_hex(4)}.tmp"
    try:
        yield unfinished
    finally:
        unfinished.unlink(missing_ok=True)


def _is_being_written(file: Path, process: int) -> bool:
    try:
        # A process younger than the file got the dead one's number.
        return psutil.Process(process).create_time() <= file.stat().st_mtime
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False


def _settle_old_database(database: Path) -> None:
    """Leaves nothing beside the old database that SQLite would play back into the new one."""
    if database.exists() and database.stat().st_size > 0:
        try:
            with closing(sqlite3.connect(database, timeout=LOCK_SECONDS, isolation_level=None)) as connection:
                connection.execute("PRAGMA journal_mode = DELETE")
                connection.execute("BEGIN EXCLUSIVE")
                connection.execute("ROLLBACK")
        except sqlite3.DatabaseError as error:
            raise ShopFileError(
                str(database),
                f"it cannot be replaced ({error})",
                "a whole shop database that no other process is using",
                "End the processes that use it; if it is damaged, delete it. Then run again.",
            ) from error
    for ending in ("-journal", "-wal", "-shm"):
        database.with_name(database.name + ending).unlink(missing_ok=True)


def _move(unfinished: Path, target: Path) -> None:
    with unfinished.open("r+b") as file:
        os.fsync(file.fileno())
    unfinished.replace(target)
    if os.name == "posix":  # elsewhere a folder cannot be opened, and need not be
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _write_fingerprint(database: Path, recipe: Recipe, summary: ShopSummary) -> None:
    facts = {
        "schema_version": SCHEMA_VERSION,
        **asdict(recipe),
        "mark": recipe.mark,
        "rows": summary.rows,
        "planted_faults": [
            {**asdict(fault), "start": fault.start.isoformat(), "end": fault.end.isoformat()}
            for fault in summary.planted_faults
        ],
    }
    target = fingerprint_path(database)
    with _temporary_file(target) as unfinished:
        unfinished.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        _move(unfinished, target)


def _fault_from_json(fact: dict[str, Any]) -> PlantedFault:
    start, end = datetime.fromisoformat(fact["start"]), datetime.fromisoformat(fact["end"])
    return PlantedFault(fact["machine"], start, end, tuple(fact["sensors"]))


def insert_columns(connection: sqlite3.Connection, table: Table, columns: Columns) -> None:
    """Inserts arrays of one length, a batch at a time, so that few rows are Python objects at once.

    Args:
        connection: the database.
        table: one of the shop's tables.
        columns: by column name, in the table's order; columns left out take their default.
    """
    statement = insert_statement(table, tuple(columns))
    rows = len(next(iter(columns.values())))
    for start in range(0, rows, ROWS_A_BATCH):
        batch = [python_values(column[start : start + ROWS_A_BATCH]) for column in columns.values()]
        connection.executemany(statement, zip(*batch, strict=True))


def python_values(column: NDArray[Any]) -> list[Any]:
    """A column as SQLite takes it: moments as stored text, masked values as None."""
    if column.dtype.kind != "M":
        return column.tolist()
    stamps = np.datetime_as_string(column.astype("datetime64[us]"))
    # NumPy writes a T where SQLAlchemy's DATETIME for SQLite writes a space.
    stamps.view("U1").reshape(len(stamps), -1)[:, 10] = " "
    return stamps.tolist()
