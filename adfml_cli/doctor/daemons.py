"""What has to run by itself: daemons, polling sensors, schedules; and pools that nobody limited."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from adfml_cli.doctor.findings import Finding, Notes, join_names
from adfml_cli.doctor.running import Probe, Step

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick

    from adfml_cli.doctor.declared import Declared

DAEMONS, SENSORS, SCHEDULES, POOLS = "daemons", "sensors", "schedules", "pools"
SILENT_SECONDS = 300.0
"""A daemon says every half minute that it lives, a busy one later."""
_LATE_SECONDS = 600.0
_START = "dagster-daemon run -w workspace.yaml, under something that starts it again (docs/production.md)."
_TURN_ON = "Turn it on in the UI, or: dagster sensor start -w workspace.yaml"
_NOT_OPEN = "Dagster's instance could not be opened."
_NOT_LOADED = "The definitions could not be loaded."


def build_probes(
    instance: dg.DagsterInstance | None, repository: dg.RepositoryDefinition | None, declared: Declared
) -> Iterator[Probe]:
    """A probe each, or why it cannot be looked at."""
    if instance is None:
        for check in (DAEMONS, SENSORS, SCHEDULES, POOLS):
            yield Probe(check, check, _build_unknown(check, _NOT_OPEN, "See the check dagster."))
        return
    yield Probe(DAEMONS, "daemons", lambda step: check_daemons(instance, step))
    if repository is None:
        for check in (SENSORS, SCHEDULES, POOLS):
            yield Probe(check, check, _build_unknown(check, _NOT_LOADED, "See the check definitions."))
        return
    polled = _list_polled(declared)
    yield Probe(SENSORS, "sensors", lambda step: check_sensors(instance, repository, polled, step))
    yield Probe(SCHEDULES, "schedules", lambda step: check_schedules(instance, repository, step))
    yield Probe(POOLS, "pools", lambda step: check_pools(instance, repository, step))


def _build_unknown(check: str, found: str, advice: str) -> Any:
    return lambda _step: iter([Notes(check).failed(check, found, advice)])


def _list_polled(declared: Declared) -> list[str]:
    services = {
        "databricks": declared.databricks,
        "azure_ml_batch": declared.batch_endpoints,
        "openai_batch": declared.openai,
    }
    return [name for name, engines in services.items() if engines]


def check_daemons(instance: dg.DagsterInstance, step: Step) -> Iterator[Finding]:
    """Whether every daemon that this dagster.yaml needs has said lately that it lives."""
    notes = Notes(DAEMONS)
    step("reading heartbeats")
    heartbeats = instance.get_daemon_heartbeats()
    needed = instance.get_required_daemon_types()
    alive = []
    silent: list[str] = []
    for name in needed:
        beat = heartbeats.get(name)
        if beat is None or time.time() - beat.timestamp > SILENT_SECONDS:
            since = "never" if beat is None else f"{(time.time() - beat.timestamp) / 60:,.0f} minutes ago"
            silent.append(f"{name} (last seen {since})")
            continue
        alive.append(name)
        if beat.errors:
            message = beat.errors[0].message.strip().splitlines()[0]
            yield notes.warning(name, f"Lives, and reports an error: {message}", "See the daemon's log.")
    if silent:
        yield notes.failed("daemons", f"Do not run: {join_names(silent, 12)}.", f"Start the daemon: {_START}")
    elif alive:
        yield notes.ok(
            "daemons", f"All {len(alive)} that are needed have been seen within {SILENT_SECONDS / 60:.0f} min."
        )


def check_sensors(
    instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, polled: Sequence[str], step: Step
) -> Iterator[Finding]:
    """Whether the sensors that remote jobs wait for are on, and what the last tick of each said."""
    import dagster as dg
    from dagster._core.scheduler.instigation import InstigatorType

    notes = Notes(SENSORS)
    needed = {f"{service}_jobs" for service in polled}
    step("reading the sensors' states")
    states = _read_states(instance, InstigatorType.SENSOR)
    good = []
    sensors = {sensor.name: sensor for sensor in repository.sensor_defs}
    for name in sorted(needed - set(sensors)):
        found = "Is not among the definitions: nobody polls the jobs of its service."
        yield notes.failed(name, found, "See adfml_assets/definitions.py.")
    for name, sensor in sorted(sensors.items()):
        state = states.get(name)
        on = _is_on(state, sensor.default_status == dg.DefaultSensorStatus.RUNNING)
        if not on and name in needed:
            found = "Is off: remote jobs that have ended are not noticed, and their results never collected."
            yield notes.failed(name, found, f"{_TURN_ON} {name}")
        elif not on and sensor.default_status == dg.DefaultSensorStatus.RUNNING:
            found = "Somebody turned it off."
            yield notes.warning(name, found, f"{_TURN_ON} {name}")
        elif finding := _judge_tick(notes, name, _read_tick(instance, state), on, needed=name in needed):
            yield finding
        elif on:
            good.append(name)
    if good:
        yield notes.ok("sensors", f"Are on: {join_names(good, 12)}.")


def check_schedules(instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, step: Step) -> Iterator[Finding]:
    """Which schedules are on; in an environment where they should be, those that are off."""
    import dagster as dg
    from dagster._core.scheduler.instigation import InstigatorType

    from resources.environment import read_environment

    notes = Notes(SCHEDULES)
    step("reading the schedules' states")
    states = _read_states(instance, InstigatorType.SCHEDULE)
    wanted = read_environment().schedules_on
    on: list[str] = []
    off: list[str] = []
    for schedule in repository.schedule_defs:
        state = states.get(schedule.name)
        runs = _is_on(state, schedule.default_status == dg.DefaultScheduleStatus.RUNNING)
        (on if runs else off).append(schedule.name)
        if runs and (finding := _judge_tick(notes, schedule.name, _read_tick(instance, state), on=False, needed=False)):
            yield finding
    if off and wanted:
        found = f"Are off, where ADFML_ENVIRONMENT or ADFML_SCHEDULES has them on: {join_names(off)}."
        yield notes.warning(
            "schedules", found, "Turn them on in the UI, or: dagster schedule start -w workspace.yaml NAME"
        )
    elif on or off:
        which = f": {join_names(on)}" if on else ""
        yield notes.ok("schedules", f"{len(on)} of {len(on) + len(off)} are on{which}.")
    else:
        yield notes.unused("schedules", "None is declared.")


def _read_states(instance: dg.DagsterInstance, kind: Any) -> Mapping[str, InstigatorState]:
    return {state.instigator_name: state for state in instance.all_instigator_state(instigator_type=kind)}


def _is_on(state: InstigatorState | None, by_default: bool) -> bool:
    from dagster._core.scheduler.instigation import InstigatorStatus

    if state is None or state.status == InstigatorStatus.DECLARED_IN_CODE:
        return by_default
    return state.status != InstigatorStatus.STOPPED


def _read_tick(instance: dg.DagsterInstance, state: InstigatorState | None) -> InstigatorTick | None:
    if state is None:
        return None
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
    return ticks[0] if ticks else None


def _judge_tick(notes: Notes, name: str, tick: InstigatorTick | None, on: bool, *, needed: bool) -> Finding | None:
    """What is wrong with a last tick: it failed, or `on` and it was long ago."""
    from dagster._core.scheduler.instigation import TickStatus

    if tick is None:
        return None
    age = time.time() - tick.timestamp
    if tick.status == TickStatus.FAILURE:
        cause = tick.error.cause if tick.error and tick.error.cause else tick.error
        message = cause.message.strip().splitlines()[0] if cause else "no error"
        found = f"Its last tick failed, {age / 60:,.0f} minutes ago: {message}"
        advice = "The sensor's page in the UI has the whole error; it tries again by itself."
        return notes.failed(name, found, advice) if needed else notes.warning(name, found, advice)
    if on and age > _LATE_SECONDS:
        found = f"Is on, and its last tick was {age / 60:,.0f} minutes ago."
        return notes.warning(name, found, "See the check daemons, and the daemon's log.")
    return None


def check_pools(instance: dg.DagsterInstance, repository: dg.RepositoryDefinition, step: Step) -> Iterator[Finding]:
    """Pools that assets are in and that nobody gave a limit: they hold nothing back."""
    notes = Notes(POOLS)
    step("reading the pools' limits")
    graph = repository.asset_graph
    declared = {pool for key in graph.get_all_asset_keys() for pool in graph.get(key).pools or ()}
    if not declared:
        yield notes.unused("pools", "No asset is in one.")
        return
    default = instance.global_op_concurrency_default_limit
    limits = {one.name: one.limit for one in instance.event_log_storage.get_pool_limits()}
    free = sorted(pool for pool in declared if pool not in limits) if default is None else []
    if free:
        found = f"Have no limit, and hold nothing back: {join_names(free)}."
        advice = "dagster instance concurrency set NAME LIMIT, or concurrency.pools.default_limit in dagster.yaml."
        yield notes.warning("pools", found, advice)
        return
    shown = [f"{pool} {limits.get(pool, default)}" for pool in sorted(declared)]
    yield notes.ok("pools", f"Have limits: {join_names(shown, 12)}.")
