"""What all declarations have in common."""

from pydantic import ConfigDict

STRICT = ConfigDict(extra="forbid")
"""Fields nobody knows are mistakes, not ignored (`adfml_assets.declarations` checks by it)."""
