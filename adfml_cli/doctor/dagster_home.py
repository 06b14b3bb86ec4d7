"""Dagster itself: the folder DAGSTER_HOME, what dagster.yaml sets, and its storage."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from adfml_cli.doctor.findings import Finding, Notes
from adfml_cli.doctor.running import Probe, Step

if TYPE_CHECKING:
    import dagster as dg

CHECK = "dagster"
_NOTES = Notes(CHECK)
_AS_IN_PROJECT = "Put the project's dagster.yaml into DAGSTER_HOME, and start daemon and webserver again."
CURSOR_KEY = "adfml_doctor"


class Home:
    """The Dagster instance, opened by the check that looks at it; others find it here, or nothing."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.instance: dg.DagsterInstance | None = None

    def build_probes(self) -> Iterator[Probe]:
        """One: nothing else of Dagster can be looked at before."""
        yield Probe(CHECK, "DAGSTER_HOME", self._check)

    def close(self) -> None:
        """Close the instance."""
        self._stack.close()

    def _check(self, step: Step) -> Iterator[Finding]:
        from adfml_cli.errors import CommandFailed
        from adfml_cli.workflow import open_instance

        home = os.environ.get("DAGSTER_HOME", "")
        step(f"opening the instance at {home}")
        try:
            instance = self._stack.enter_context(open_instance())
        except CommandFailed as error:
            yield _NOTES.failed("DAGSTER_HOME", str(error), "Set it, and put the project's dagster.yaml there.")
            return
        except Exception as error:
            cause = error.__cause__ or error
            found = f"{home}/dagster.yaml cannot be used: {type(cause).__name__}: {cause}."
            yield _NOTES.failed("dagster.yaml", found, "Compare it with the project's dagster.yaml.")
            return
        yield _NOTES.ok("DAGSTER_HOME", f"{home}, with its dagster.yaml.")
        yield from check_coordinator(instance)
        yield from check_run_settings(instance)
        step("reading and writing Dagster's storage")
        yield from check_storage(instance)
        self.instance = instance


def check_coordinator(instance: dg.DagsterInstance) -> Iterator[Finding]:
    """Whether runs that wait for remote jobs are tagged, and held in the queue."""
    from sensors.run_coordinator import HoldingRunCoordinator
    from sensors.tags import REMOTE_JOB_TAG, WAITING

    coordinator = instance.run_coordinator
    if not isinstance(coordinator, HoldingRunCoordinator):
        found = f"Runs go through {type(coordinator).__name__}, not through HoldingRunCoordinator: none would wait."
        yield _NOTES.failed("run coordinator", found, f"run_coordinator in dagster.yaml. {_AS_IN_PROJECT}")
        return
    queue = instance.get_concurrency_config().run_queue_config
    limits: Sequence[Mapping[str, Any]] = list(queue.tag_concurrency_limits) if queue else []
    held = [one for one in limits if one.get("key") == REMOTE_JOB_TAG and one.get("value") == WAITING]
    if not held or held[0].get("limit") != 0:
        limit = f"a limit of {held[0].get('limit')}" if held else "no limit"
        found = f"HoldingRunCoordinator is installed, and there is {limit} on runs tagged {REMOTE_JOB_TAG}: {WAITING}."
        advice = f"tag_concurrency_limits in dagster.yaml: key {REMOTE_JOB_TAG}, value {WAITING}, limit 0."
        yield _NOTES.failed("run coordinator", found, f"{advice} {_AS_IN_PROJECT}")
        return
    most = queue.max_concurrent_runs if queue else None
    found = f"HoldingRunCoordinator holds runs that wait for remote jobs; at most {most} others run at once."
    yield _NOTES.ok("run coordinator", found)


def check_run_settings(instance: dg.DagsterInstance) -> Iterator[Finding]:
    """Whether runs whose process died are noticed, and sensors do not delay each other."""
    if instance.run_monitoring_enabled:
        yield _NOTES.ok("run monitoring", f"Looks every {instance.run_monitoring_poll_interval_seconds} s.")
    else:
        found = "Is off: a run whose process died stays STARTED for ever, and so does what waits for it."
        yield _NOTES.failed("run monitoring", found, f"run_monitoring in dagster.yaml: enabled: true. {_AS_IN_PROJECT}")
    if not instance.run_retries_enabled:
        found = "Are off: a run whose process died is not tried again."
        yield _NOTES.warning("run retries", found, f"run_retries in dagster.yaml: enabled: true. {_AS_IN_PROJECT}")
    if not (instance.get_sensor_settings() or {}).get("use_threads"):
        found = "Run one after the other: a slow one delays the polling of remote jobs."
        yield _NOTES.warning("sensors", found, f"sensors in dagster.yaml: use_threads: true. {_AS_IN_PROJECT}")


def check_storage(instance: dg.DagsterInstance) -> Iterator[Finding]:
    """Whether Dagster's storage can be read and written, and is of the installed version."""
    from resources.environment import read_environment

    began = time.monotonic()
    parts = {
        "runs": instance.run_storage,
        "events": instance.event_log_storage,
        "schedules": instance.schedule_storage,
    }
    instance.get_runs(limit=1)
    instance.all_instigator_state()
    instance.run_storage.set_cursor_values({CURSOR_KEY: str(int(time.time()))})
    older = []
    for name, part in parts.items():
        revision = part.alembic_version() if part is not None else None
        if revision is not None and revision[0] != revision[1] and revision[0] not in (revision[1] or ()):
            older.append(name)
    kind = type(instance.run_storage).__name__
    if older:
        found = f"{kind}: the tables of {', '.join(older)} are of another version of Dagster."
        yield _NOTES.failed("storage", found, "Stop daemon and webserver, and run: dagster instance migrate")
        return
    if "sqlite" in kind.lower() and read_environment().name == "production":
        found = f"{kind} in production: one writer at a time, on one machine."
        yield _NOTES.warning("storage", found, "Use PostgreSQL: docs/production.md has its dagster.yaml.")
        return
    took = (time.monotonic() - began) * 1000
    yield _NOTES.ok("storage", f"{kind}: read and written in {took:,.0f} ms, its tables are of this version.")
