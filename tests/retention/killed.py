"""Removes a partition in a process that dies by SIGKILL before its n-th change of control database, lake or Dagster."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import dagster as dg

from adfml_assets.retention import removing
from adfml_assets.retention.plan import Going
from resources.control import ControlDatabase
from resources.lake import Lake
from resources.removals import Removals


def die_before(owner: type, name: str, counter: itertools.count[int], step: int) -> None:
    """Let a method kill the process where it is the n-th of all counted calls."""
    original: Callable[..., Any] = getattr(owner, name)

    def counted(*arguments: Any, **named: Any) -> Any:
        if next(counter) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(owner, name, counted)


if __name__ == "__main__":
    step, day, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    counter = itertools.count(1)
    # intend, delete the manifest, delete two files, mark removed, report, mark reported: seven.
    for owner, name in (
        (Removals, "intend"),
        (Lake, "delete"),
        (Removals, "mark_removed"),
        (dg.DagsterInstance, "report_runless_asset_event"),
        (Removals, "mark_reported"),
    ):
        die_before(owner, name, counter, step)
    with dg.DagsterInstance.get() as instance:
        going = Going("ml/scores/sales", day, folder, "a rule")
        list(removing.remove_partitions(Lake(), ControlDatabase(), instance, [going]))
