"""One sensor a service: it polls every outstanding job, then lets the runs go on that wait for those that ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import dagster as dg

from resources.control import utc_now
from sensors.polling import advance_jobs
from sensors.waiting import cancel_abandoned, release_runs, request_early_runs

if TYPE_CHECKING:
    from resources.remote_jobs import RemoteService

TICK_BUDGET_SECONDS = 40.0
"""Well under Dagster's 60 seconds, after which a tick's requests would be lost."""


def build_remote_job_sensor(service_key: str) -> dg.SensorDefinition:
    """The sensor of a service.

    Args:
        service_key: the resource key of the service (a `RemoteService`), for example `databricks`.
    """

    @dg.sensor(
        name=f"{service_key}_jobs",
        description=(
            f"Polls all outstanding {service_key} jobs of the ledger in one tick and releases the runs that wait for "
            "their results. Takes the place of the Until loops of the ADF pipelines: no run, and no worker, waits."
        ),
        asset_selection=dg.AssetSelection.all(),
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={service_key, "control"},
    )
    def remote_jobs(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        started = time.monotonic()
        service = cast("RemoteService", getattr(context.resources, service_key))
        ledger = context.resources.control.ledger
        cancel_abandoned(context.instance, ledger, service, context.log)
        budget = max(1.0, TICK_BUDGET_SECONDS - (time.monotonic() - started))
        try:
            tick = advance_jobs(ledger, service, now=utc_now(), budget_seconds=budget, log=context.log)
        finally:
            # Whatever becomes of the others: runs whose jobs have ended wait no longer.
            released = release_runs(context.instance, ledger, context.log)
        requests = list(request_early_runs(ledger, service))
        if not requests:
            return dg.SkipReason(f"{tick.describe()}; {released} waiting runs released.")
        return dg.SensorResult(run_requests=requests)

    return remote_jobs
