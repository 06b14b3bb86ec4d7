"""A code location that the daemon's tests run: days that follow, and runs that share a pool."""

import os
import time
from pathlib import Path

import dagster as dg

from adfml_assets.automation import build_following_sensor, let_assets_follow
from adfml_assets.partitions import build_daily_partitions
from sensors.pool_sensor import build_pool_sensor

DAILY = build_daily_partitions()


@dg.asset(partitions_def=DAILY)
def archive() -> None:
    """The source."""


@dg.asset(partitions_def=DAILY, deps=[archive])
def features() -> None:
    """Follows."""


@dg.asset(partitions_def=DAILY, deps=[features])
def scores() -> None:
    """Follows what follows."""


@dg.asset(partitions_def=DAILY, pool="database_shop")
def slow(context: dg.AssetExecutionContext) -> None:
    """Notes its process, and stays until it is let go."""
    folder = Path(os.environ["SMALL_LOCATION_FOLDER"])
    (folder / f"{context.partition_key}.{context.run_id}").write_text(str(os.getpid()))
    while not (folder / "go").exists():
        time.sleep(0.1)


assets = [archive, features, scores, slow]
defs = dg.Definitions.merge(
    let_assets_follow(dg.Definitions(assets=assets, executor=dg.in_process_executor), 30),
    dg.Definitions(sensors=[build_following_sensor("small", "*"), build_pool_sensor()]),
)
