"""Everything that is stored in a folder, as bytes: files as they are, and what is packed in them unpacked."""

from __future__ import annotations

import base64
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote, quote_plus


def find_secrets(folders: Iterable[Path], planted: Mapping[str, str]) -> set[str]:
    """Where planted values show, in any form, as `name in file`."""
    forms = {name: list_forms(value) for name, value in planted.items()}
    found = set()
    for folder in folders:
        for where, data in read_everything(folder):
            found |= {f"{name} in {where}" for name, those in forms.items() if any(form in data for form in those)}
    return found


def list_forms(value: str) -> set[bytes]:
    """How a value may show: as it is, escaped, percent-encoded, and in base64 at any place of a longer text."""
    found = {value, repr(value)[1:-1], quote(value, safe=""), quote_plus(value), quote(value)}
    for before in ("", "a", "aa"):
        # The first group and the last characters also hold what is beside the value.
        encoded = base64.b64encode((before + value).encode()).decode().rstrip("=")[4 if before else 0 : -2]
        found |= {encoded, encoded.replace("+", "-").replace("/", "_")}
    return {form.encode() for form in found}


def read_everything(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file of a folder, or a file; what is packed also unpacked."""
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        yield path, data
        if data.startswith(b"SQLite format 3"):
            yield path, b"\n".join(_read_database(path))
        elif data.startswith(b"PAR1"):
            yield path, _read_parquet(path)


def _read_database(path: Path) -> Iterator[bytes]:
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    yield from _unpack(value)


def _unpack(value: object) -> Iterator[bytes]:
    data = value if isinstance(value, bytes) else str(value).encode()
    yield data
    with suppress(zlib.error):
        yield zlib.decompress(data)


def _read_parquet(path: Path) -> bytes:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return f"{table.schema.metadata} {table.to_pylist()}".encode()
