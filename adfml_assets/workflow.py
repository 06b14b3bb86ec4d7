"""The end-to-end workflow as a backfill: what is missing of a day and a model version, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph_subset import AssetGraphSubset
from dagster._core.execution.backfill import PartitionBackfill
from dagster._core.utils import make_new_backfill_id

from adfml_assets.partitions import find_model
from adfml_assets.workflow_parameters import (
    InvalidParameter,
    Mode,
    WorkflowParameters,
    build_run_config,
    format_run_config,
)
from adfml_assets.workflow_selection import find_models, find_scored_inside, select_assets
from resources.control import utc_now

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

    from resources.model_registry import ModelRegistry

WORKFLOW_TAG = "adfml/workflow"
MODE_TAG = "adfml/mode"
LAUNCHED_BY_TAG = "adfml/launched_by"
REFUSED = "refused"


@dataclass(frozen=True)
class Workflow:
    """A declared end-to-end workflow.

    Attributes:
        name: of its job.
        train, score: what each mode materialises, as Dagster's asset selection syntax.
    """

    name: str
    train: str
    score: str

    def select(self, mode: Mode, asset_graph: BaseAssetGraph) -> Set[dg.AssetKey]:
        """What a mode materialises."""
        return dg.AssetSelection.from_string(self.train if mode == "train" else self.score).resolve(asset_graph)


TRAIN = "group:archive or group:incremental or group:current or group:features or group:training"
SCORE = "group:archive or group:incremental or group:current or group:features or group:scoring or group:monitoring"
"""What the modes materialise where a declaration does not say: all groups that they are about."""


def launch_workflow(
    instance: dg.DagsterInstance,
    asset_graph: BaseAssetGraph,
    workflow: Workflow,
    parameters: WorkflowParameters,
    *,
    open_registry: Callable[[], ModelRegistry],
    launched_by: str,
    say: Callable[[str], None],
) -> str | None:
    """Hand what is missing of a day and a version to Dagster's daemon, with the parameters for its parts.

    Args:
        open_registry: gives the registry of model versions; called in mode train only.
        launched_by: a run's id, or a person, for the backfill's tag.
        say: takes a line for everything that is launched, or not, and why.

    Returns:
        The backfill's id; None where nothing is missing.

    Raises:
        InvalidParameter: a day outside of the partitions, a database or model that is not there, a parameter that the
            model's part does not take. Nothing was launched.
    """
    mode = parameters.mode
    day = parameters.snapshot_date or utc_now().strftime("%Y-%m-%d")
    selected = select_assets(
        asset_graph,
        workflow.select(mode, asset_graph),
        source_database=parameters.source_database,
        model_name=parameters.model_name,
    )
    told = build_run_config(parameters, find_models(selected), find_scored_inside(asset_graph, selected))
    _require_taken(asset_graph, told)
    _require_day(asset_graph, selected, day)
    partitions = choose_partitions(asset_graph, selected, day=day, version=parameters.trained_version)
    found = find_missing(instance, asset_graph, partitions, refresh=parameters.refresh)
    trains = mode == "train" and not parameters.refresh
    missing = leave_out_refused(open_registry, asset_graph, found, say) if trains else found
    unused = [key for key, values in told.items() if key not in found and set(values) != {"snapshot_date"}]
    if unused:
        names = ", ".join(key.to_user_string() for key in sorted(unused))
        say(f"There already, and not made again with these parameters (refresh does that): {names}")
    if not missing:
        why = "of the rest nothing is missing" if found else "everything is there"
        say(f"Nothing to launch for {_describe(parameters, day)}: {why}.")
        return None
    backfill_id = launch_backfill(
        instance,
        asset_graph,
        {key: [partition] for key, partition in missing.items()},
        title=f"{workflow.name}: {_describe(parameters, day)}",
        tags={WORKFLOW_TAG: workflow.name, MODE_TAG: mode, LAUNCHED_BY_TAG: launched_by},
        run_config=format_run_config(told),
    )
    names = ", ".join(f"{key.to_user_string()} {missing[key]}" for key in sorted(missing))
    say(f"Backfill {backfill_id} materialises: {names}")
    return backfill_id


def choose_partitions(
    asset_graph: BaseAssetGraph, assets: Set[dg.AssetKey], *, day: str, version: str
) -> dict[dg.AssetKey, str]:
    """Each asset's partition: the day for daily ones, the version for those of a model."""
    chosen = {}
    for key in assets:
        definition = asset_graph.get(key).partitions_def
        chosen[key] = version if isinstance(definition, dg.DynamicPartitionsDefinition) else day
    return chosen


def find_missing(
    instance: dg.DagsterInstance, asset_graph: BaseAssetGraph, partitions: Mapping[dg.AssetKey, str], *, refresh: bool
) -> dict[dg.AssetKey, str]:
    """The partitions to be materialised: those that are not, and what depends on them; all of them to refresh.

    A version that is there stays as it is when a new day comes: only versions depend on versions, days on days.

    Of a remote job's two assets the collecting one decides: a job whose result is not there yet is submitted again,
    or taken up where it is under way; the ledger knows.
    """
    missing: dict[dg.AssetKey, str] = {}
    for key in asset_graph.toposorted_asset_keys:
        if key not in partitions:
            continue
        done = partitions[key] in instance.get_materialized_partitions(key)
        older = any(missing.get(parent) == partitions[key] for parent in asset_graph.get(key).parent_keys)
        if refresh or not done or older:
            missing[key] = partitions[key]
    for key in list(missing):
        for parent in asset_graph.get(key).parent_keys & partitions.keys():
            if parent.path[-1] == f"{key.path[-1]}_job":
                missing[parent] = partitions[parent]
    return missing


def leave_out_refused(
    open_registry: Callable[[], ModelRegistry],
    asset_graph: BaseAssetGraph,
    missing: Mapping[dg.AssetKey, str],
    say: Callable[[str], None],
) -> dict[dg.AssetKey, str]:
    """What is missing, without versions that the gate has refused: they never become champion, however often trained.

    Args:
        open_registry: gives the registry; called where a version is missing something.
        say: told which version was left out, and the gate's reason.
    """
    found: dict[tuple[str, str], bool] = {}
    left = {}
    for key, partition in missing.items():
        model = find_model(asset_graph.get(key).partitions_def)
        if model is not None and (model, partition) not in found:
            version = open_registry().find(model, partition)
            found[model, partition] = version is not None and version.verdict == REFUSED
            if version is not None and found[model, partition]:
                reason = (version.reason or "").rstrip(".")
                say(
                    f"Model {model} version {partition} is not trained again: it was refused ({reason}). Train another "
                    "version, or refresh to train this one anew."
                )
        if model is None or not found[model, partition]:
            left[key] = partition
    return left


def launch_backfill(
    instance: dg.DagsterInstance,
    asset_graph: BaseAssetGraph,
    partitions: Mapping[dg.AssetKey, Sequence[str]],
    *,
    title: str,
    tags: Mapping[str, str],
    run_config: Mapping[str, Any] | None = None,
    backfill_id: str | None = None,
) -> str:
    """Hand partitions to Dagster's daemon as one backfill, in the order of their dependencies. Returns its id.

    Args:
        run_config: of each of its runs; what is about ops that are not in a run is passed over.
        backfill_id: its id, where it was noted before; None: a new one.
    """
    subsets = {}
    for key, wanted in partitions.items():
        definition = asset_graph.get(key).partitions_def
        if isinstance(definition, dg.DynamicPartitionsDefinition) and definition.name:
            instance.add_dynamic_partitions(definition.name, list(wanted))
        if definition is not None:
            subsets[key] = definition.subset_with_partition_keys(wanted)
    backfill = PartitionBackfill.from_asset_graph_subset(
        backfill_id=backfill_id or make_new_backfill_id(),
        backfill_timestamp=time.time(),
        tags=dict(tags),
        dynamic_partitions_store=instance,
        # mypy does not see the defaults behind the decorator of this named tuple.
        asset_graph_subset=AssetGraphSubset(subsets),  # type: ignore[call-arg]
        title=title,
        description=None,
        run_config=dict(run_config) if run_config else None,
    )
    instance.add_backfill(backfill)
    return backfill.backfill_id


def _describe(parameters: WorkflowParameters, day: str) -> str:
    about = parameters.model_name or parameters.source_database
    version = f", version {parameters.trained_version}" if parameters.mode == "train" else ""
    return f"{parameters.mode} {day}{f', {about}' if about else ''}{version}"


def _require_day(asset_graph: BaseAssetGraph, assets: Set[dg.AssetKey], day: str) -> None:
    for key in sorted(assets):
        definition = asset_graph.get(key).partitions_def
        if isinstance(definition, dg.TimeWindowPartitionsDefinition) and not definition.has_partition_key(day):
            first, last = definition.get_first_partition_key(), definition.get_last_partition_key()
            raise InvalidParameter("snapshot_date", day, f"a day from {first} (ADFML_FIRST_DAY) to {last} (today, UTC)")


def _require_taken(asset_graph: BaseAssetGraph, told: Mapping[dg.AssetKey, Mapping[str, str]]) -> None:
    """Dagster would drop, without a word, what is said to an op that has no such config."""
    names = {"job": "databricks_job_id", "version": "model_version"}
    for key, values in told.items():
        asset = key.to_user_string()
        if not asset_graph.has(key):
            (name, value), *_ = values.items()
            raise InvalidParameter(names.get(name, name), value, f"none: there is no {asset} that could take it")
        schema = asset_graph.get(key).assets_def.op.config_schema
        fields = getattr(schema.config_type if schema else None, "fields", {})
        for name, value in values.items():
            if name not in fields:
                taken = ", ".join(sorted(fields)) or "none"
                parameter = names.get(name, name)
                raise InvalidParameter(parameter, value, f"none: {asset} does not take it (it takes: {taken})")
