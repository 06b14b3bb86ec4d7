"""What opening refuses: a database that is too new, or older in a way that code would stumble over."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from resources.control import build_control_engine, utc_now
from resources.control_errors import DatabaseNewer, NotMigrated, UpgradeNeeded
from resources.control_tables import schema_changes
from resources.errors import Unreachable
from resources.migrations import history, revisions, upgrading
from resources.migrations.revisions import version_table
from resources.migrations.upgrading import upgrade
from tests.migrations.conftest import fill, make_at, read_rows, read_version
from tests.postgresql_server import RunningPostgresql, connect

NEXT = f"{int(revisions.HEAD) + 1:04}"
BREAKING = f'''
"""Every deployment gets a name."""

import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{revisions.HEAD}"
additive = False


def upgrade() -> None:
    with op.batch_alter_table("adfml_deployments") as batch:
        batch.alter_column("id", new_column_name="name", existing_type=sa.String(32), existing_nullable=False)
        batch.add_column(sa.Column("region", sa.String(20), nullable=False, server_default="west"))
    op.create_index("ix_adfml_deployments_region", "adfml_deployments", ["region"])
'''


@pytest.fixture
def breaking(tmp_path: Path) -> Path:
    """A folder of revisions: the project's, and one after them that renames a column."""
    folder = tmp_path / "versions"
    shutil.copytree(history.VERSIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / f"r{NEXT}_names.py").write_text(BREAKING)
    return folder


def use_breaking(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "VERSIONS", folder)
    monkeypatch.setattr(revisions, "HEAD", NEXT)
    monkeypatch.setattr(revisions, "COMPATIBLE_FROM", NEXT)


@pytest.mark.parametrize("age", ["made by revisions", "made before them"])
def test_a_change_that_older_code_would_stumble_over_waits_for_the_command(
    engine: sa.Engine, url: str, breaking: Path, age: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if age == "made by revisions":
        make_at(engine, revisions.HEAD)
        found = revisions.HEAD
    else:
        history.first_tables().create_all(engine)
        found = revisions.FIRST
    ids = [row["id"] for row in fill(engine)["adfml_deployments"]]
    tables = sa.inspect(engine).get_table_names()
    use_breaking(breaking, monkeypatch)
    with pytest.raises(UpgradeNeeded, match=rf"is at revision {found}, and .* needs {NEXT}: .*adfml upgrade --dry-run"):
        build_control_engine(url)
    assert sa.inspect(engine).get_table_names() == tables
    upgrade(engine)
    assert read_rows(engine, "adfml_deployments", ["name", "region"]) == [{"name": n, "region": "west"} for n in ids]
    build_control_engine(url).dispose()


def test_code_that_cannot_use_a_newer_database_says_so(
    engine: sa.Engine, url: str, breaking: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        use_breaking(breaking, newer)
        upgrade(engine)
    before = read_version(engine)
    for attempt in (build_control_engine, lambda address: upgrade(engine)):
        with pytest.raises(DatabaseNewer, match=rf"at revision {NEXT}, .* knows up to {revisions.HEAD}: a newer"):
            attempt(url)
    assert read_version(engine) == before


@pytest.mark.parametrize(("since", "usable"), [(revisions.HEAD, True), (NEXT, False), (None, False)])
def test_a_newer_database_that_only_has_more_is_used(
    engine: sa.Engine, url: str, since: str | None, usable: bool
) -> None:
    """While a new version is rolled out, runs of the old one go on."""
    upgrade(engine)
    with engine.begin() as connection:
        connection.execute(version_table.update().values(version_num=NEXT))
        if since is not None:
            row = {"revision": NEXT, "compatible_from": since, "applied_at": utc_now(), "applied_by": "adfml 9"}
            connection.execute(schema_changes.insert().values(row))
    if usable:
        build_control_engine(url).dispose()
        assert upgrade(engine).applied == ()
    else:
        with pytest.raises(DatabaseNewer):
            build_control_engine(url)


def test_a_login_that_may_not_make_tables_is_told_to_use_another(postgresql: RunningPostgresql) -> None:
    with postgresql.database() as url, postgresql.role("LOGIN PASSWORD 'x'") as role:
        address = url.set(username=role).render_as_string(hide_password=False)
        wanted = r"permission denied.*; nothing was\. Run `adfml upgrade` with a login that may"
        with pytest.raises(NotMigrated, match=wanted):
            build_control_engine(address)


def test_tables_that_somebody_holds_are_waited_for_and_then_left(
    postgresql: RunningPostgresql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upgrading, "LOCK_SECONDS", 1)
    with postgresql.database() as url:
        with connect(url) as other:
            other.execute(f"SELECT pg_advisory_lock({upgrading._LOCK_NUMBER})")
            with pytest.raises(NotMigrated, match=r"lock timeout.*Another process holds them: try again"):
                build_control_engine(url.render_as_string(hide_password=False))
        build_control_engine(url.render_as_string(hide_password=False)).dispose()


def test_a_file_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unreachable, match=r"Database 'control' at .*file/control\.sqlite cannot be reached"):
        build_control_engine(f"sqlite:///{tmp_path}/file/control.sqlite")
