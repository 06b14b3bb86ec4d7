"""Every version's control database becomes exactly what this version declares, with its rows."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from resources.control import build_control_engine
from resources.control_tables import schema_changes
from resources.migrations import revisions
from resources.migrations.history import find_compatible_from
from resources.migrations.upgrading import Upgrade, require_tables, upgrade, write_pending_sql
from tests.migrations.conftest import REVISIONS, fill, list_differences, make_at, read_rows, read_version


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_database_of_every_revision_becomes_what_is_declared_and_keeps_its_rows(
    engine: sa.Engine, revision: str
) -> None:
    make_at(engine, revision)
    rows = fill(engine)
    assert len(rows) >= 8
    done = upgrade(engine)
    assert done == Upgrade(revision, adopted=False, applied=tuple(REVISIONS[REVISIONS.index(revision) + 1 :]))
    assert list_differences(engine) == []
    assert read_version(engine) == revisions.HEAD
    for table, wanted in rows.items():
        kept = read_rows(engine, table, list(wanted[0]))
        assert [row for row in kept if row in wanted] == wanted, table
        assert len(kept) == len(wanted) or table == "adfml_schema_changes"
    assert upgrade(engine).applied == ()


def test_a_new_database_is_made_as_the_revisions_would_make_it(url: str) -> None:
    engine = build_control_engine(url)
    assert list_differences(engine) == []
    assert read_version(engine) == revisions.HEAD
    assert upgrade(engine).applied == ()
    with engine.connect() as connection:
        ((revision, since, _, by),) = connection.execute(sa.select(schema_changes))
    assert (revision, since) == (revisions.HEAD, revisions.COMPATIBLE_FROM)
    assert by.startswith("adfml ")


def test_the_constants_say_what_the_revisions_are() -> None:
    from alembic.script import ScriptDirectory

    from resources.migrations.history import build_config

    script = ScriptDirectory.from_config(build_config())
    assert [script.get_base(), *script.get_heads()] == [revisions.FIRST, revisions.HEAD], "one line, without branches"
    assert find_compatible_from(script, revisions.HEAD) == revisions.COMPATIBLE_FROM
    assert [f"{number:04}" for number in range(1, len(REVISIONS) + 1)] == REVISIONS


def test_opening_applies_what_only_adds(engine: sa.Engine) -> None:
    make_at(engine, revisions.COMPATIBLE_FROM)
    require_tables(engine)
    assert list_differences(engine) == []


def test_opening_a_database_that_has_its_tables_asks_it_once(url: str) -> None:
    build_control_engine(url).dispose()
    asked: list[str] = []
    listen = lambda *arguments: asked.append(arguments[2])  # noqa: E731
    sa.event.listen(sa.engine.Engine, "before_cursor_execute", listen)
    try:
        build_control_engine(url).dispose()
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", listen)
    asked = [statement for statement in asked if "version_num" in statement or "CREATE" in statement.upper()]
    assert len(asked) == 1


@pytest.mark.parametrize("revision", [None, *REVISIONS[:-1]])
def test_the_sql_of_a_dry_run_changes_nothing_and_does_the_same_when_it_is_run(
    engine: sa.Engine, revision: str | None
) -> None:
    if revision is not None:
        make_at(engine, revision)
    before = sa.inspect(engine).get_table_names()
    text = write_pending_sql(engine)
    assert sa.inspect(engine).get_table_names() == before
    run_script(engine, text)
    assert list_differences(engine) == []
    assert read_version(engine) == revisions.HEAD
    assert read_rows(engine, "adfml_schema_changes", ["revision"])[-1] == {"revision": revisions.HEAD}
    assert upgrade(engine).applied == ()
    assert write_pending_sql(engine) == ""


def run_script(engine: sa.Engine, text: str) -> None:
    """SQL as an administrator pastes it."""
    connection = engine.raw_connection()
    if engine.dialect.name == "sqlite":
        connection.executescript(text)  # type: ignore[attr-defined]
    else:
        cursor = connection.cursor()
        cursor.execute(text)
        connection.commit()
    connection.close()
