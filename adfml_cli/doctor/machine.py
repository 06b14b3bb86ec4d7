"""This machine and its settings: installed packages, variables that nothing reads, time zones."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from adfml_cli.doctor.findings import Finding, Notes, join_names
from adfml_cli.doctor.running import Probe, Step

if TYPE_CHECKING:
    from adfml_cli.doctor.declared import Declared

VERSIONS, SETTINGS = "versions", "settings"
_VERSIONS, _SETTINGS = Notes(VERSIONS), Notes(SETTINGS)
PACKAGE = "adfml"
CONSTRAINTS = Path(__file__).resolve().parent.parent.parent / "constraints.txt"
_NOT_OURS = ("ADFML_TEST_", "ADFML_DEMO_")


def build_probes(declared: Declared) -> Iterator[Probe]:
    """One for the packages, one for the settings, one for the time zones."""
    yield Probe(VERSIONS, "packages", check_versions)
    yield Probe(SETTINGS, "settings", lambda step: check_settings(declared, os.environ, step))
    yield Probe(SETTINGS, "time zones", lambda step: check_time_zones(declared, step))


def check_versions(step: Step) -> Iterator[Finding]:
    """Installed packages, against what adfml needs and against the versions it is tested with."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    step("reading what is installed")
    try:
        needed = [Requirement(text) for text in requires(PACKAGE) or ()]
    except PackageNotFoundError:
        yield _VERSIONS.failed("packages", f"{PACKAGE} is not installed.", "pip install -e . -c constraints.txt")
        return
    wrong = 0
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    for one in needed:
        try:
            installed = version(one.name)
        except PackageNotFoundError:
            installed = ""
        if not installed or not one.specifier.contains(installed, prereleases=True):
            wrong += 1
            found = f"{one.name} {installed or 'is missing'}; adfml needs {one.specifier or 'any version'}."
            advice = f"pip install '{one.name}{one.specifier}' -c constraints.txt"
            yield _VERSIONS.failed(one.name, found, advice)
    if not wrong:
        yield _VERSIONS.ok("packages", f"All {len(needed)} that adfml needs are there, in the versions it takes.")
    if CONSTRAINTS.is_file():
        yield compare_constraints(CONSTRAINTS.read_text("utf-8"))


def compare_constraints(text: str) -> Finding:
    """The installed versions against the tested ones; packages that are not installed are no difference."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement

    differing = []
    for line in text.splitlines():
        if not (stripped := line.partition("#")[0].strip()):
            continue
        tested = Requirement(stripped)
        if tested.marker is not None and not tested.marker.evaluate():
            continue  # of another version of Python
        try:
            installed = version(tested.name)
        except PackageNotFoundError:
            continue
        if not tested.specifier.contains(installed, prereleases=True):
            differing.append(f"{tested.name} {installed} ({str(tested.specifier).removeprefix('==')})")
    if not differing:
        return _VERSIONS.ok("constraints", "The installed versions are those of constraints.txt.")
    found = f"Others than those of constraints.txt (in brackets): {join_names(differing)}."
    return _VERSIONS.warning("constraints", found, "pip install -e . -c constraints.txt installs the tested ones.")


def check_settings(declared: Declared, environment: Mapping[str, str], step: Step) -> Iterator[Finding]:
    """Variables that nothing reads, values that cannot be, and settings that a declaration needs."""
    from resources import settings
    from resources.environment import read_environment

    step("reading the environment")
    known = list_known_settings(declared)
    ours = [name for name in environment if name.startswith("ADFML_") and not name.startswith(_NOT_OURS)]
    for name in sorted(name for name in ours if name not in known and environment[name].strip()):
        close = get_close_matches(name, known, n=1)
        hint = (
            f"Did you mean {close[0]}?"
            if close
            else "Remove it, or correct its name (docs/settings.md has all of them)."
        )
        yield _SETTINGS.warning(name, f"{name} is set, and nothing reads it.", hint)
    first = settings.FIRST_DAY.read(environment)
    try:
        date.fromisoformat(first)
    except ValueError:
        found = f"{settings.FIRST_DAY.name} is {first!r}: no day."
        yield _SETTINGS.failed(settings.FIRST_DAY.name, found, f"Expected YYYY-MM-DD, {settings.FIRST_DAY.example}.")
    if hashing := _list_hashing(declared):
        try:
            settings.HASH_KEY.read(environment)
        except Exception as error:
            yield _SETTINGS.error(settings.HASH_KEY.name, error)
        else:
            yield _SETTINGS.ok(settings.HASH_KEY.name, f"Is there, for hashed columns of {join_names(hashing)}.")
    found_environment = read_environment(environment)
    switch = "on" if found_environment.schedules_on else "off"
    yield _SETTINGS.ok(
        "settings",
        f"{sum(1 for name in ours if environment[name].strip())} settings are set; environment "
        f"{found_environment.name}, where schedules start as {switch}.",
    )


def list_known_settings(declared: Declared) -> set[str]:
    """The names of all settings, with those of the databases that are declared and of the secrets' names."""
    from adfml_cli.doctor.table_uses import list_database_uses
    from resources.settings import ALL, database_setting

    found = [*ALL, *(setting.password for setting in ALL if hasattr(setting, "password"))]
    for use in list_database_uses(declared):
        setting = database_setting(use.database)
        found += [setting, setting.password]
    return {name for one in found for name in (one.name, one.secret_name)}


def _list_hashing(declared: Declared) -> Sequence[str]:
    from adfml_assets.components.archived_database import ArchivedDatabase

    return [table.table for _, one in declared.of(ArchivedDatabase) for table in one.tables if table.hash]


def check_time_zones(declared: Declared, step: Step) -> Iterator[Finding]:
    """Whether this machine knows the zones of the schedules, and what its own is; partitions are days in UTC."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    step("reading time zones")
    zones: dict[str, str] = {}
    for what, component in declared.components:
        for field in ("schedule", "check_schedule"):
            schedule = getattr(component, field, None)
            if schedule is not None:
                zones.setdefault(schedule.timezone, f"{field} of the {what}")
    unknown = 0
    for name, by in zones.items():
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            unknown += 1
            found = f"This machine knows no time zone {name!r} ({by})."
            yield _SETTINGS.failed("time zones", found, "Correct the name, or install tzdata.")
    if not unknown:
        own = datetime.now().astimezone()
        known = join_names(sorted(zones)) or "none"
        yield _SETTINGS.ok(
            "time zones",
            f"Schedules are in {known}; this machine is in {own.tzname()} (UTC{own:%z}), it is "
            f"{datetime.now(UTC):%H:%M} UTC; partitions are days in UTC.",
        )
