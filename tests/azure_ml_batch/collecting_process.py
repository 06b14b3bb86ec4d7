"""A run that collects a batch endpoint's scores, in a process that kills itself where a test wants it to."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
from collections.abc import Mapping
from typing import Any

import dagster as dg

from resources.azure_ml_batch import AzureMlBatch
from resources.completion_log import CompletionLog
from resources.control import ControlDatabase
from resources.database import Databases
from resources.lake import Lake
from tests.azure_ml_batch.test_scored_model import DAY, MODEL, scored

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__])


def collect(where: str, when: str, environment: Mapping[str, str]) -> None:
    """Materialise the scores, and die `before` or `after` a function: `module:name.of.function`."""
    os.environ.update(environment)
    set_trap(where, when)
    component = scored()
    dg.materialize(
        list(component.build_defs(None).assets or []),  # type: ignore[arg-type, list-item]  # it needs no context
        selection=[dg.AssetKey(["ml", "scores", MODEL])],
        partition_key=DAY,
        resources={
            "lake": Lake(),
            "control": ControlDatabase(),
            "databases": Databases(),
            "azure_ml_batch": AzureMlBatch(),
            "completion_log": CompletionLog(),
        },
    )


def set_trap(where: str, when: str) -> None:
    """Have a function kill this process, as nothing in it can prevent."""
    module, _, name = where.partition(":")
    *parents, last = name.split(".")
    owner: Any = importlib.import_module(module)
    for parent in parents:
        owner = getattr(owner, parent)
    original = getattr(owner, last)

    def trapped(*arguments: Any, **keywords: Any) -> None:
        if when == "after":
            original(*arguments, **keywords)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, last, trapped)


def run(where: str, when: str) -> int:
    """The exit code of such a process: -9 for one that died."""
    names = ("ADFML_", "IDENTITY_")
    environment = {name: value for name, value in os.environ.items() if name.startswith(names)}
    process = _context.Process(target=collect, args=(where, when, environment))
    process.start()
    process.join(60)
    assert process.exitcode is not None, "the process does not end"
    return int(process.exitcode)
