"""What one declaration archives of one database in one mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import dagster as dg

from adfml_assets.archive.run import ArchiveRun, CopyOptions
from adfml_assets.archive.tables import SourceTable, TableRules
from resources.control import ControlDatabase
from resources.database import Databases, describe_address
from resources.lake import Lake
from resources.secret_values import DatabaseSecrets
from resources.servers.base import Mismatches, Server
from resources.servers.opening import open_server
from resources.servers.patterns import TablePatterns
from resources.settings import database_setting

ArchiveMode = Literal["full", "incremental"]


@dataclass(frozen=True)
class PlannedTable:
    """A table, its rules, and the tables that share its name as an asset where it is not the first of them."""

    source: SourceTable
    rules: TableRules
    collides_with: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArchivePlan:
    """The tables of one database that are archived in one mode, and how.

    Attributes:
        database: its name.
        mode: `full` or `incremental`.
        tables: by asset key.
        patterns: which further tables are archived as soon as they are there.
        adds_new_tables: whether a run archives tables that the patterns choose and nobody declared yet.
        options: compression and the like.
        concurrency: tables copied at once.
        mismatches: what becomes of values that are not of their declared type.
        watermarks_in: where the table ArchiveWatermark is.
        secrets: the Key Vault secrets of its address.
        adf_pipeline, owners: for the descriptions.
    """

    database: str
    mode: ArchiveMode
    tables: Mapping[dg.AssetKey, PlannedTable]
    patterns: TablePatterns = field(default_factory=TablePatterns)
    adds_new_tables: bool = False
    options: CopyOptions = field(default_factory=CopyOptions)
    concurrency: int = 10
    mismatches: Mismatches = "fail"
    watermarks_in: Literal["control", "source"] = "control"
    secrets: DatabaseSecrets = field(default_factory=DatabaseSecrets)
    adf_pipeline: str | None = None
    owners: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the assets' step: `full_archive_of_shop`."""
        return f"{self.mode}_archive_of_{self.database}"

    def open_server(self, databases: Databases) -> Server:
        """The database as a source."""
        return open_server(
            databases.engine(self.database, self.secrets),
            self.database,
            database_setting(self.database),
            self.mismatches,
        )

    def open_run(
        self, databases: Databases, lake: Lake, control: ControlDatabase, *, now: Any, run_id: str
    ) -> ArchiveRun:
        """A run over the plan's tables; close it at the end."""
        engine = databases.engine(self.database, self.secrets)
        return ArchiveRun(
            lake,
            control,
            self.open_server(databases),
            address=describe_address(engine),
            now=now,
            run_id=run_id,
            options=self.options,
            intervals=control.find_intervals(self.database, engine if self.watermarks_in == "source" else None),
        )
