"""The tags by which jobs, waiting runs and the sensor find each other."""

from __future__ import annotations

REMOTE_JOB_TAG = "adfml/remote_job"
"""On a run: whether it waits for a remote job."""

WAITING = "waiting"
READY = "ready"
CANCELLED = "cancelled"

ADOPTS_TAG = "adfml/adopts"
"""On a run: the id of a job at the service, which is to be taken up in place of submitting one."""

ROLE_TAG = "adfml/role"
"""On an asset: whether it submits a remote job or collects its result."""

SUBMITS = "submits"
COLLECTS = "collects"

PAST_TAG = "adfml/past_days"
"""On an asset: what becomes of a day that was missed, where it cannot be made any more."""
