"""`adfml backfill`: days of a selection of assets, previewed, asked about, and handed to Dagster's daemon."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import typer

from adfml_cli import workflow
from adfml_cli.errors import CommandFailed
from adfml_cli.output import confirm, print_json, print_table
from adfml_cli.partitions import require_partition
from adfml_cli.people import name_user

if TYPE_CHECKING:
    import dagster as dg
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

    from adfml_assets.backfill_preview import Preview

_SHOWN = {
    "there": "there already",
    "make": "made",
    "again": "made again",
    "try": "tried",
    "impossible": "cannot be made",
}


def run_backfill(
    selection: str,
    first: str,
    last: str | None,
    *,
    refresh: bool,
    preview_only: bool,
    yes: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Say what a backfill would do, ask, and launch it over what can be made.

    Args:
        selection: an asset, or Dagster's asset selection syntax.
        first, last: days, YYYY-MM-DD, UTC; without the last one only the first.
        refresh: also what is there already.
        preview_only: launch nothing.

    Raises:
        CommandFailed: a selection or a day that cannot be, or nobody agreed.
        WorkflowFailed: it was waited for, and did not end well.
    """
    days = list_days(first, last or first)
    with workflow.open_instance() as instance:
        graph = workflow.load_repository().asset_graph
        preview = build_preview(instance, graph, select(graph, selection), days, refresh=refresh)
        partitions = preview.partitions
        if not as_json:
            show_preview(preview)
        if preview_only or not partitions:
            if as_json:
                print_json({"preview": describe(preview), "backfill": None, "messages": [], "failures": []})
            elif not preview_only:
                typer.echo("Nothing to launch.")
            return
        confirm(f"Launch {sum(map(len, partitions.values()))} partitions of {len(partitions)} assets?", yes=yes)

        def launch(say: workflow.Say, show: workflow.Say) -> str:
            from adfml_assets.workflow import LAUNCHED_BY_TAG, launch_backfill
            from adfml_cli.daemon import await_reload

            await_reload(say)
            # Dagster takes no such characters in a title.
            name = re.sub(r'[%*"]', "", f"{selection}, {_shorten(days)}")
            backfill_id = launch_backfill(instance, graph, partitions, title=name, tags={LAUNCHED_BY_TAG: name_user()})
            say(f"Backfill {backfill_id} is launched.")
            workflow.follow(instance, backfill_id, f"Backfill of {name}", wait=wait, say=say, show=show)
            return backfill_id

        workflow.tell_launch(launch, as_json=as_json, more={"preview": describe(preview)})


def list_days(first: str, last: str) -> list[str]:
    """The days of a range, both ends included.

    Raises:
        CommandFailed: one is no day, or the range ends before it begins.
    """
    ends = []
    for option, text in (("--from", first), ("--to", last)):
        try:
            ends.append(date.fromisoformat(text))
        except ValueError:
            raise CommandFailed(f"{option} is {text!r}: expected a day as YYYY-MM-DD.") from None
        if ends[-1].isoformat() != text:
            raise CommandFailed(f"{option} is {text!r}: expected a day as YYYY-MM-DD.")
    begin, end = ends
    if end < begin:
        raise CommandFailed(f"--to {last} is before --from {first}.")
    return [(begin + timedelta(days=number)).isoformat() for number in range((end - begin).days + 1)]


def select(graph: BaseAssetGraph, selection: str) -> set[dg.AssetKey]:
    """The assets of a selection: the name of one, or Dagster's syntax.

    Raises:
        CommandFailed: it is none, or chooses nothing.
    """
    import dagster as dg
    from dagster_shared.check import CheckError

    single = dg.AssetKey.from_user_string(selection)
    if graph.has(single):
        return {single}
    try:
        found = dg.AssetSelection.from_string(selection).resolve(graph)
    except (dg.DagsterError, CheckError, NotImplementedError) as error:
        # Filters that only the UI knows are parsed, and cannot be resolved here.
        reason = next(iter(str(error).splitlines()), "only the UI can resolve it")
        raise CommandFailed(
            f"{selection!r} is no selection of assets ({reason}): expected Dagster's syntax, "
            "such as "
            'group:archive, key:"ml/scores/*", or +key:"ml/scores/churn" for it and what it is made of.'
        ) from None
    if not found:
        names = ", ".join(sorted({graph.get(key).group_name for key in graph.materializable_asset_keys}))
        raise CommandFailed(f"{selection!r} chooses no asset; the groups are: {names}.")
    return set(found)


def build_preview(
    instance: dg.DagsterInstance,
    graph: BaseAssetGraph,
    assets: Iterable[dg.AssetKey],
    days: Sequence[str],
    *,
    refresh: bool,
) -> Preview:
    """What a backfill of days would do.

    Raises:
        CommandFailed: a day is no partition, or no asset of the selection has days.
        ResourceError: the lake or the control database.
    """
    import dagster as dg

    from adfml_assets.backfill_preview import preview_backfill
    from adfml_assets.backfill_rules import build_rules
    from adfml_assets.past_rule import build_past_rule, may_keep_past
    from resources.control import ControlDatabase, utc_now
    from resources.lake import Lake

    chosen = list(assets)
    daily = [key for key in chosen if isinstance(graph.get(key).partitions_def, dg.TimeWindowPartitionsDefinition)]
    if not daily:
        names = ", ".join(sorted(key.to_user_string() for key in chosen))
        raise CommandFailed(f"None of the selected assets has days: {names}.")
    for key in daily:
        for day in (days[0], days[-1]):
            require_partition(instance, graph, key, day)
    control, lake = ControlDatabase(), Lake()
    past = build_past_rule(graph, lake, control.intervals, may_keep_past)
    rules = build_rules(graph, lake, control.ledger, past, f"{utc_now():%Y-%m-%d}")
    return preview_backfill(instance, graph, chosen, days, rules, refresh=refresh)


def show_preview(preview: Preview) -> None:
    """Print what would become of every asset, with the reasons."""
    rows = [[name, _SHOWN[outcome], _shorten(days), why] for name, outcome, days, why in _group(preview)]
    print_table(("asset", "is", "days", "why"), rows, folded=("asset", "days", "why"))
    for key, why in preview.left_out.items():
        typer.echo(f"left out: {key.to_user_string()}: {why}.")
    impossible = preview.count("impossible")
    again = f", {impossible} cannot be made" if impossible else ""
    typer.echo(f"{preview.count('there')} are there, {preview.count('make', 'again', 'try')} are made{again}.")


def describe(preview: Preview) -> dict[str, Any]:
    """A preview as JSON."""
    groups = [
        {"asset": name, "outcome": outcome, "days": days, "why": why} for name, outcome, days, why in _group(preview)
    ]
    left_out = {key.to_user_string(): why for key, why in preview.left_out.items()}
    return {"partitions": groups, "left_out": left_out}


def _group(preview: Preview) -> Iterator[tuple[str, str, list[str], str]]:
    for key, days in preview.judged.items():
        groups: dict[tuple[str, str], list[str]] = {}
        for day, one in days.items():
            groups.setdefault((one.outcome, one.why), []).append(day)
        for (outcome, why), found in groups.items():
            yield key.to_user_string(), outcome, found, why


def _shorten(days: Sequence[str]) -> str:
    """Days as ranges: `2026-03-01 to 2026-03-03, 2026-03-07`."""
    ranges: list[list[date]] = []
    for day in map(date.fromisoformat, days):
        if ranges and day - ranges[-1][-1] == timedelta(days=1):
            ranges[-1].append(day)
        else:
            ranges.append([day])
    return ", ".join(f"{one[0]} to {one[-1]}" if len(one) > 1 else f"{one[0]}" for one in ranges)
