"""The pages of a day in the lake: written before the table is updated, put together to the day's files afterwards.

A page's file is what makes a killed run lose nothing: once it is there, its rows are never sent again, and the update
that may have been missing is made up for by the next run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from adfml_assets import lake_layout
from adfml_assets.archive.current import open_duckdb
from adfml_assets.duckdb_sql import quote
from adfml_assets.text.language_scoring import RowOutcome
from resources.errors import UnexpectedValue
from resources.lake import Lake, WrittenFile
from resources.manifest import Manifest, build_manifest, commit_manifest, list_data_paths, read_manifest

if TYPE_CHECKING:
    import pyarrow as pa
    import sqlalchemy as sa
    from duckdb import DuckDBPyConnection

PREDICTIONS = "predictions"
REJECTS = "rejects"
SCORES = ("sentiment", "positive", "neutral", "negative", "parts", "characters", "text_records", "model_version")
REASONS = ("code", "reason")
SCORED_AT = "scored_at"
RESERVED = (*SCORES, *REASONS, SCORED_AT)


@dataclass(frozen=True)
class Page:
    """A page's file: the day it belongs to, and its path."""

    day: str
    path: str


@dataclass(frozen=True)
class PageStore:
    """The pages of one `ScoredText`.

    Attributes:
        lake: where they are.
        name: of the declaration.
        keys: the columns of the key, with their Arrow types: see `describe_keys`.
        table: `database.schema.table`, for messages.
    """

    lake: Lake
    name: str
    keys: Mapping[str, pa.DataType]
    table: str

    def build_folder(self, day: str) -> str:
        """Where a day's files lie, and its pages below them."""
        return lake_layout.text_scores_folder(self.name, day)

    def write(self, day: str, stamp: datetime, number: int, rows: Sequence[RowOutcome]) -> pa.Table:
        """Write a page; it is whole or not there. Returns it.

        Raises:
            UnexpectedValue: a key's values are of several types.
        """
        page = self.build_table(rows)
        folder = f"{self.build_folder(day)}/pages"
        # Numbers of six digits: names in order are pages in order.
        self.lake.write_table(f"{folder}/{lake_layout.format_timestamp(stamp)}_{number:06d}.parquet", page)
        return page

    def build_table(self, rows: Sequence[RowOutcome]) -> pa.Table:
        """Rows as Arrow: the key, the scores (NULL in rejects) and the reason (NULL in scored rows)."""
        import pyarrow as pa

        schema = self.build_schema()
        keys = [
            self._build_key(name, kind, [row.key[position] for row in rows])
            for position, (name, kind) in enumerate(self.keys.items())
        ]
        values: dict[str, list[Any]] = {
            name: [row.parts if name == "parts" else getattr(row.scores, name, None) for row in rows] for name in SCORES
        }
        values["code"] = [row.rejected.code if row.rejected else None for row in rows]
        values["reason"] = [row.rejected.message if row.rejected else None for row in rows]
        values[SCORED_AT] = [row.scored_at for row in rows]
        others = [pa.array(column, schema.field(name).type) for name, column in values.items()]
        return pa.Table.from_arrays([*keys, *others], schema=schema)

    def _build_key(self, name: str, kind: pa.DataType, values: Sequence[Any]) -> pa.Array:
        import pyarrow as pa

        try:
            return pa.array(list(map(str, values)) if kind == pa.string() else values, kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise UnexpectedValue(self.table, name, str(kind), str(error)) from None

    def build_schema(self) -> pa.Schema:
        """The columns of a page."""
        import pyarrow as pa

        kinds = [pa.string(), *[pa.float64()] * 3, *[pa.int64()] * 3, pa.string()]
        scores = zip(SCORES, kinds, strict=True)
        reasons = ((name, pa.string()) for name in REASONS)
        return pa.schema([*self.keys.items(), *scores, *reasons, (SCORED_AT, pa.timestamp("us", tz="UTC"))])

    def list_pages(self) -> list[Page]:
        """Every page that is in no day's files yet, oldest first: there are some only after a run that was killed."""
        root = self.build_folder("")
        found = [path for path in self.lake.list_files(root.rstrip("/")) if "/pages/" in path]
        days = [(path.removeprefix(root).partition("/pages/")[0].strip("/"), path) for path in found]
        pages = [Page(day.replace("/", "-"), path) for day, path in days]
        return sorted(pages, key=lambda page: page.path.rpartition("/")[2])

    def list_paths(self, day: str) -> list[str]:
        """The pages of one day that are not in its files yet, oldest first."""
        return sorted(self.lake.list_files(f"{self.build_folder(day)}/pages"))

    def read(self, page: Page) -> pa.Table:
        """A page's rows."""
        return self.lake.read_table(page.path)

    def put_together(
        self, day: str, stamp: datetime, *, asset: str, now: datetime, run_id: str, facts: dict[str, Any]
    ) -> Manifest:
        """Make a day's pages part of its files, and them visible; then the pages are no longer needed.

        What was in the day's files before stays; of a row that was scored twice on a day (somebody set it to 0 again)
        the later outcome does. Without pages the files stay as they are; without files either, empty ones are written.
        """
        folder = self.build_folder(day)
        standing = read_manifest(self.lake, folder)
        pages = self.list_paths(day)
        if standing is not None and not pages:
            return standing
        old = list_data_paths(folder, standing) if standing else []
        # A name of its own from the second time on: until the manifest is there, it names the files that were.
        suffix = f"_{lake_layout.format_timestamp(stamp)}" if standing else ""
        files, schema, totals = self._write(folder, suffix, [*old, *pages])
        manifest = build_manifest(
            asset=asset,
            partition=day,
            files=files,
            schema=schema,
            written_at=now,
            run_id=run_id,
            source={"table": self.table},
            facts={**totals, **facts},
        )
        commit_manifest(self.lake, folder, manifest)
        for path in pages:
            self.lake.delete(path)
        return manifest

    def _write(
        self, folder: str, suffix: str, paths: Sequence[str]
    ) -> tuple[list[WrittenFile], pa.Schema, dict[str, Any]]:
        """The day's two files from old files and pages, the first one's schema, and what they add up to."""
        import pyarrow as pa

        schema, keys = self.build_schema(), ", ".join(map(quote, self.keys))
        scored = [name for name in schema.names if name not in REASONS]
        contents = [
            (PREDICTIONS, scored, "IS NULL"),
            (REJECTS, [*self.keys, *REASONS, "parts", SCORED_AT], "IS NOT NULL"),
        ]
        written: list[WrittenFile] = []
        with ExitStack() as stack, open_duckdb() as connection:
            connection.register("no_outcome", schema.empty_table())
            connection.execute("CREATE TABLE outcomes AS FROM no_outcome")
            if paths:
                parts = [str(stack.enter_context(self.lake.local_copy(path))) for path in paths]
                # Of a row's outcomes the one in the last file.
                newest = f"row_number() OVER (PARTITION BY {keys} ORDER BY list_position($parts, filename) DESC) = 1"
                files = "read_parquet($parts, filename = true, union_by_name = true, hive_partitioning = false)"
                query = f"SELECT * EXCLUDE (filename) FROM {files} QUALIFY {newest}"  # noqa: S608 - keys are quoted
                connection.execute(f"INSERT INTO outcomes BY NAME {query}", {"parts": parts})
            for file, names, condition in contents:
                wanted = pa.schema([schema.field(name) for name in names])
                columns = ", ".join(map(quote, names))
                query = f"SELECT {columns} FROM outcomes WHERE code {condition} ORDER BY {keys}"  # noqa: S608
                with self.lake.write_parquet(f"{folder}/{file}{suffix}.parquet", wanted) as sink:
                    for batch in connection.execute(query).to_arrow_reader(100_000):
                        sink.write(pa.Table.from_batches([batch]).cast(wanted))
                assert sink.written is not None  # noqa: S101 - set when the block ended without an exception
                written.append(sink.written)
            totals = _add_up(connection)
        columns_of_scores = pa.schema([schema.field(name) for name in scored])
        return written, columns_of_scores, {"scored": written[0].rows, "rejected": written[1].rows, **totals}


def _add_up(connection: DuckDBPyConnection) -> dict[str, Any]:
    """What was billed for a day's rows, their sentiments, and why the others were rejected."""
    billed = "SELECT coalesce(sum(characters), 0), coalesce(sum(text_records), 0) FROM outcomes"
    characters, records = connection.execute(billed).fetchone() or (0, 0)
    sentiments = "SELECT sentiment, count(*) FROM outcomes WHERE code IS NULL GROUP BY ALL ORDER BY ALL"
    reasons = "SELECT code, count(*) FROM outcomes WHERE code IS NOT NULL GROUP BY ALL ORDER BY ALL"
    return {
        "characters": int(characters),
        "text_records": int(records),
        "sentiments": dict(connection.execute(sentiments).fetchall()),
        "reject_codes": dict(connection.execute(reasons).fetchall()),
    }


def describe_keys(table: sa.Table, keys: Sequence[str]) -> dict[str, pa.DataType]:
    """The Arrow types of a table's key: those that Parquet has no exact type for (decimals, UUIDs) are text."""
    import pyarrow as pa

    kinds: list[tuple[type, pa.DataType]] = [
        (bool, pa.bool_()),
        (int, pa.int64()),
        (float, pa.float64()),
        (bytes, pa.binary()),
        (datetime, pa.timestamp("us")),
        (date, pa.date32()),
    ]
    found = {}
    for key in keys:
        kind = _find_python_type(table.c[key])
        found[key] = next((arrow for python, arrow in kinds if issubclass(kind, python)), pa.string())
        if kind is datetime and getattr(table.c[key].type, "timezone", False):
            found[key] = pa.timestamp("us", tz="UTC")
    return found


def _find_python_type(column: sa.Column[Any]) -> type:
    try:
        return column.type.python_type
    except NotImplementedError:
        return str
