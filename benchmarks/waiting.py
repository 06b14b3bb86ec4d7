"""From the end of a remote job to its collected result, through Dagster's own daemon.

    python -m benchmarks.waiting [--jobs 7]

A sample shop's model is trained again and again on the local cloud; each run that collects waits in Dagster's queue
until the sensor has seen the job's end. Between the two lie a tick of the sensor and one of the queue, 5 s each at
best, and the start of a process.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measuring import print_table
from resources.remote_jobs import RemoteJob


def main(arguments: list[str] | None = None) -> None:
    """Train the versions one after the other, and print how long each step of the waiting took."""
    import dagster as dg

    from demo.home import DemoHome
    from demo.sample_shop import ensure_sample_shop
    from demo.services import run_services
    from demo.workflow_run import run_workflow
    from resources.control import ControlDatabase
    from resources.databricks import Databricks

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=7)
    chosen = parser.parse_args(arguments)
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    with tempfile.TemporaryDirectory() as folder:
        home = DemoHome(Path(folder))
        home.prepare()
        ensure_sample_shop(home.shop, customers=100, seed=7)
        with run_services(home) as services, dg.DagsterInstance.get() as instance:
            for version in range(1, chosen.jobs + 1):
                run_workflow(instance, "train", day, str(version), lambda _text: None, services.require_alive)
            client = Databricks().client
            steps = []
            for job in ControlDatabase().ledger.list_jobs():
                ended = client.jobs.get_run(int(str(job.remote_id))).end_time
                steps.append(_measure(job, datetime.fromtimestamp((ended or 0) / 1000, UTC)))
    names = ("the job's end -> seen by the sensor", "seen -> collected", "the job's end -> collected")
    rows = [
        [name, *(f"{pick(values):.1f}" for pick in (statistics.median, min, max))]
        for name, values in zip(names, zip(*steps, strict=True), strict=True)
    ]
    print_table(f"Waiting for {len(steps)} jobs", ["", "median s", "least", "most"], rows, words=1)


def _measure(job: RemoteJob, ended: datetime) -> tuple[float, float, float]:
    if job.ended_at is None or job.collected_at is None:
        raise RuntimeError(f"{job.submission_key} was not collected ({job.state})")
    seen, collected = (job.ended_at - ended).total_seconds(), (job.collected_at - job.ended_at).total_seconds()
    return seen, collected, seen + collected


if __name__ == "__main__":
    main()
