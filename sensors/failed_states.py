"""What is in a failed state now: checks, ticks of sensors and schedules, backfills. And which incidents are over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.scheduler.instigation import InstigatorStatus, TickStatus
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from resources.alerts.failure import Failure
from resources.alerts.register import Incident

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

FAILED_TICKS = 3
"""How many ticks in a row a sensor may fail before it is told: one that comes back by itself is none."""

_BACK = timedelta(days=2)
_ENDED = (AssetCheckExecutionRecordStatus.FAILED, AssetCheckExecutionRecordStatus.SUCCEEDED)


@dataclass
class States:
    """What checks and ticks are now.

    Attributes:
        failures: those that are failed.
        well: the subjects of those that are not. What is being looked at now is neither.
    """

    failures: list[Failure] = field(default_factory=list)
    well: set[str] = field(default_factory=set)


def read_states(instance: dg.DagsterInstance, asset_graph: BaseAssetGraph) -> States:
    """The last evaluation of every check, the last ticks of every sensor and schedule."""
    states = States()
    _read_checks(instance, asset_graph, states)
    _read_ticks(instance, states)
    return states


def _read_checks(instance: dg.DagsterInstance, asset_graph: BaseAssetGraph, states: States) -> None:
    keys = list(asset_graph.asset_check_keys)
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys) if keys else {}
    for key, record in found.items():
        asset, subject = key.asset_key.to_user_string(), f"{key.asset_key.to_user_string()} | check {key.name}"
        evaluation = record.evaluation if record.status in _ENDED else None
        if evaluation is None:
            continue  # planned: it says nothing yet
        if evaluation.passed or evaluation.severity != dg.AssetCheckSeverity.ERROR:
            # Warnings are for the UI.
            states.well.add(subject)
            continue
        shown = ", ".join(f"{name}: {value.value}" for name, value in sorted(evaluation.metadata.items()))
        states.failures.append(
            Failure(
                subject=subject,
                kind="check",
                event_id=record.id,
                at=datetime.fromtimestamp(record.create_timestamp, UTC),
                error=evaluation.description or f"Check {key.name} did not pass. {shown}",
                asset=asset,
                partition=evaluation.partition,
                run_id=record.run_id,
            )
        )


def _read_ticks(instance: dg.DagsterInstance, states: States) -> None:
    for state in instance.all_instigator_state():
        sensor = state.instigator_type.value == "SENSOR"
        subject, most = f"{'sensor' if sensor else 'schedule'} {state.instigator_name}", FAILED_TICKS if sensor else 1
        ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=most)
        stopped = state.status == InstigatorStatus.STOPPED
        if stopped or (ticks and ticks[0].status in (TickStatus.SUCCESS, TickStatus.SKIPPED)):
            states.well.add(subject)
        elif len(ticks) == most and all(tick.status == TickStatus.FAILURE for tick in ticks):
            error = ticks[0].error
            states.failures.append(
                Failure(
                    subject=subject,
                    kind="tick",
                    # One that goes on failing is not a failure every few seconds: hours are counted.
                    event_id=int(ticks[0].timestamp) // 3600,
                    at=datetime.fromtimestamp(ticks[0].timestamp, UTC),
                    error=error.message if error is not None else "The tick failed without a word.",
                )
            )


def find_failed_backfills(instance: dg.DagsterInstance, now: datetime) -> Iterator[Failure]:
    """Backfills that failed themselves: where only runs of it failed, these are told."""
    filters = BulkActionsFilter(statuses=[BulkActionStatus.FAILED], created_after=now - _BACK)
    for backfill in instance.get_backfills(filters=filters):
        ended = backfill.backfill_end_timestamp or backfill.backfill_timestamp
        name = backfill.title or "assets"
        yield Failure(
            subject=f"backfill {backfill.backfill_id}",
            kind="backfill",
            event_id=1,
            at=datetime.fromtimestamp(ended, UTC),
            error=f"{name}: {backfill.error.message if backfill.error is not None else 'it stalled.'}",
        )


def find_well(
    instance: dg.DagsterInstance, asset_graph: BaseAssetGraph, incidents: Sequence[Incident], well: Set[str]
) -> list[Incident]:
    """The incidents that are over: made since, passed since, or ticking again.

    Args:
        well: the subjects of checks and ticks that are not failed.
    """
    made = _read_made(instance, asset_graph, [incident.failure for incident in incidents])
    return [incident for incident in incidents if _is_well(instance, asset_graph, incident.failure, well, made)]


def _read_made(
    instance: dg.DagsterInstance, asset_graph: BaseAssetGraph, failures: Iterable[Failure]
) -> dict[str, Mapping[str, int]]:
    """Asset -> partition that failed -> the last event that it was made: one query an asset."""
    failed: dict[str, set[str]] = {}
    for failure in failures:
        if failure.kind == "run" and failure.asset is not None and failure.partition is not None:
            failed.setdefault(failure.asset, set()).add(failure.partition)
    keys = {asset: dg.AssetKey.from_user_string(asset) for asset in failed}
    return {
        asset: instance.event_log_storage.get_latest_storage_id_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION, failed[asset]
        )
        for asset, key in keys.items()
        if asset_graph.has(key)
    }


def _is_well(
    instance: dg.DagsterInstance,
    asset_graph: BaseAssetGraph,
    failure: Failure,
    well: Set[str],
    made: Mapping[str, Mapping[str, int]],
) -> bool:
    if failure.kind in ("check", "tick"):
        return failure.subject in well
    if failure.kind == "backfill":
        return _is_backfill_made(instance, asset_graph, failure)
    if failure.asset is None:
        return _has_succeeded(instance, failure)
    key = dg.AssetKey.from_user_string(failure.asset)
    if not asset_graph.has(key):
        return True  # nobody can make it any more
    if failure.partition is None:
        latest = instance.get_latest_materialization_event(key)
        return latest is not None and latest.timestamp > failure.at.timestamp()
    # Ids of one storage rise: a materialisation after the failure has a larger one. SQLite's index is one storage, too.
    return made[failure.asset].get(failure.partition, 0) > failure.event_id


def _has_succeeded(instance: dg.DagsterInstance, failure: Failure) -> bool:
    name = failure.subject.removeprefix("job ")
    filters = dg.RunsFilter(job_name=name, statuses=[dg.DagsterRunStatus.SUCCESS], updated_after=failure.at)
    return bool(instance.get_runs(filters, limit=1))


def _is_backfill_made(instance: dg.DagsterInstance, asset_graph: BaseAssetGraph, failure: Failure) -> bool:
    backfill = instance.get_backfill(failure.subject.removeprefix("backfill "))
    if backfill is None:
        return True
    if not backfill.is_asset_backfill:
        return False
    target = backfill.get_asset_backfill_data(asset_graph).target_subset
    return all(
        set(subset.get_partition_keys()) <= set(instance.get_materialized_partitions(key))
        for key, subset in target.partitions_subsets_by_asset_key.items()
    )
