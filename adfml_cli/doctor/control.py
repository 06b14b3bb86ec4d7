"""The control database: reached, its tables as this version has them, writable; and what its ledger says of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from adfml_cli.doctor.findings import Finding, Notes, join_names
from adfml_cli.doctor.privileges import find_missing, read_login
from adfml_cli.doctor.running import Probe, Step

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from resources.remote_jobs import RemoteJob

CHECK, JOBS = "control", "jobs"
_NOTES, _JOBS = Notes(CHECK), Notes(JOBS)
_CONNECT_SECONDS = 8
_WRITES = ("SELECT", "INSERT", "UPDATE", "DELETE")

OVERDUE = timedelta(minutes=10)
"""How long after its deadline, or its last look, a job is stuck: the sensor looks every few seconds."""
UNSENT = timedelta(minutes=15)
"""How long after its lease a job may still be unsent."""


def build_probes() -> Iterator[Probe]:
    """One for the database, one for the jobs in its ledger."""
    yield Probe(CHECK, "control database", check_control)
    yield Probe(JOBS, "ledger", check_jobs)


def open_engine(step: Step) -> Engine:
    """The control database as it is: `ControlDatabase` would make what is missing.

    Raises:
        SettingMissing, SettingInvalid, Refused, Unreachable: ADFML_CONTROL_URL.
    """
    from resources.database import build_engine, describe_address
    from resources.settings import CONTROL

    step(f"reading {CONTROL.name}")
    engine = build_engine(CONTROL.read(), CONTROL, _CONNECT_SECONDS)
    step(f"connecting to {describe_address(engine)}")
    return engine


def check_control(step: Step) -> Iterator[Finding]:
    """The control database."""
    from resources.database import describe_address, open_connection
    from resources.settings import CONTROL

    engine = open_engine(step)
    if is_missing_file(engine):
        yield _NOTES.warning(
            "control database",
            f"{describe_address(engine)} does not exist yet; it is made on first use.",
            f"Nothing, on a new deployment; otherwise check the path in {CONTROL.name}.",
        )
        return
    with open_connection(engine, "control", CONTROL) as connection:
        login = read_login(connection)
        connection.rollback()
        where = f"{login.server} at {describe_address(engine)}, signed in as {login.name}."
        yield _NOTES.ok("control database", where)
        step("comparing its tables with those of this version")
        yield judge_revision(connection)
        yield from compare_tables(connection)


def judge_revision(connection: Connection) -> Finding:
    """Whether this version of adfml can use the database as it is, or brings it to its own revision by itself."""
    from resources.control_tables import metadata
    from resources.migrations import revisions
    from resources.migrations.history import is_additive, list_pending

    found = revisions.find_revision(connection)
    at = f"Is at revision {found.revision}" if found.revision else "Was made before there were revisions"
    if found.is_usable:
        newer = f", which revision {revisions.HEAD} can use" if found.is_newer else ""
        return _NOTES.ok("revision", f"{at}{newer}.")
    if found.is_newer:
        return _NOTES.failed(
            "revision",
            f"{at}, and this version of adfml knows up to {revisions.HEAD}: a newer version has changed it.",
            "Install that version here, too, or restore the backup made before its `adfml upgrade`.",
        )
    if found.revision is None and not revisions.list_own_tables(connection, metadata):
        return _NOTES.warning("revision", "There are no tables yet; they are made on first use.", "Nothing.")
    needed = f"{at}, and this version of adfml needs {revisions.HEAD}"
    if all(is_additive(one) for one in list_pending(found.revision or revisions.FIRST)):
        advice = "Nothing: it is brought there when it is next opened. `adfml upgrade` does so now."
        return _NOTES.warning("revision", f"{needed}, which only adds to it.", advice)
    advice = "`adfml upgrade --dry-run` shows the change; make a backup, end the daemon, and run `adfml upgrade`."
    return _NOTES.failed("revision", f"{needed}.", advice)


def is_missing_file(engine: Engine) -> bool:
    """Whether it is a SQLite file that is not there."""
    from pathlib import Path

    path = engine.url.database
    return engine.dialect.name == "sqlite" and bool(path) and path != ":memory:" and not Path(str(path)).is_file()


def compare_tables(connection: Connection) -> Iterator[Finding]:
    """What tables at this version's revision lack of what they should have, and whether they can be written."""
    import sqlalchemy as sa

    from resources.control_tables import metadata
    from resources.migrations import revisions

    if not revisions.find_revision(connection).is_usable:
        return  # said of the revision
    inspector = sa.inspect(connection)
    there = set(inspector.get_table_names())
    wanted = metadata.tables.values()
    lacking = [table.name for table in wanted if table.name not in there]
    for table in wanted:
        if table.name in there:
            columns = {column["name"] for column in inspector.get_columns(table.name)}
            lacking += [f"{table.name}.{column.name}" for column in table.columns if column.name not in columns]
    if lacking:
        found = f"They lack {join_names(sorted(lacking))}, which their revision has: somebody changed them by hand."
        yield _NOTES.failed("tables", found, "Restore the control database from its backup.")
        return
    unwritable = [table.name for table in wanted if find_missing(connection, None, table.name, _WRITES)]
    if unwritable:
        yield _NOTES.failed(
            "tables",
            f"This login may not write {join_names(unwritable)}.",
            f"Grant it {', '.join(_WRITES)} on them; on SQLite the right to write the file and its folder.",
        )
        return
    yield _NOTES.ok("tables", f"All {len(wanted)} are there, as this version has them, and can be written.")


def check_jobs(step: Step) -> Iterator[Finding]:
    """Jobs that are outstanding and of which nothing is heard."""
    import sqlalchemy as sa

    from resources.control import utc_now
    from resources.control_tables import remote_jobs
    from resources.database import open_connection
    from resources.ledger import Ledger
    from resources.settings import CONTROL

    engine = open_engine(step)
    if is_missing_file(engine):
        yield _JOBS.ok("ledger", "There is no control database yet, and so no job.")
        return
    with open_connection(engine, "control", CONTROL) as connection:
        inspector = sa.inspect(connection)
        there = inspector.has_table(remote_jobs.name)
        known = {column["name"] for column in inspector.get_columns(remote_jobs.name)} if there else set()
    if not known:
        yield _JOBS.ok("ledger", "It is empty.")
        return
    if not known >= {column.name for column in remote_jobs.columns}:
        yield _JOBS.failed("ledger", "Its table is not this version's.", "See the check control.")
        return
    step("reading the ledger")
    jobs = Ledger(engine).list_outstanding()
    stuck = [finding for job in jobs if (finding := judge_job(job, utc_now())) is not None]
    yield from stuck
    if not stuck:
        yield _JOBS.ok("ledger", f"{len(jobs)} jobs are outstanding, none of them is stuck.")


def judge_job(job: RemoteJob, now: datetime) -> Finding | None:
    """Why nothing is heard of a job; None: it is as it should be."""
    key, page = job.submission_key, f" ({job.url})" if job.url else ""
    show = f"`adfml jobs show '{key}'` says more; `adfml jobs cancel` ends it."
    if job.deadline_at + OVERDUE < now:
        since = f"{job.deadline_at:%Y-%m-%d %H:%M}"
        found = f"Is {job.state} past its deadline of {since} UTC{page}: its sensor has not cancelled it."
        return _JOBS.failed(key, found, f"Check the sensor {job.service}_jobs (checks daemons and sensors). {show}")
    if job.refusals and job.state == "submitting":
        found = f"Waits for room at {job.service}, which refused it {job.refusals} times: {job.message or 'quota'}."
        return _JOBS.warning(key, found, "Raise the quota, or wait: it is sent again by itself.")
    if job.state == "submitting" and job.submitter_lease_until + UNSENT < now:
        found = f"Was to be submitted at {job.created_at:%Y-%m-%d %H:%M} UTC, and nothing says that it was."
        advice = f"The sensor {job.service}_jobs finds or repeats it: see checks daemons and sensors. {show}"
        return _JOBS.failed(key, found, advice)
    looked = job.polled_at or job.submitted_at or job.created_at
    if job.state == "running" and looked + OVERDUE < now:
        found = f"Runs{page}, and was last looked at on {looked:%Y-%m-%d %H:%M} UTC."
        return _JOBS.failed(key, found, f"The sensor {job.service}_jobs does not poll: see checks daemons and sensors.")
    return None
