"""`adfml upgrade`: the control database's tables, brought to those of this version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adfml_cli.output import print_json, say

if TYPE_CHECKING:
    from sqlalchemy.engine import URL


def run(*, dry_run: bool, as_json: bool) -> None:
    """Upgrade the control database at ADFML_CONTROL_URL, or print the SQL that would do it.

    Raises:
        ResourceError: it does not answer, is newer than this version, is not ours, or its login may not change tables.
    """
    from resources.control import connect_control
    from resources.database import describe_address, parse_url
    from resources.migrations import history, revisions
    from resources.migrations.upgrading import upgrade, write_pending_sql
    from resources.settings import CONTROL

    address = CONTROL.read()
    if dry_run and _is_missing_file(parse_url(address, CONTROL)):
        # Connecting would make the file.
        _print_sql(parse_url(address, CONTROL).render_as_string(), history.write_sql("sqlite", None), as_json=as_json)
        return
    engine = connect_control(address)
    where = describe_address(engine)
    if dry_run:
        _print_sql(where, write_pending_sql(engine), as_json=as_json)
        return
    done = upgrade(engine)
    if as_json:
        facts: dict[str, Any] = {"found": done.found, "adopted": done.adopted, "applied": list(done.applied)}
        print_json({"database": where, "needed": revisions.HEAD, **facts})
    elif done.found is None and not done.adopted:
        say(f"{where}: made, at revision {revisions.HEAD}.")
    elif done.applied or done.adopted:
        before = "made before there were revisions" if done.adopted else f"at revision {done.found}"
        say(f"{where}: was {before}, applied {', '.join(done.applied) or 'none'}, is at revision {revisions.HEAD}.")
    else:
        say(f"{where} is at revision {done.found}: nothing is to be done.")


def _print_sql(where: str, text: str, *, as_json: bool) -> None:
    from resources.migrations import revisions

    if as_json:
        print_json({"database": where, "needed": revisions.HEAD, "sql": text})
    else:
        say(text or f"-- {where} is at revision {revisions.HEAD}: nothing is to be done.")


def _is_missing_file(url: URL) -> bool:
    path = url.database
    return url.get_backend_name() == "sqlite" and bool(path) and path != ":memory:" and not Path(str(path)).is_file()
