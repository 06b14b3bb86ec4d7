"""What all declarations have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.about import About, extend_options
from adfml_assets.code_references import refer_to_functions
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.times_of_day import find_skipped_day, is_cron, is_zone
from resources.key_vault import is_secret_name

STRICT = ConfigDict(extra="forbid")
"""Fields nobody knows are mistakes, not ignored (`adfml_assets.declarations` checks by it)."""


@dataclass
class Schedule(dg.Resolvable):
    """When something happens by itself: at an hour and minute of every day, or by a cron expression, in any time zone.

    Partitions stay UTC days, whatever the zone.

    Attributes:
        cron: a cron expression, in place of `hour` and `minute`.
        timezone: an IANA name, such as Europe/Berlin.
        hour, minute: the time of every day.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    cron: str | None = None
    timezone: str = "UTC"
    hour: int | None = None
    minute: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: says which field.
        """
        what = type(self).__name__
        if (self.hour is None) == (self.cron is None):
            found = "neither" if self.cron is None else f"hour: {self.hour} and cron: {self.cron}"
            raise DeclarationInvalid(what, "hour", found, "either `hour` (and `minute`), or `cron`")
        if self.hour is not None and not 0 <= self.hour <= 23:
            raise DeclarationInvalid(what, "hour", self.hour, "an hour from 0 to 23")
        if not 0 <= self.minute <= 59 or (self.cron is not None and self.minute):
            raise DeclarationInvalid(what, "minute", self.minute, "a minute from 0 to 59, with `hour`")
        if not is_cron(self.expression):
            raise DeclarationInvalid(what, "cron", self.cron, "five fields, such as '0 5 * * *' for 05:00 every day")
        if not is_zone(self.timezone):
            raise DeclarationInvalid(what, "timezone", self.timezone, "an IANA name, such as Europe/Berlin")

    @property
    def expression(self) -> str:
        """The cron expression."""
        return self.cron if self.cron is not None else f"{self.minute} {self.hour} * * *"


@dataclass
class DailySchedule(Schedule):
    """A schedule that asks for the UTC day it ticks in."""

    def __post_init__(self) -> None:
        """Refuse also a time of the day that leaves out a UTC day when the clocks change.

        Raises:
            DeclarationInvalid: says which field.
        """
        super().__post_init__()
        skipped = find_skipped_day(self.expression, self.timezone)
        if skipped is not None:
            field = "hour" if self.cron is None else "cron"
            raise DeclarationInvalid(
                type(self).__name__,
                field,
                self.hour if self.cron is None else self.cron,
                f"a time that comes once in every UTC day: in {self.timezone} the clocks change, and this one does not "
                f"come at all on {skipped}, UTC. An hour later, or earlier, or `timezone: UTC` does",
            )


def require_secret_name(declaration: str, field: str, name: str | None) -> None:
    """Make sure that what names a Key Vault secret can be a name.

    Raises:
        DeclarationInvalid: it cannot. It is not repeated: somebody may have put the value where the name belongs.
    """
    if name is not None and not is_secret_name(name):
        raise DeclarationInvalid(
            declaration, field, "(not shown)", "the name of a Key Vault secret (letters, digits and -)"
        )


def require_service(engine: str, found: str, expected: str) -> None:
    """Make sure that an engine is the one that is declared: Dagster tries one after the other until none complains.

    Raises:
        DeclarationInvalid: another service is declared.
    """
    if found != expected:
        raise DeclarationInvalid(engine, "service", found, expected)


def build_options(
    about: About,
    *,
    adf_pipeline: str | None,
    partitions: dg.PartitionsDefinition,
    group: str,
    kinds: set[str],
    owners: Sequence[str],
    functions: Sequence[str] = (),
) -> dict[str, Any]:
    """The keyword arguments of `dg.asset` that say what an asset is and to whom it belongs.

    Args:
        functions: `package.module.function` of the declaration, which the asset page links beside the defs.yaml.
    """
    said = extend_options(about.build_options(adf_pipeline), metadata=refer_to_functions(functions))
    return {
        **said,
        "partitions_def": partitions,
        "group_name": group,
        "kinds": kinds,
        "owners": list(owners),
    }
