"""Taking up a job that somebody else started at a service, as the one that an asset would have submitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from resources.errors import NotAdopted

if TYPE_CHECKING:
    from resources.ledger import Ledger
    from resources.remote_jobs import RemoteJob, RemoteService

_CLOCK_SKEW = timedelta(minutes=1)
"""By how much the service's clock may be behind ours."""


def adopt_remote_job(
    ledger: Ledger,
    client: RemoteService,
    remote_id: str,
    requests: Sequence[Mapping[str, Any]],
    *,
    asset: str,
    partition: str,
    input_written_at: datetime | None,
    **values: Any,
) -> RemoteJob:
    """Write a job into the ledger that the service has already, under way: the sensor follows it like any other.

    Args:
        client: of the service.
        remote_id: its id there.
        requests: what the asset would have submitted.
        input_written_at: when its input was written; None: the request itself says what is in it.
        values: the other columns of its row.

    Raises:
        NotAdopted: it is not what the asset would have submitted, it has not ended well, or the ledger has another job
            of the partition, or the job itself. Every reason at once; nothing is changed.
        NotFound, Unreachable, Refused: the service's word.
    """
    if len(requests) != 1:
        shards = "nothing: there is nothing to be done for it" if not requests else f"{len(requests)} jobs"
        raise NotAdopted(asset, partition, remote_id, [f"the partition takes {shards}; only a single job is adopted"])
    (request,) = requests
    found = client.inspect(remote_id, request)
    reasons = list(found.differences)
    if found.status.state in ("failed", "cancelled"):
        reasons.append(f"it has {found.status.state} ({found.status.remote_state}): there is no result to collect")
    if input_written_at is not None and found.started_at is None:
        reasons.append("the service does not say when it was started, so that nobody knows which input it has read")
    elif (
        input_written_at is not None
        and found.started_at is not None
        and found.started_at + _CLOCK_SKEW < input_written_at
    ):
        reasons.append(
            f"it was started at {found.started_at:%Y-%m-%d %H:%M:%S} UTC, before its input was written "
            f"({input_written_at:%Y-%m-%d %H:%M:%S} UTC)"
        )
    if reasons:
        raise NotAdopted(asset, partition, remote_id, reasons)
    return ledger.adopt_job(found, request=request, asset=asset, partition=partition, **values)
