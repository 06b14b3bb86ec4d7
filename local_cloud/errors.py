"""Errors of the local cloud: one base class, the facts kept as attributes."""

from __future__ import annotations

from pathlib import Path

STATE_IN_USE_EXIT_CODE = 3
"""The exit code of a server whose state folder is served by another one."""


class LocalCloudError(Exception):
    """Base of every error the local cloud raises."""


class BundleError(LocalCloudError):
    """A bundle that cannot be run: says what was found where, and what was expected."""

    def __init__(self, path: Path, where: str, problem: str) -> None:
        super().__init__(f"{path}: {where}: {problem}")
        self.path = path
        self.where = where
        self.problem = problem


class StateInUseError(LocalCloudError):
    """Another local cloud already serves this state folder."""

    def __init__(self, folder: Path, owner: str) -> None:
        super().__init__(
            f"the state folder {folder} is already served by {owner}; stop that one, attach to it "
            "(LocalCloud(..., existing='attach')) or give this one a folder of its own"
        )
        self.folder = folder
        self.owner = owner


class StartError(LocalCloudError):
    """The local cloud did not come up: carries the tail of its log."""

    def __init__(self, folder: Path, reason: str, log_tail: str) -> None:
        super().__init__(
            f"the local cloud on {folder} did not come up: {reason}. The end of {folder / 'server.log'}:\n{log_tail}"
        )
        self.folder = folder
        self.reason = reason
        self.log_tail = log_tail


class StopError(LocalCloudError):
    """The local cloud did not stop in time and had to be killed."""

    def __init__(self, folder: Path, pid: int, seconds: float) -> None:
        super().__init__(
            f"the local cloud on {folder} (process {pid}) did not stop within {seconds:g} s of SIGTERM and was killed; "
            "its next start on this folder finds out how its runs ended"
        )
        self.folder = folder
        self.pid = pid
        self.seconds = seconds


class TokenError(LocalCloudError):
    """An access token that is not accepted. ``reason`` is missing, malformed, signature, expired or audience."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ApiError(LocalCloudError):
    """A request answered with an error: the HTTP status, the service's own error code and its message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
