"""retention.yaml: how long partitions, ledger rows and compute logs are kept."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adfml_assets.errors import AdfmlError

_STRICT = ConfigDict(frozen=True, extra="forbid")


class RulesInvalid(AdfmlError):
    """A file of retention rules is not one."""

    def __init__(self, file: Path, mistakes: Sequence[str]) -> None:
        self.file = file
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(f"{file}: {mistake}" for mistake in mistakes))


class PartitionRule(BaseModel):
    """How long the daily partitions of some assets are kept. What a partition is needed for goes before it.

    Attributes:
        assets: a pattern over asset keys: `archive/shop/*`; `*` stands for slashes, too.
        keep_days: partitions of the last days stay: 30 keeps today's and those of the 29 days before.
        keep_newest: the newest ones that there are stay, however old.
        keep_first_of_month: of every month the first one stays.
        may_lose_state: increments go although no later full snapshot holds their rows: the table's whole state cannot
            be put together any more.
    """

    model_config = _STRICT
    assets: str = Field(min_length=1)
    keep_days: int = Field(ge=1)
    keep_newest: int = Field(default=1, ge=1)
    keep_first_of_month: bool = False
    may_lose_state: bool = False

    def matches(self, asset: str) -> bool:
        """Whether the rule is for an asset."""
        return fnmatchcase(asset, self.assets)

    def describe(self) -> str:
        """In words."""
        more = f", the newest {self.keep_newest}" + (", the first of each month" if self.keep_first_of_month else "")
        return f"{self.assets}: {self.keep_days} days{more} are kept"


class AgeRule(BaseModel):
    """How long something is kept after it ended.

    Attributes:
        keep_days: in days.
    """

    model_config = _STRICT
    keep_days: int = Field(ge=1)


class RetentionRules(BaseModel):
    """The whole file; what has no rule is kept for good.

    Attributes:
        partitions: the first rule that fits an asset holds.
        ledger: rows of remote jobs that ended and were followed by another attempt.
        alerts: incidents that were resolved, and messages that were sent or given up.
        compute_logs: what runs printed.
    """

    model_config = _STRICT
    partitions: tuple[PartitionRule, ...] = ()
    ledger: AgeRule | None = None
    alerts: AgeRule | None = None
    compute_logs: AgeRule | None = None

    def find(self, asset: str) -> PartitionRule | None:
        """The rule of an asset, if any."""
        return next((rule for rule in self.partitions if rule.matches(asset)), None)


def read_rules(file: Path) -> RetentionRules:
    """Read a file of rules.

    Raises:
        RulesInvalid: it is not there, no YAML, or not what the rules take; with every mistake.
    """
    import yaml

    try:
        given = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        raise RulesInvalid(file, ["it does not exist; deploy/retention.yaml is one to begin with"]) from None
    except yaml.YAMLError as error:
        raise RulesInvalid(file, [f"it is no YAML: {str(error).splitlines()[0]}"]) from None
    try:
        return RetentionRules.model_validate(given or {})
    except ValidationError as error:
        mistakes = [f"{'.'.join(map(str, found['loc'])) or 'the file'}: {found['msg']}" for found in error.errors()]
        raise RulesInvalid(file, mistakes) from None
