"""Who gives a command."""

from __future__ import annotations

import getpass
import os
import socket


def name_user() -> str:
    """`user@host`, for the record of who changed something; the number of a user that has no name, as in containers."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
