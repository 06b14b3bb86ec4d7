"""The errors of the command itself."""

from __future__ import annotations

from collections.abc import Sequence

from resources.help import DocumentedError


class CommandFailed(DocumentedError):
    """The command cannot do what it was told: its message says what was expected."""


class WorkflowFailed(CommandFailed):
    """The workflow did not end well; carries what its runs said.

    Attributes:
        name: of what was launched.
        messages: what its runs said, one a failure.
        backfill_id: the backfill's.
    """

    def __init__(self, name: str, messages: Sequence[str], backfill_id: str | None = None) -> None:
        self.name = name
        self.messages = list(messages)
        self.backfill_id = backfill_id
        super().__init__("\n".join(messages) or f"{name}: it ended without success, and no run says why.")
