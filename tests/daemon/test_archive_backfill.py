"""A backfill over archived tables: past snapshots fail their own partition with the reason, the others go on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus

from tests.daemon.conftest import Site

pytestmark = pytest.mark.slow

PRODUCTS = dg.AssetKey(["archive", "shop", "main", "Products"])
INCREMENT = dg.AssetKey(["incremental", "shop", "main", "Transactions"])


def days(*offsets: int) -> list[str]:
    return [f"{datetime.now(UTC) + timedelta(days=offset):%Y-%m-%d}" for offset in offsets]


def failures(site: Site, backfill: str) -> dict[str, str]:
    runs = site.instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill}))
    failed = [run for run in runs if run.status == dg.DagsterRunStatus.FAILURE]
    return {run.tags["dagster/partition"]: site.failure(run.run_id) for run in failed}


@pytest.mark.soak
def test_past_snapshots_are_refused_one_by_one(site: Site) -> None:
    past, today = days(-2, -1), days(0)
    backfill = site.backfill({PRODUCTS: [*past, *today]})
    assert site.wait_for_backfill(backfill) == BulkActionStatus.COMPLETED_FAILED
    assert site.materialised(PRODUCTS) == set(today)
    reasons = failures(site, backfill)
    assert set(reasons) == set(past)
    assert all("no snapshot was taken, and the day has passed" in reason for reason in reasons.values())


def test_increments_are_filled_from_their_intervals(site: Site) -> None:
    """Yesterday had no interval: its rows are in today's, and the partition says so."""
    backfill = site.backfill({INCREMENT: days(-1, 0)})
    assert site.wait_for_backfill(backfill) == BulkActionStatus.COMPLETED_FAILED
    assert site.materialised(INCREMENT) == set(days(0))
    assert "no interval was recorded on that day" in failures(site, backfill)[days(-1)[0]]
    again = site.backfill({INCREMENT: days(0)})
    assert site.wait_for_backfill(again) == BulkActionStatus.COMPLETED_SUCCESS
