"""A code location as small as can be: an asset that submits a remote job, and one that collects its result."""

from __future__ import annotations

import dagster as dg

from sensors.tags import COLLECTS, ROLE_TAG, SUBMITS

DAYS = dg.StaticPartitionsDefinition(["2026-03-10", "2026-03-11"])


@dg.asset(tags={ROLE_TAG: SUBMITS}, partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.multi_run(1))
def summary_job() -> None:
    """Would submit a job."""
    print("submitted, as standard output has it")


@dg.asset(deps=[summary_job], tags={ROLE_TAG: COLLECTS}, partitions_def=DAYS)
def summary() -> None:
    """Would collect its result."""
    print("collected, as standard output has it")


defs = dg.Definitions([summary_job, summary], executor=dg.in_process_executor)
