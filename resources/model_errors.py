"""The errors of the model registry: each with its facts as attributes."""

from __future__ import annotations

from collections.abc import Sequence

from resources.errors import ResourceError


class UnknownVersion(ResourceError):
    """A version that the registry does not have."""

    def __init__(self, model: str, version: str, known: Sequence[str]) -> None:
        self.model = model
        self.version = version
        self.known = tuple(known)
        super().__init__(
            f"Model {model} has no version {version!r} in the registry (it has: {', '.join(known) or 'none'}). Train "
            "it, or materialise the model's asset for this version again: it registers what its job left."
        )


class NotPassed(ResourceError):
    """A version that may not become champion by itself."""

    def __init__(self, model: str, version: str, reason: str) -> None:
        self.model = model
        self.version = version
        self.reason = reason
        super().__init__(
            f"Version {version} of model {model} is not promoted: {reason} Train another version, or promote this one "
            f"by hand: adfml promote {model} {version} --force --reason '...'."
        )


class NothingToRollBack(ResourceError):
    """No version was champion before the one that is."""

    def __init__(self, model: str, champion: str | None) -> None:
        self.model = model
        self.champion = champion
        found = f"version {champion} is the first champion" if champion else "no version is or was champion"
        super().__init__(
            f"Model {model} cannot be rolled back: {found}. Promote another version: adfml promote {model} VERSION."
        )


class VersionKept(ResourceError):
    """A version that is or was champion, and was to be replaced by another model."""

    def __init__(self, model: str, version: str) -> None:
        self.model = model
        self.version = version
        super().__init__(
            f"Version {version} of model {model} is or was champion: scores name it and a rollback may go back to it, "
            "so that it stays the model it is. Train a new version instead."
        )


class InvalidAlias(ResourceError):
    """An alias that Unity Catalog would not take."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        super().__init__(
            f"{alias!r} cannot be an alias: expected up to 60 letters, digits, _ and -, not `latest`, and not `v` "
            "followed by a number (Unity Catalog keeps these for itself)."
        )
