"""`python -m demo.daemon run ...`: Dagster's daemon, but looking at backfills every two seconds, not every thirty.

A person is watching, and Dagster has no setting for this interval. Everything else is `dagster-daemon` as it is, which
is what a deployment runs.
"""

from __future__ import annotations

from dagster._daemon import controller
from dagster._daemon.cli import main

INTERVAL_SECONDS = 2

if __name__ == "__main__":
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = INTERVAL_SECONDS
    main()
