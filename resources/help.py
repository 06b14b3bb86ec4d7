"""Where it is said what to do about an error: its anchor in docs/operations.md."""

from __future__ import annotations

import re

HELP_PAGE = "docs/operations.md"
"""What to do when: every error class that a user can meet has its anchor there."""

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z]+")


def name_anchor(class_name: str) -> str:
    """The anchor of an error class: `PastSnapshot` is at `past-snapshot`."""
    return "-".join(_WORD.findall(class_name.rpartition(".")[2])).lower()


def build_help_url(anchor: str) -> str | None:
    """The address of an anchor in the published docs; None where ADFML_DOCS_URL is not set."""
    from resources.settings import DOCS_URL

    published = DOCS_URL.read().rstrip("/")
    return f"{published}/{HELP_PAGE.rpartition('/')[2]}#{anchor}" if published else None


class DocumentedError(Exception):
    """An error whose class has an anchor in docs/operations.md: when it comes, what it means, what to do."""

    @property
    def anchor(self) -> str:
        """The anchor of its class."""
        return name_anchor(type(self).__name__)

    @property
    def help_url(self) -> str | None:
        """Where its anchor is published; None where ADFML_DOCS_URL is not set."""
        return build_help_url(self.anchor)
