"""Choosing tables by patterns over `schema.table`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from resources.servers.base import TableName


@dataclass(frozen=True)
class TablePatterns:
    """Shell patterns (`*`, `?`, `[abc]`) over `schema.table`, case as at the server.

    Attributes:
        include: a table is chosen that one of these fits; empty: none is.
        exclude: unless one of these fits it.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def choose(self, tables: Iterable[TableName]) -> list[TableName]:
        """Those of the tables that the patterns choose, sorted."""
        return sorted(table for table in tables if self._fits(str(table)))

    def _fits(self, name: str) -> bool:
        included = any(fnmatchcase(name, pattern) for pattern in self.include)
        return included and not any(fnmatchcase(name, pattern) for pattern in self.exclude)
