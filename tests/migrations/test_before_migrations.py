"""A database that was made before there were migrations is recognised, completed, and upgraded."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from resources.control import build_control_engine
from resources.control_errors import NotAControlDatabase
from resources.ledger import Ledger
from resources.migrations import revisions
from resources.migrations.history import first_tables
from resources.migrations.upgrading import Upgrade, upgrade, write_pending_sql
from tests.migrations.conftest import REVISIONS, fill, list_differences, read_rows, read_version
from tests.migrations.test_upgrade import run_script
from tests.test_ledger import open_job

# What the very first version made of the ledger: without leases, groups, facts and the registry of models.
LATER = {
    "adfml_remote_jobs": {"sender", "group_key", "parent_key", "refusals", "facts"},
    "adfml_model_versions": {"findings"},
    "adfml_model_alias_changes": {"action"},
    "adfml_retrainings": {"backfill_id"},
}
FIRST_TABLES = {"adfml_deployments", "adfml_remote_jobs", "adfml_model_aliases"}


def make_old(engine: sa.Engine, *, oldest: bool) -> None:
    """What the code before the migrations made: its last version, or its first."""
    tables = first_tables()
    if not oldest:
        tables.create_all(engine)
        return
    old = sa.MetaData()
    for table in tables.sorted_tables:
        copy = table.to_metadata(old)
        for name in LATER.get(table.name, set()):
            copy.indexes -= {index for index in copy.indexes if name in index.columns}
            copy._columns.remove(copy.c[name])
    old.create_all(engine, [old.tables[name] for name in FIRST_TABLES])
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE adfml_watermark_intervals (source VARCHAR(300) PRIMARY KEY)"))


@pytest.mark.parametrize("way", ["upgrade", "open", "dry run"])
def test_the_last_version_before_them_is_recognised(engine: sa.Engine, url: str, way: str) -> None:
    make_old(engine, oldest=False)
    rows = fill(engine)
    if way == "upgrade":
        assert upgrade(engine) == Upgrade(None, adopted=True, applied=tuple(REVISIONS[1:]))
    elif way == "open":
        build_control_engine(url).dispose()
    else:
        run_script(engine, write_pending_sql(engine))
    assert read_version(engine) == revisions.HEAD
    assert list_differences(engine) == []
    for table, wanted in rows.items():
        assert sorted(map(str, read_rows(engine, table, list(wanted[0])))) == sorted(map(str, wanted)), table


@pytest.mark.parametrize("way", ["upgrade", "dry run"])
def test_the_first_version_of_all_gets_what_came_later(engine: sa.Engine, way: str) -> None:
    make_old(engine, oldest=True)
    rows = fill(engine)
    if way == "upgrade":
        upgrade(engine)
    else:
        run_script(engine, write_pending_sql(engine))
    assert {str(difference[1].name) for difference in list_differences(engine)} == {"adfml_watermark_intervals"}
    for table, wanted in rows.items():
        assert read_rows(engine, table, list(wanted[0])) == wanted
    assert open_job(Ledger(engine)).attempt == 1


def test_a_foreign_table_of_the_same_name_is_not_taken_for_ours(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE adfml_deployments (name VARCHAR(10))"))
    with pytest.raises(NotAControlDatabase, match=r"adfml_deployments has no column id\. Check ADFML_CONTROL_URL"):
        upgrade(engine)
    assert sa.inspect(engine).get_table_names() == ["adfml_deployments"]


def test_a_source_database_that_keeps_its_own_watermarks_may_be_the_control_database_too(engine: sa.Engine) -> None:
    first_tables().tables["ArchiveWatermark"].create(engine)
    upgrade(engine)
    assert list_differences(engine) == []
