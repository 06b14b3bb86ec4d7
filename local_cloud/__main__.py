"""The command line: ``python -m local_cloud serve|start|stop --state DIR``; start prints what clients need."""

from __future__ import annotations

import argparse
import logging
import shlex
import signal
import sys
from pathlib import Path

from local_cloud.bundle import DEFAULT_BUNDLE
from local_cloud.errors import STATE_IN_USE_EXIT_CODE, LocalCloudError, StateInUseError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line: the exit code."""
    # Inherited as ignored (a shell's background job, nohup), a signal sent before serving would be lost.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    parser = argparse.ArgumentParser(prog="python -m local_cloud", description="Azure's services on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("serve", help="serve until SIGTERM or SIGINT")
    command.add_argument("--state", type=Path, required=True, help="folder for runs, logs, models and tokens")
    command.add_argument("--port", type=int, default=0, help="port of 127.0.0.1; 0: as before, else any free one")
    command.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, help="databricks.yml with the jobs")
    command.add_argument("--parent", type=int, metavar="PID", help="stop when this process is the parent no more")
    command.set_defaults(run=_serve)
    command = commands.add_parser(
        "start", help="start one in the background, or find it; prints the settings to use it"
    )
    command.add_argument("--state", type=Path, required=True, help="folder for runs, logs, models and tokens")
    command.set_defaults(run=_start)
    command = commands.add_parser("stop", help="stop the one that runs, with its jobs")
    command.add_argument("--state", type=Path, required=True, help="its folder")
    command.set_defaults(run=_stop)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    try:
        return int(given.run(given))
    except LocalCloudError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return STATE_IN_USE_EXIT_CODE if isinstance(error, StateInUseError) else 1


def _serve(given: argparse.Namespace) -> int:
    # After the command line is read: importing the server takes a while.
    from local_cloud.server import serve

    return serve(given.state, port=given.port, bundle=given.bundle, parent=given.parent)


def _start(given: argparse.Namespace) -> int:
    from local_cloud.process import LocalCloud

    cloud = LocalCloud(given.state, exit_with_parent=False).start()
    for name, value in sorted(cloud.environment().items()):
        print(f"export {name}={shlex.quote(value)}")
    return 0


def _stop(given: argparse.Namespace) -> int:
    from local_cloud.process import LocalCloud, find_running
    from local_cloud.state import StateFolder

    if find_running(StateFolder.at(given.state)) is None:
        print(f"No local cloud runs on {given.state}.", file=sys.stderr)
        return 1
    LocalCloud(given.state).start().stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
