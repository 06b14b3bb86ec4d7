"""What writes the limits of pools into Dagster's instance, where the run queue reads them.

Dagster keeps them in its storage and has no file for them. Until the first tick, and for pools that nobody named, the
default limit of dagster.yaml holds.
"""

from __future__ import annotations

from collections.abc import Iterable

import dagster as dg

from resources.pools import choose_limits

NAME = "pools"
INTERVAL_SECONDS = 60


def build_pool_sensor() -> dg.SensorDefinition:
    """The sensor; always on: it starts nothing."""

    @dg.sensor(
        name=NAME,
        description="Writes how many runs of a pool may run at once (`ADFML_POOL_LIMITS`, or what is usual) into "
        "Dagster's instance, for the run queue.",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def pools(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        assert context.repository_def is not None  # noqa: S101 - Dagster sets it in every tick
        used = find_pools(context.repository_def.assets_defs_by_key.values())
        changed = apply_limits(context.instance, choose_limits(used))
        if changed:
            listed = ", ".join(f"{name}: {limit}" for name, limit in sorted(changed.items()))
            context.log.info("Limits of pools: %s", listed)
        return dg.SkipReason(f"{len(used)} pools, {len(changed)} limits changed.")

    return pools


def find_pools(assets: Iterable[dg.AssetsDefinition]) -> set[str]:
    """The pools that assets run in."""
    nodes = (one.node_def for one in assets if one.is_executable)
    return {pool for node in nodes for pool in node.pools}


def apply_limits(instance: dg.DagsterInstance, limits: dict[str, int]) -> dict[str, int]:
    """Write the limits that are not there yet. Returns them."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return {}
    known = {pool.name: pool for pool in storage.get_pool_limits()}
    changed = {
        name: limit
        for name, limit in limits.items()
        if name not in known or known[name].limit != limit or known[name].from_default
    }
    for name, limit in changed.items():
        storage.set_concurrency_slots(name, limit)
    return changed
