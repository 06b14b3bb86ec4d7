"""Whether the daemon on this machine knows the declarations yet: it reads them when it starts, and once a minute."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

RELOAD_SECONDS = 90.0
"""Dagster's daemon starts its code anew every 60 seconds (`RELOAD_WORKSPACE_INTERVAL`), looks every 5, and loads it."""

_COMMANDS = {"dagster-daemon", "dagster._daemon", "demo.daemon"}


def await_reload(say: Callable[[str], None], sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait until the daemon of this DAGSTER_HOME that runs here has read declarations that were changed since it began.

    A backfill of an asset that the daemon does not know fails at once. Where the daemon is on another machine, nothing
    here tells what it knows: there declarations and daemon are replaced together.

    Args:
        say: takes a line about how long it is.
    """
    import adfml_assets.defs

    seconds = find_wait(Path(os.environ["DAGSTER_HOME"]), Path(adfml_assets.defs.__path__[0]), time.time())
    if seconds > 0:
        say(f"Declarations have changed; the daemon reads them once a minute: launching in {seconds:.0f} s.")
        sleep(seconds)


def find_wait(home: Path, declared: Path, now: float) -> float:
    """The seconds until a daemon that runs here has surely read the declarations; 0: it has, or there is none.

    Args:
        home: the daemon's DAGSTER_HOME.
        declared: the folder of the declarations.
        now: seconds since 1970.
    """
    changed = max(
        (path.stat().st_mtime for path in declared.rglob("*") if path.is_file() and path.suffix != ".pyc"), default=0.0
    )
    left = changed + RELOAD_SECONDS - now
    # Of a file from the future nobody knows when it was changed.
    if not 0 < left <= RELOAD_SECONDS or not any(began < changed for began in _list_daemons(home)):
        return 0.0
    return left


def _list_daemons(home: Path) -> list[float]:
    """When the daemons of a DAGSTER_HOME began that run on this machine, in seconds since 1970."""
    import psutil

    found = []
    for process in psutil.process_iter(["cmdline", "create_time"]):
        words = {Path(word).name for word in process.info["cmdline"] or ()}
        if not words & _COMMANDS:
            continue
        try:
            own = process.environ().get("DAGSTER_HOME", "")
        except psutil.Error:
            continue  # it has ended, or is somebody else's
        if own and Path(own).resolve() == home.resolve():
            found.append(float(process.info["create_time"]))
    return found
