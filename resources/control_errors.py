"""What can be wrong with the tables of the control database, each with what to run."""

from __future__ import annotations

from resources.errors import ResourceError


class UpgradeNeeded(ResourceError):
    """The control database's tables are older than this code, and not changed without being told."""

    def __init__(self, address: str, found: str, needed: str, reason: str) -> None:
        self.address = address
        self.found = found
        self.needed = needed
        self.reason = reason
        super().__init__(
            f"The control database at {address} is at revision {found}, and this version of adfml needs {needed}: "
            f"{reason}. Look at what would be done with `adfml upgrade --dry-run`, make a backup, end the daemon and "
            "its runs, and run `adfml upgrade`."
        )


class DatabaseNewer(ResourceError):
    """The control database's tables are newer than this code, and changed so that it cannot use them."""

    def __init__(self, address: str, found: str, known: str) -> None:
        self.address = address
        self.found = found
        self.known = known
        super().__init__(
            f"The control database at {address} is at revision {found}, and this version of adfml knows up to {known}: "
            "a newer version of adfml has changed it. Install that version, or restore the backup made before its "
            "`adfml upgrade`."
        )


class NotMigrated(ResourceError):
    """The tables could not be made or changed: somebody holds them, or the login may not."""

    def __init__(self, address: str, reason: str, remedy: str) -> None:
        self.address = address
        self.reason = reason
        self.remedy = remedy
        super().__init__(
            f"The tables of the control database at {address} could not be changed ({reason}); nothing was. {remedy}."
        )


class NotAControlDatabase(ResourceError):
    """A database has tables of our names that are not ours."""

    def __init__(self, address: str, difference: str) -> None:
        self.address = address
        self.difference = difference
        super().__init__(
            f"The database at {address} has tables of the control database's names that no version of adfml made: "
            f"{difference}. Check ADFML_CONTROL_URL, or rename those tables."
        )
