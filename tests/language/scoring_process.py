"""A scoring run in a process of its own, which kills itself where a test wants it to."""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Lock
from typing import Any

import adfml_assets.text.language_run as runs
from adfml_assets.text.language_rows import RowsToScore
from adfml_assets.text.language_scoring import TextRules
from resources.control import ControlDatabase, utc_now
from resources.database import Databases
from resources.lake import Lake
from resources.language import Language
from resources.language_turns import LEASE

SECONDS = 60.0


@dataclass(frozen=True)
class Order:
    """What a process does.

    Attributes:
        schema: of the table Feedback in database `shop`.
        die_at: `module:name.of.function` at whose `die_call`-th call the process kills itself; None: it lives.
        die_after: whether after that call, not before it.
        environment: settings of the process.
    """

    schema: str
    die_at: str | None = None
    die_call: int = 1
    die_after: bool = False
    run_id: str = "killed"
    page_rows: int = 20
    lease: timedelta = LEASE
    environment: dict[str, str] = field(default_factory=dict)


def carry_out(order: Order) -> None:
    """Score everything, or die."""
    os.environ.update(order.environment)
    if order.die_at is not None:
        set_trap(order.die_at, order.die_call, order.die_after)
    rows = RowsToScore(Databases(), "shop", order.schema, "Feedback", ("FeedbackId",), "FeedbackText", "scored")
    marks = runs.Marks("Sentiment", "ConfidencePositive", "ConfidenceNeutral", "ConfidenceNegative", "scored", -1)
    rules = TextRules("en", "split")
    run = runs.LanguageRun(
        "mood", "ml/text_scores/mood", rows, rules, marks, order.page_rows, concurrency=2, lease=order.lease
    )
    runs.score_rows(
        run,
        utc_now().date().isoformat(),
        lake=Lake(),
        control=ControlDatabase(),
        language=Language(),
        run_id=order.run_id,
        log=logging.getLogger("process"),
    )


def set_trap(where: str, die_call: int, die_after: bool) -> None:
    """Have a function kill this process, as nothing in it can prevent."""
    module, _, name = where.partition(":")
    *parents, last = name.split(".")
    owner: Any = importlib.import_module(module)
    for parent in parents:
        owner = getattr(owner, parent)
    original: Callable[..., Any] = getattr(owner, last)
    lock, calls = Lock(), iter(range(1, 1_000_000))

    def trapped(*args: Any, **kwargs: Any) -> Any:
        with lock:
            number = next(calls)
        if number == die_call and not die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if number == die_call and die_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, last, trapped)


_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.language.scoring_warm"])


def start(order: Order) -> Any:
    """A process that carries an order out."""
    names = ("ADFML_", "IDENTITY_")
    settings = {name: value for name, value in os.environ.items() if name.startswith(names)}
    order = Order(**{**order.__dict__, "environment": settings})
    process = _context.Process(target=carry_out, args=(order,))
    process.start()
    return process


def run(order: Order) -> int:
    """The exit code of an order: -9 for one that died."""
    process = start(order)
    process.join(SECONDS)
    assert process.exitcode is not None, "the process does not end"
    return int(process.exitcode)
