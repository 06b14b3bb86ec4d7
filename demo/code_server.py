"""`python -m demo.code_server FOLDER PORT`: the code location of a try-out (deploy/compose.yaml, profile try).

The sample shop's database is made in the folder, and the local cloud runs beside the code location: on loopback, as the
clients of its services send their keys to nobody else without TLS. Both end together.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from demo.processes import stop_tree
from demo.sample_shop import ensure_sample_shop
from local_cloud.process import LocalCloud

CUSTOMERS = 1000
ANYWHERE = "0.0.0.0"  # noqa: S104 - the other containers of the network are meant


def main(folder: Path, port: str) -> int:
    """Serve until the code server ends: its exit code."""
    ensure_sample_shop(folder / "shop.sqlite", customers=int(os.environ.get("ADFML_TRY_CUSTOMERS", CUSTOMERS)))
    for name in ("lake", "logs"):
        (folder / name).mkdir(exist_ok=True)
    with LocalCloud(folder / "cloud") as cloud:
        served = ["--module-name", "adfml_assets.definitions", "--location-name", "adfml"]
        command = [sys.executable, "-m", "dagster", "api", "grpc", "--host", ANYWHERE, "--port", port, *served]
        server = subprocess.Popen(command, env={**os.environ, **cloud.environment()})
        try:
            return server.wait()
        finally:
            stop_tree(server.pid)


if __name__ == "__main__":
    # A container is asked to end by SIGTERM: what was started here ends first.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
