"""`adfml rebuild`: watermark intervals and model versions back from the manifests in the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adfml_cli.declared import name_databases, read_declarations
from adfml_cli.output import print_json, say

if TYPE_CHECKING:
    from adfml_assets.rebuilding import Rebuilt


def rebuild(*, as_json: bool) -> None:
    """Put back what the lake has of a control database, and say what is left to do by hand.

    Raises:
        IntervalsDiffer, Corrupt: see `adfml_assets.rebuilding`.
        ResourceError: the lake or the control database cannot be reached.
    """
    from adfml_assets.rebuilding import rebuild_intervals, rebuild_versions
    from resources.control import ControlDatabase
    from resources.lake import Lake
    from resources.model_versions import CHAMPION

    lake, control = Lake(), ControlDatabase()
    intervals = rebuild_intervals(lake, control, kept_elsewhere=_list_kept_in_source())
    versions = rebuild_versions(lake, control, elsewhere=_list_trained_elsewhere())
    without = [model for model in control.models.list_models() if CHAMPION not in control.models.aliases(model)]
    if as_json:
        print_json({"intervals": intervals, "versions": versions, "models_without_champion": without})
        return
    say(_describe("Intervals: {found} found in manifests, {restored} put back, {present} there already.", intervals))
    say(
        _describe(
            "Versions: {found} found in the lake, {restored} put back without a verdict, {present} there already.",
            versions,
        )
    )
    for name, reason in versions.left_out.items():
        say(f"Left out: {name}: {reason}")
    for model in without:
        say(f'Model {model} has no champion: adfml promote {model} VERSION --force --reason "..."')


def _describe(text: str, rebuilt: Rebuilt) -> str:
    return text.format(found=rebuilt.found, restored=rebuilt.restored, present=rebuilt.present)


def _list_kept_in_source() -> set[str]:
    declared = (given for _, given in read_declarations() if given.get("watermarks_in") == "source")
    return {name for given in declared for name in name_databases(given)}


def _list_trained_elsewhere() -> set[str]:
    declared = ((kind, given.get("name"), given.get("engine") or {}) for kind, given in read_declarations())
    return {
        str(name)
        for kind, name, engine in declared
        if kind == "TrainedModel" and engine.get("service", "databricks") != "databricks"
    }
