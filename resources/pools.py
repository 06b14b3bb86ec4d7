"""Pools: runs that use the same thing wait for each other in Dagster's queue. Their names, and how many may run."""

from __future__ import annotations

import re

from resources.errors import SettingInvalid
from resources.settings import POOL_LIMITS

SERVICES = {
    "databricks": 10,
    "azure_ml_batch": 10,
    "openai_batch": 2,
    "azure_ml_online": 2,
    "language": 1,
}
"""How many runs may use a service at once. A remote job holds no slot: the run that submits it ends."""

DATABASE_RUNS = 1
"""How many runs may read a source database at once: each copies `concurrency` tables, so that this is all of them."""

_PREFIX = "database_"
_NAME = re.compile(r"[A-Za-z0-9_/]+")


def name_database_pool(database: str) -> str:
    """The pool of the runs that read a source database whole."""
    return _PREFIX + re.sub(r"[^A-Za-z0-9_]", "_", database)


def choose_limits(pools: set[str]) -> dict[str, int]:
    """How many runs of each pool may run at once: as ADFML_POOL_LIMITS says, else what is usual.

    Args:
        pools: the names of those that are used.

    Raises:
        SettingInvalid: ADFML_POOL_LIMITS cannot be read, or names a pool that there is not.
    """
    usual = {name: SERVICES.get(name, DATABASE_RUNS) for name in pools}
    expected = f"pool=number, separated by commas, for example {POOL_LIMITS.example}"
    limits = {}
    for part in filter(None, (one.strip() for one in POOL_LIMITS.read().split(","))):
        name, _, number = (one.strip() for one in part.partition("="))
        if not _NAME.fullmatch(name) or not number.isdecimal() or int(number) < 1:
            raise SettingInvalid(POOL_LIMITS.name, f"{expected}; found {part!r}")
        if name not in pools and name not in SERVICES:
            known = ", ".join(sorted(pools | SERVICES.keys()))
            raise SettingInvalid(POOL_LIMITS.name, f"a pool that there is ({known}), found {name!r}")
        limits[name] = int(number)
    return usual | {name: limit for name, limit in limits.items() if name in pools}
