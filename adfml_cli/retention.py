"""`adfml retention`: what the rules let go, and, told to, its removal."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adfml_cli.output import print_json, say
from adfml_cli.workflow import open_instance

if TYPE_CHECKING:
    from adfml_assets.retention.plan import SeriesPlan
    from adfml_assets.retention.rules import AgeRule


def run(rules_file: Path, *, apply: bool, as_json: bool) -> None:
    """Say what goes by a file of rules, and remove it where told to.

    Raises:
        RulesInvalid: the file is none.
        CommandFailed: there is no deployment.
        Corrupt: a manifest in the lake cannot be read.
        ResourceError: the lake or the control database cannot be reached.
    """
    from adfml_assets.retention import logs, plan, removing
    from adfml_assets.retention.rules import read_rules
    from resources import alert_retention, ledger_retention
    from resources.control import ControlDatabase, utc_now
    from resources.lake import Lake

    rules, now = read_rules(rules_file), utc_now()
    lake, control = Lake(), ControlDatabase()
    with open_instance() as instance:
        begun = len(control.removals.list_unended())
        if apply:
            begun = len(removing.finish_removals(lake, control, instance))
        plans = plan.plan_partitions(lake, control, instance, rules, now=now)
        going = [one for each in plans for one in each.going]
        old_jobs, ended = [], _cut(rules.ledger, now)
        if ended is not None:
            old_jobs = ledger_retention.list_old_jobs(control.engine, ended)
        resolved = _cut(rules.alerts, now)
        old_alerts = 0 if resolved is None else alert_retention.count_old_alerts(control.engine, resolved)
        printed = _cut(rules.compute_logs, now)
        old_runs = [] if printed is None else list(logs.list_old_runs(instance, printed))
        if apply:
            removed = len(list(removing.remove_partitions(lake, control, instance, going)))
            jobs = 0 if ended is None else ledger_retention.delete_old_jobs(control.engine, old_jobs, ended)
            alerts = 0 if resolved is None else alert_retention.delete_old_alerts(control.engine, resolved)
            for run_id in old_runs:
                logs.delete_logs(instance, run_id, now)
            done = _count(removed + begun, jobs, alerts, len(old_runs))
    counts = _count(len(going), len(old_jobs), old_alerts, len(old_runs))
    if as_json:
        series = [dataclasses.asdict(each) for each in plans]
        print_json({"series": series, "begun_before": begun, "goes": counts, "removed": done if apply else None})
        return
    _tell(plans)
    if begun and not apply:
        say(f"{begun} removals were begun and not ended: --apply ends them.")
    told = done if apply else counts
    what = (
        f"{told['partitions']} partitions, {told['ledger_rows']} ledger rows, {told['alert_rows']} alert rows, "
        f"the logs of {told['runs_without_logs']} runs"
    )
    say(f"Removed: {what}." if apply else f"Would go: {what}. Nothing was removed: --apply does it.")


def _count(partitions: int, jobs: int, alerts: int, runs: int) -> dict[str, int]:
    return {"partitions": partitions, "ledger_rows": jobs, "alert_rows": alerts, "runs_without_logs": runs}


def _cut(rule: AgeRule | None, now: Any) -> Any:
    return None if rule is None else now - timedelta(days=rule.keep_days)


def _tell(plans: Sequence[SeriesPlan]) -> None:
    for each in plans:
        days = f" ({each.going[0].day} to {each.going[-1].day})" if each.going else ""
        say(f"{each.asset}: {len(each.going)} of {each.found} go{days}. Rule {each.rule}.")
        for one in each.staying:
            say(f"  {one.day} stays: {one.reason}.")
