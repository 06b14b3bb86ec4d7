"""The demo's command as a user runs it, for the folders that test it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 600
"""How long a demo may take: a minute and a half where the machine does nothing else."""


def demo_environment(folder: Path) -> dict[str, str]:
    """This process's environment without its own settings, and the folder that keeps the demos."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ADFML_", "DAGSTER_"))}
    return {**kept, "ADFML_DEMO_FOLDER": str(folder), "COLUMNS": "160"}


def run_demo(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`python -m demo run` with demos kept in a folder, to its end."""
    command = [sys.executable, "-m", "demo", "run", *options]
    return subprocess.run(
        command, cwd=ROOT, env=demo_environment(folder), capture_output=True, text=True, check=False, timeout=SECONDS
    )


def processes_of(folder: Path) -> list[str]:
    """The command lines of what a demo of this folder has left running."""
    found = []
    for process in psutil.process_iter(["pid", "environ", "cmdline"]):
        if (process.info["environ"] or {}).get("ADFML_DEMO_FOLDER") == str(folder) and process.pid != os.getpid():
            found.append(" ".join(process.info["cmdline"] or []))
    return found
