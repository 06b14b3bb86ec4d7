"""What one sensor tick over many outstanding jobs costs, a service at a time, against the local cloud.

    python -m benchmarks.remote_jobs [--only databricks openai_batch azure_ml_batch] [--jobs 100 1000 10000]

The local cloud really has the jobs: they are created over HTTP and held. The tick is the sensor's own `advance_jobs`,
in a process of its own.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measuring import Measured, print_table, report, run_apart
from benchmarks.remote_services import SERVICES, BenchedService

ROUNDS = 3


def main(arguments: list[str] | None = None) -> None:
    """Measure every service with every number of jobs, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=sorted(SERVICES), default=sorted(SERVICES))
    parser.add_argument("--jobs", nargs="*", type=int, default=[100, 1_000, 10_000])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    chosen = parser.parse_args(arguments)
    rows = []
    for name in chosen.only:
        for count in chosen.jobs:
            rows.append([name, f"{count:,}", *_summarise(_measure(SERVICES[name], count, chosen.rounds), count)])
            print(f"{name}, {count:,} jobs: done", file=sys.stderr)
    columns = ["service", "outstanding", "s", "CPU s", "polled", "requests a job", "peak MB"]
    print_table("One sensor tick over jobs that all run", columns, rows, words=1)


def _measure(service: BenchedService, count: int, rounds: int) -> list[Measured]:
    with tempfile.TemporaryDirectory() as folder, service.run_cloud(Path(folder)) as cloud:
        os.environ.update(cloud.environment())
        os.environ["ADFML_CONTROL_URL"] = f"sqlite:///{folder}/control.sqlite"
        os.environ["ADFML_LAKE"] = f"{folder}/lake"
        service.create_jobs(cloud, count)
        return [run_apart("benchmarks.remote_jobs", service.name, cloud.url) for _ in range(rounds)]


def _summarise(measured: list[Measured], count: int) -> list[str]:
    return [
        f"{median(m.seconds for m in measured):.2f}",
        f"{median(m.cpu_seconds for m in measured):.2f}",
        f"{median(m.facts['polled'] for m in measured):,.0f}",
        f"{median(m.facts['requests'] for m in measured) / count:.4f}",
        f"{median(m.peak_mb for m in measured):.0f}",
    ]


def tick(started: str, name: str, url: str) -> None:
    """One tick, measured in this process."""
    import httpx

    from resources.control import ControlDatabase, utc_now
    from sensors.polling import advance_jobs

    service = SERVICES[name].build_client()
    ledger = ControlDatabase().ledger
    counter = f"{url}/_local/requests"

    def look() -> dict[str, Any]:
        # More than a sensor's budget: the figure is how long all of them take.
        log = logging.getLogger("tick")
        done = advance_jobs(ledger, service, now=utc_now(), budget_seconds=600, log=log)
        requests = sum(httpx.get(counter).json().values())
        return {"polled": done.polled, "ended": done.ended, "requests": requests}

    httpx.delete(counter).raise_for_status()
    report(started, lambda: None, look)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[2] in SERVICES:
        tick(*sys.argv[1:])
    else:
        main()
