"""Tables that the patterns choose and nobody declared: archived all the same, since tomorrow they may be gone."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from adfml_assets.archive.discovery import find_undeclared
from adfml_assets.archive.plan import ArchivePlan
from adfml_assets.archive.run import ArchiveRun, closing_run
from adfml_assets.archive.snapshot import take_snapshot
from adfml_assets.archive.tables import SourceTable, TableRules
from adfml_assets.archive_metadata import describe_archived
from adfml_assets.asset_keys import archive_key
from adfml_assets.failures import tell_failures
from resources.control import utc_now
from resources.database import Databases
from resources.servers.base import TableName


def list_new_tables(plan: ArchivePlan, databases: Databases) -> list[TableName]:
    """The tables at the server that the plan's patterns choose and the code location does not know. One query.

    Raises:
        Unreachable: the database does not answer.
    """
    found = plan.patterns.choose(plan.open_server(databases).list_tables())
    return find_undeclared(found, (table.source.name for table in plan.tables.values()))


def archive_new_tables(plan: ArchivePlan, run: ArchiveRun, context: Any) -> Mapping[str, Exception]:
    """Archive the tables that the code location does not know yet, under the keys they will have once it is reloaded.

    Their materialisations are events of the run: they show in the catalogue at once.

    Returns:
        Those that failed, by name.
    """
    failures: dict[str, Exception] = {}
    for name in find_undeclared(
        plan.patterns.choose(run.server.list_tables()), (table.source.name for table in plan.tables.values())
    ):
        source = SourceTable(plan.database, name.schema, name.table)
        key = archive_key(plan.database, name.schema, name.table)
        if key in plan.tables:
            # Another table has this key: its own partition says so once the code location is reloaded.
            context.log.warning("%s: not archived, %s is another table's asset.", source.full_name, key)
            continue
        try:
            archived = take_snapshot(run, source, TableRules(), run.today, asset=key.to_user_string())
        except Exception as error:
            context.log.error("%s: %s", source.full_name, error)
            failures[source.full_name] = error
            continue
        context.log.info("%s is new: archived. Reload the code location to see it as an asset.", source.full_name)
        metadata = describe_archived(run.lake, archived)
        context.log_event(dg.AssetMaterialization(key, metadata=metadata, partition=run.today))
    return failures


def build_new_tables_job(plan: ArchivePlan) -> dg.JobDefinition:
    """A job that archives what is new, now; the sensor of new tables asks for it."""

    @dg.op(
        name=f"archive_new_tables_of_{plan.database}",
        required_resource_keys={"databases", "lake", "control"},
        description="Archives the tables that the patterns choose and the code location does not know yet.",
    )
    @tell_failures
    def archive(context: dg.OpExecutionContext) -> None:
        resources = context.resources
        opened = plan.open_run(
            resources.databases, resources.lake, resources.control, now=utc_now(), run_id=context.run_id
        )
        with closing_run(opened) as run:
            failures = archive_new_tables(plan, run, context)
        if failures:
            lines = "\n".join(f"- {name}: {error}" for name, error in sorted(failures.items()))
            raise dg.Failure(f"{len(failures)} new tables were not archived.\n{lines}", allow_retries=False)

    @dg.job(name=f"new_tables_of_{plan.database}", description=f"Archives new tables of `{plan.database}` at once.")
    def new_tables() -> None:
        archive()

    return new_tables
