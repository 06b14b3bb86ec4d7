"""Running probes beside each other, each within a time limit: one that fails or hangs never hides another."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from adfml_cli.doctor.findings import Finding, Notes

CONCURRENCY = 8
LIMIT_SECONDS = 20.0

_DONE = None


class Step:
    """Says what a probe is about to do: what is told of one that hangs.

    Attributes:
        request_seconds: how long one request of the probe may take, so that its own error comes before its limit.
    """

    def __init__(self, limit_seconds: float) -> None:
        self.request_seconds = max(1, int(limit_seconds * 0.75))
        self.doing = ""

    def __call__(self, doing: str) -> None:
        """From now on it does this."""
        self.doing = doing


@dataclass(frozen=True)
class Probe:
    """One look at one thing.

    Attributes:
        check: the check that it belongs to.
        subject: what it looks at.
        run: yields findings as they are known; what it raises becomes one.
        limit_seconds: how long it may take; None: as all others.
    """

    check: str
    subject: str
    run: Callable[[Step], Iterator[Finding]]
    limit_seconds: float | None = None


@dataclass
class _Started:
    """A probe that runs, in a thread that ends with the process."""

    probe: Probe
    index: int
    stop_at: float
    began: float
    step: Step
    findings: list[Finding] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """What probes found, in the order of the probes, and how many of them did not come back."""

    findings: Sequence[Finding]
    hanging: int


def run_probes(
    probes: Sequence[Probe], *, limit_seconds: float = LIMIT_SECONDS, concurrency: int = CONCURRENCY
) -> Outcome:
    """Run probes, at most so many at once.

    A probe that takes longer than its limit is given up: what it had found stays, the next one takes its place, and
    its thread is left behind. No thread can be ended from outside; these do not keep the process alive.
    """
    answers: queue.Queue[tuple[int, Finding | None]] = queue.Queue()
    waiting = list(enumerate(probes))
    running: dict[int, _Started] = {}
    found: dict[int, list[Finding]] = {index: [] for index, _ in waiting}
    hanging = 0
    while waiting or running:
        while waiting and len(running) < concurrency:
            index, probe = waiting.pop(0)
            running[index] = _start(probe, index, answers, limit_seconds)
        wait = min(one.stop_at for one in running.values()) - time.monotonic()
        try:
            index, finding = answers.get(timeout=max(0.0, wait))
        except queue.Empty:
            for one in _list_overdue(running):
                found[one.index].append(_give_up(one))
                del running[one.index]
                hanging += 1
            continue
        if index not in running:
            continue  # of a probe that was given up: the report says that it did not come back
        if finding is _DONE:
            del running[index]
        else:
            found[index].append(replace(finding, seconds=time.monotonic() - running[index].began))
    return Outcome([finding for index in sorted(found) for finding in found[index]], hanging)


def _start(probe: Probe, index: int, answers: queue.Queue[tuple[int, Finding | None]], limit: float) -> _Started:
    now, seconds = time.monotonic(), probe.limit_seconds or limit
    started = _Started(probe, index, now + seconds, now, Step(seconds))

    def work() -> None:
        try:
            for finding in probe.run(started.step):
                answers.put((index, finding))
        except Exception as error:
            answers.put((index, Notes(probe.check).error(probe.subject, error)))
        finally:
            answers.put((index, _DONE))

    threading.Thread(target=work, name=f"doctor-{probe.check}-{index}", daemon=True).start()
    return started


def _list_overdue(running: dict[int, _Started]) -> list[_Started]:
    now = time.monotonic()
    return [one for one in running.values() if one.stop_at <= now]


def _give_up(one: _Started) -> Finding:
    seconds = time.monotonic() - one.began
    doing = f" while {one.step.doing}" if one.step.doing else ""
    finding = Notes(one.probe.check).failed(
        one.probe.subject,
        f"No answer within {seconds:.0f} s{doing}.",
        "Check that the service is up and that nothing on the way swallows connections (firewall, proxy, private "
        "endpoint); --timeout gives it longer.",
    )
    return replace(finding, seconds=seconds)
