"""How a workload is started as a file, and how it ends: arguments in, one clear last line on stderr."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from workloads.errors import WorkloadError


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints take the same way as every other error."""

    def error(self, message: str) -> NoReturn:
        raise WorkloadError(f"{message}; arguments: {' '.join(self.format_usage().split())}")


def parse_arguments(
    program: str,
    required: Mapping[str, str],
    optional: Mapping[str, str],
    arguments: Sequence[str] | None = None,
) -> dict[str, str]:
    """Read `--some-name value` pairs.

    Databricks passes a job parameter that nobody set as an empty string, so an empty value counts as missing.

    Args:
        program: Name shown in the usage.
        required: Argument name with underscores -> what it is for.
        optional: The same for arguments that may be left out; these then are "".
        arguments: The command line without the program, `sys.argv[1:]` by default.

    Returns:
        Argument name with underscores -> value.

    Raises:
        WorkloadError: An argument is unknown, or required ones are missing or empty (all are named).
    """
    parser = _Parser(prog=program, allow_abbrev=False)
    for name, purpose in {**required, **optional}.items():
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, default="", help=purpose)
    values: dict[str, str] = vars(parser.parse_args(arguments))
    missing = [name for name in required if not values[name].strip()]
    if missing:
        wanted = ", ".join(f"--{name.replace('_', '-')} ({required[name]})" for name in missing)
        raise WorkloadError(f"missing or empty arguments: {wanted}", missing=missing)
    return {name: value.strip() for name, value in values.items()}


def on_databricks() -> bool:
    """Whether this process runs on Databricks compute (classic or serverless)."""
    return "DATABRICKS_RUNTIME_VERSION" in os.environ


def run_script(main: Callable[[], None], failure: type[WorkloadError]) -> None:
    """Run a workload as a process: return on success, else the traceback, `<failure>: <sentence>` last, exit code 1.

    On Databricks the error is raised instead of exiting, because the run's page shows the exception, and
    `SystemExit: 1` would say nothing there. Success never calls `sys.exit`, which some runtimes take for a failure.
    """
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(message)s")
    # Before scikit-learn is loaded: where cores are shared, spinning threads make fitting five times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        main()
    except Exception as error:
        if isinstance(error, WorkloadError):
            sentence = error.message
        else:
            sentence = " ".join(f"unexpected {type(error).__name__}: {error}".split())
        sys.stdout.flush()
        traceback.print_exc()
        print(f"{failure.__name__}: {sentence}", file=sys.stderr, flush=True)
        if on_databricks():
            raise failure(sentence) from error
        raise SystemExit(1) from None
