"""The checks of a deployment, by name, and running them: what others need first, then all others beside each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from adfml_cli.doctor import (
    ai_services,
    alerts,
    azure_ml,
    control,
    daemons,
    databases,
    databricks,
    identity,
    lake,
    machine,
    secrets,
)
from adfml_cli.doctor.dagster_home import CHECK as DAGSTER
from adfml_cli.doctor.dagster_home import Home
from adfml_cli.doctor.declared import Declared, read_declarations
from adfml_cli.doctor.findings import Finding, Notes, Report
from adfml_cli.doctor.running import LIMIT_SECONDS, Probe, Step, run_probes
from adfml_cli.errors import CommandFailed

if TYPE_CHECKING:
    import dagster as dg

DEFINITIONS = "definitions"
CHECKS = (
    machine.SETTINGS,
    machine.VERSIONS,
    DEFINITIONS,
    DAGSTER,
    daemons.DAEMONS,
    daemons.SENSORS,
    daemons.SCHEDULES,
    daemons.POOLS,
    databases.CHECK,
    control.CHECK,
    control.JOBS,
    lake.CHECK,
    secrets.CHECK,
    identity.CHECK,
    databricks.CHECK,
    azure_ml.BATCH,
    azure_ml.ONLINE,
    ai_services.OPENAI,
    ai_services.LANGUAGE,
    alerts.CHECK,
    identity.CLOCK,
)
"""The names that `--only` takes, in the order of the report."""

_LOAD_SECONDS = 60.0
_NEED_DEFINITIONS = frozenset({DEFINITIONS, daemons.SENSORS, daemons.SCHEDULES, daemons.POOLS})
_NEED_DAGSTER = frozenset({DAGSTER, daemons.DAEMONS}) | _NEED_DEFINITIONS - {DEFINITIONS}
Load = Callable[[], "dg.RepositoryDefinition"]


@dataclass(frozen=True)
class Examination:
    """A report, and how many checks hang: their threads are still there."""

    report: Report
    hanging: int


def examine(folder: Path, load: Load, *, only: Sequence[str] = (), limit_seconds: float = LIMIT_SECONDS) -> Examination:
    """Look at everything that is declared.

    Args:
        folder: of the declarations.
        load: loads the definitions.
        only: names of checks; none: all.
        limit_seconds: how long one probe may take.

    Raises:
        CommandFailed: there is no check of a name.
    """
    require_names(only)
    began = time.monotonic()
    wanted = set(only or CHECKS)
    loaded = _Loaded(folder, load if wanted & _NEED_DEFINITIONS else None, limit_seconds)
    home = Home()
    first = [*loaded.build_probes(), *(home.build_probes() if wanted & _NEED_DAGSTER else ())]
    before = run_probes(first, limit_seconds=limit_seconds)
    rest = [probe for probe in _build_rest(loaded, home) if probe.check in wanted]
    _import_clients({probe.check for probe in rest}, loaded.declared)
    after = run_probes(rest, limit_seconds=limit_seconds)
    if not before.hanging + after.hanging:
        home.close()
    findings = [one for one in (*before.findings, *after.findings) if one.check in wanted]
    findings.sort(key=lambda one: CHECKS.index(one.check))
    return Examination(Report(findings, time.monotonic() - began), before.hanging + after.hanging)


def require_names(only: Sequence[str]) -> None:
    """Make sure that there are checks of these names.

    Raises:
        CommandFailed: there are not.
    """
    for name in only:
        if name not in CHECKS:
            close = get_close_matches(name, CHECKS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise CommandFailed(f"There is no check {name!r}; there are: {', '.join(CHECKS)}.{hint}")


class _Loaded:
    """What is declared, and, where `load` is given, the definitions that Dagster makes of it; filled by its probe."""

    def __init__(self, folder: Path, load: Load | None, limit_seconds: float) -> None:
        self._folder = folder
        self._load = load
        self._limit_seconds = limit_seconds
        self.declared = Declared()
        self.repository: dg.RepositoryDefinition | None = None

    def build_probes(self) -> Iterator[Probe]:
        """One, with time enough for slow imports."""
        yield Probe(DEFINITIONS, "definitions", self._check, max(_LOAD_SECONDS, self._limit_seconds))

    def _check(self, step: Step) -> Iterator[Finding]:
        notes = Notes(DEFINITIONS)
        step(f"reading the declarations in {self._folder}")
        self.declared, mistakes = read_declarations(self._folder)
        yield from mistakes
        if self._load is None:
            return
        step("loading the definitions, which imports the modules that declarations name")
        try:
            self.repository = self._load()
        except Exception as error:
            if not mistakes:
                yield notes.error("definitions", error)
            return
        assets = len(self.repository.asset_graph.get_all_asset_keys())
        found = f"{len(self.declared.components)} declarations give {assets} assets."
        yield notes.ok("definitions", found)


def _build_rest(loaded: _Loaded, home: Home) -> Iterator[Probe]:
    declared = loaded.declared
    builders: tuple[Callable[[], Iterator[Probe]], ...] = (
        lambda: machine.build_probes(declared),
        lambda: daemons.build_probes(home.instance, loaded.repository, declared),
        lambda: databases.build_probes(declared),
        control.build_probes,
        lake.build_probes,
        lambda: secrets.build_probes(declared),
        lambda: identity.build_identity_probes(declared),
        lambda: databricks.build_probes(declared),
        lambda: azure_ml.build_batch_probes(declared),
        lambda: azure_ml.build_online_probes(declared),
        lambda: ai_services.build_openai_probes(declared),
        lambda: ai_services.build_language_probes(declared),
        alerts.build_probes,
        lambda: identity.build_clock_probes(declared),
    )
    for build in builders:
        yield from build()


def _import_clients(checks: set[str], declared: Declared) -> None:
    """Import the clients that are needed before their time counts: together they take seconds.

    In one thread, too: two that import a package for the first time may each find half of it.
    """
    import importlib

    modules = {
        databricks.CHECK: ("httpx", "dagster_databricks", "databricks.sdk") if declared.databricks else (),
        azure_ml.BATCH: ("httpx", "azure.ai.ml") if declared.batch_endpoints else (),
        azure_ml.ONLINE: ("httpx", "azure.ai.ml") if declared.online_endpoints else (),
        ai_services.OPENAI: ("httpx", "httpx2", "openai", "resources.openai_account") if declared.openai else (),
        control.CHECK: ("sqlalchemy", "resources.control", "resources.migrations.history"),
        databases.CHECK: ("sqlalchemy", "resources.database"),
        alerts.CHECK: ("httpx", "smtplib", "resources.alerts.channels"),
        lake.CHECK: ("obstore", "resources.lake"),
        identity.CLOCK: ("httpx",),
        ai_services.LANGUAGE: ("httpx", "resources.language") if declared.language else (),
        identity.CHECK: ("azure.identity",),
        secrets.CHECK: ("azure.keyvault.secrets",) if secrets.list_named_secrets(declared) else (),
    }
    for check in checks:
        for module in modules.get(check, ()):
            importlib.import_module(module)
