"""The errors of this package: one family, each with its facts as attributes."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from resources.help import DocumentedError


class AdfmlError(DocumentedError):
    """An asset cannot hold what it says."""


class DeclarationInvalid(AdfmlError, dg.DagsterInvalidDefinitionError, ValueError):
    """A value in a declaration cannot be.

    Raised by a declaration's `__post_init__` it is told with file and line (`adfml_assets.declarations`).

    Attributes:
        declaration: what is declared.
        field: its path in the object that raises it, such as `fit.window_days`.
        found, expected: the value, and what it has to be.
    """

    def __init__(self, declaration: str, field: str, found: object, expected: str) -> None:
        self.declaration = declaration
        self.field = field
        self.found = found
        self.expected = expected
        super().__init__(f"{declaration}: {field} is {found!r}; expected {expected}.")


class PastSnapshot(AdfmlError):
    """A full snapshot of a past day was asked for, and none was taken that day."""

    def __init__(self, table: str, day: str, today: str) -> None:
        self.table = table
        self.day = day
        self.today = today
        when = "has passed" if day < today else "has not come yet"
        super().__init__(
            f"{table}, snapshot_date={day}: no snapshot was taken, and the day {when} (today is {today}, UTC). A full "
            "snapshot can only be taken now; copying today's rows under another date would be wrong. Materialise "
            f"{today}, or use the incremental archive where the table has one."
        )


class MissedIncrement(AdfmlError):
    """An incremental partition of another day than today was asked for, and no interval was recorded for it."""

    def __init__(self, table: str, day: str, today: str) -> None:
        self.table = table
        self.day = day
        self.today = today
        super().__init__(
            f"{table}, {day}: no interval was recorded on that day. Its rows are in the next recorded interval: "
            f"materialise {today} (today, UTC) and nothing is missed."
        )


class WatermarkWentBack(AdfmlError):
    """The largest watermark in the source is smaller than the one already archived."""

    def __init__(self, table: str, column: str, archived: str, found: str) -> None:
        self.table = table
        self.column = column
        self.archived = archived
        self.found = found
        super().__init__(
            f"{table}: the largest {column} is {found}, but rows up to {archived} are archived already. Rows were "
            "deleted or the table was restored; take a full snapshot, and start the table's intervals anew."
        )


class WatermarkMissing(AdfmlError):
    """A table is archived incrementally, and no watermark is declared for it."""

    def __init__(self, table: str) -> None:
        self.table = table
        super().__init__(
            f"{table} is archived incrementally, but names no watermark column. Give it `watermark: <column>`, or "
            "archive it with `mode: full`."
        )


class WrongWatermark(AdfmlError):
    """A watermark column is of a type that cannot be a watermark of the declared kind."""

    def __init__(self, table: str, column: str, kind: str, source_type: str) -> None:
        self.table = table
        self.column = column
        self.kind = kind
        self.source_type = source_type
        expected = {
            "datetime": "a date, datetime or timestamp column",
            "integer": "a column of whole numbers",
            "rowversion": "SQL Server's rowversion",
        }[kind]
        super().__init__(
            f"{table}.{column} is {source_type} and cannot be a watermark of kind {kind}: expected {expected}. Name "
            "another column, or set `watermark_kind` to what it is (datetime, integer, rowversion)."
        )


class RowsDiffer(AdfmlError):
    """A copy has not the rows that its source counted in the same state."""

    def __init__(self, table: str, copied: int, at_source: int) -> None:
        self.table = table
        self.copied = copied
        self.at_source = at_source
        super().__init__(
            f"{table}: {copied} rows were copied, but the source counts {at_source} in the same state. Nothing of it "
            "is visible. Materialise the partition again; if it stays so, the source is damaged: check it (SQLite: "
            "PRAGMA integrity_check, SQL Server: DBCC CHECKDB, PostgreSQL: amcheck)."
        )


class NothingArchived(AdfmlError):
    """A table's state as of a day was asked for, and nothing was archived up to then."""

    def __init__(self, table: str, day: str) -> None:
        self.table = table
        self.day = day
        super().__init__(
            f"{table}: neither a snapshot nor an incremental extract up to {day} is in the lake. Materialise one first."
        )


class NoKey(AdfmlError):
    """Rows of a table cannot be told apart: it has no primary key."""

    def __init__(self, table: str) -> None:
        self.table = table
        super().__init__(
            f"{table} has no primary key, so that its extracts cannot be put together to one state. Declare one at the "
            "source, or use full snapshots."
        )


class NameCollision(AdfmlError):
    """A table would become an asset that another table is already."""

    def __init__(self, table: str, asset: str, tables: Sequence[str]) -> None:
        self.table = table
        self.asset = asset
        self.tables = tuple(sorted(tables))
        super().__init__(
            f"{table} is not archived: tables {' and '.join(repr(name) for name in self.tables)} would be one asset, "
            f"because Dagster allows only letters, digits and _ in names (this one waits as {asset}). Declare it under "
            "`tables` with an `asset_name` of its own."
        )


class NothingToTrainOn(AdfmlError):
    """A split of the training data is empty."""

    def __init__(self, model: str, split: str, feature_dates: Sequence[str], needed_days: int) -> None:
        self.model = model
        self.split = split
        self.feature_dates = tuple(feature_dates)
        dates = list(feature_dates)
        shown = dates if len(dates) <= 12 else [*dates[:3], f"... ({len(dates) - 9} more) ...", *dates[-6:]]
        super().__init__(
            f"Model {model}: the {split} split has no rows. Dates to choose from: {', '.join(shown) or 'none'}; train, "
            f"validation and test need {needed_days} days each between them, and the test as many after it. Archive a "
            "longer history, ask for a longer period, or lower the label's days."
        )


class WrongResult(AdfmlError):
    """What a remote job left behind is not what was asked for."""

    def __init__(self, what: str, expected: str, found: str) -> None:
        self.what = what
        self.expected = expected
        self.found = found
        super().__init__(
            f"{what}: expected {expected}, found {found}. Nothing of it is used; materialise the job again, and look "
            "at the job's log if it stays so."
        )


class InvalidMode(AdfmlError):
    """The end-to-end workflow's Mode is neither train nor score (the pipeline's Fail activity FailInvalidMode)."""

    code = "INVALID_MODE"

    def __init__(self, mode: str) -> None:
        self.mode = mode
        super().__init__(f"{self.code}: {mode!r}. Expected: train or score")
