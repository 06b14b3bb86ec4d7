"""`adfml upgrade` in a process of its own, with revisions that are only here: one that breaks, one that takes its time.

Arguments: the folder of the revisions, `kill` to end the process by SIGKILL after its changes and before its commit.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from adfml_cli.cli import app
from resources.migrations import history, revisions


def use_revisions(folder: Path) -> None:
    """Let the project's revisions be those of a folder."""
    history.VERSIONS = folder
    newest = max(file.name[1:5] for file in folder.glob("r*.py"))
    revisions.HEAD, revisions.COMPATIBLE_FROM = newest, newest


if __name__ == "__main__":
    use_revisions(Path(sys.argv[1]))
    if sys.argv[2:] == ["kill"]:
        migrate = history.migrate

        def die(*arguments: object) -> None:
            migrate(*arguments)  # type: ignore[arg-type]
            os.kill(os.getpid(), signal.SIGKILL)

        history.migrate = die  # type: ignore[assignment]
    app(["upgrade", "--json"])
