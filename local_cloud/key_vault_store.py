"""The secrets of the local cloud's key vault: every version of each, in the state folder's database."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from local_cloud.state import Database

_SECRETS = """
CREATE TABLE IF NOT EXISTS vault_secrets (
  number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL COLLATE NOCASE, version TEXT NOT NULL UNIQUE,
  value TEXT NOT NULL, content_type TEXT, tags TEXT NOT NULL, enabled INTEGER NOT NULL, not_before INTEGER,
  expires INTEGER, created INTEGER NOT NULL, updated INTEGER NOT NULL
)
"""
_COLUMNS = "name, version, value, content_type, tags, enabled, not_before, expires, created, updated"


@dataclass(frozen=True)
class Secret:
    """A version of a secret. Times are epoch seconds, UTC. The value is in no representation of it."""

    name: str
    version: str
    value: str
    content_type: str | None
    tags: Mapping[str, str]
    enabled: bool
    not_before: int | None
    expires: int | None
    created: int
    updated: int

    def __repr__(self) -> str:
        """Name and version."""
        return f"Secret({self.name}/{self.version})"


@dataclass(frozen=True)
class Properties:
    """What is set beside a secret's value; None: as it is, or as a new secret has it. Times are epoch seconds, UTC."""

    content_type: str | None
    tags: Mapping[str, str] | None
    enabled: bool | None
    not_before: int | None
    expires: int | None

    def to_columns(self) -> dict[str, Any]:
        """The columns that are set."""
        tags = None if self.tags is None else json.dumps(self.tags)
        return {name: value for name, value in {**vars(self), "tags": tags}.items() if value is not None}


class SecretStore:
    """Secrets by name, whatever its case, and version."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create([_SECRETS])

    def add(self, name: str, value: str, properties: Properties) -> Secret:
        """A new version: the newest from now on."""
        now = int(time.time())
        new = {"name": name, "version": uuid.uuid4().hex, "value": value, "created": now, "updated": now}
        row = {**new, "tags": "{}", "enabled": True, **properties.to_columns()}
        columns, places = ", ".join(row), ", ".join(f":{column}" for column in row)
        with self._database.transaction() as connection:
            connection.execute(
                f"INSERT INTO vault_secrets ({columns}) VALUES ({places})",  # noqa: S608 - names of this module
                row,
            )
        return self.list_versions(name)[-1]

    def change(self, secret: Secret, properties: Properties) -> Secret:
        """Set properties of a version; those that are not given stay."""
        kept = {**properties.to_columns(), "updated": int(time.time())}
        changes = ", ".join(f"{column} = ?" for column in kept)
        with self._database.transaction() as connection:
            connection.execute(
                f"UPDATE vault_secrets SET {changes} WHERE version = ?",  # noqa: S608 - names of this module
                (*kept.values(), secret.version),
            )
        return next(one for one in self.list_versions(secret.name) if one.version == secret.version)

    def find(self, name: str, version: str) -> Secret | None:
        """A version of a secret, "" for its newest; None where there is none."""
        found = [one for one in self.list_versions(name) if version in ("", one.version)]
        return found[-1] if found else None

    def list_versions(self, name: str) -> list[Secret]:
        """All versions of a secret, the oldest first."""
        return self._select("WHERE name = ? ORDER BY number", name)

    def list_newest(self) -> list[Secret]:
        """The newest version of every secret."""
        return self._select("WHERE number IN (SELECT max(number) FROM vault_secrets GROUP BY name) ORDER BY name")

    def _select(self, rest: str, *values: Any) -> list[Secret]:
        rows = self._database.rows(f"SELECT {_COLUMNS} FROM vault_secrets {rest}", values)  # noqa: S608 - as above
        return [
            Secret(**{**dict(row), "tags": json.loads(row["tags"]), "enabled": bool(row["enabled"])}) for row in rows
        ]
