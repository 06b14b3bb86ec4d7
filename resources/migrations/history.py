"""The revisions in `versions/`, in order, and what alembic does with them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData

FOLDER = Path(__file__).parent
VERSIONS = FOLDER / "versions"


def build_config(written: TextIO | None = None, **attributes: Any) -> Config:
    """alembic's configuration; `connection` or `dialect` are read by env.py, SQL is written into `written`."""
    config = Config(attributes=attributes, output_buffer=written)
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("version_locations", str(VERSIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def list_pending(revision: str | None) -> list[Script]:
    """The revisions after one, oldest first; after None: all."""
    script = ScriptDirectory.from_config(build_config())
    return list(reversed(list(script.iterate_revisions("head", revision or "base"))))


def is_additive(revision: Script) -> bool:
    """Whether code of the revision before can go on using the database after it."""
    return bool(revision.module.additive)


def find_compatible_from(script: ScriptDirectory, revision: str) -> str:
    """The oldest revision whose code can use a database at `revision`."""
    for found in script.iterate_revisions(revision, "base"):
        if not is_additive(found):
            return str(found.revision)
    raise AssertionError("the first revision adds to nothing")


def first_tables() -> MetaData:
    """The tables of the first revision, as they were."""
    return list_pending(None)[0].module.metadata


def migrate(connection: Connection) -> None:
    """Run what is pending, in the connection's transaction."""
    command.upgrade(build_config(connection=connection), "head")


def stamp(connection: Connection, revision: str) -> None:
    """Say that a database is at a revision."""
    command.stamp(build_config(connection=connection), revision)


def write_sql(dialect: str, start: str | None) -> str:
    """What is pending after a revision (None: everything), as SQL of a dialect."""
    written = io.StringIO()
    config = build_config(written, dialect=dialect)
    command.upgrade(config, f"{start}:head" if start else "head", sql=True)
    return written.getvalue()


def write_stamp_sql(dialect: str, revision: str) -> str:
    """What says that a database is at a revision, as SQL of a dialect."""
    written = io.StringIO()
    command.stamp(build_config(written, dialect=dialect), revision, sql=True)
    return written.getvalue()
