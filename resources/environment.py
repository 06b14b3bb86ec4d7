"""Which environment this is, and what that decides: one setting, the same YAML everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from resources.errors import SettingInvalid
from resources.settings import ENVIRONMENT, SCHEDULES

EnvironmentName = Literal["dev", "staging", "production"]


@dataclass(frozen=True)
class Environment:
    """The environment this process runs in.

    Attributes:
        name: `dev`, `staging` or `production`.
        schedules_on: whether what is declared to happen by itself (schedules, automation, catch-up, retraining) starts
            as on. What somebody turned on or off in the UI stays so.
    """

    name: EnvironmentName
    schedules_on: bool


def read_environment(environment: Mapping[str, str] | None = None) -> Environment:
    """The environment by ADFML_ENVIRONMENT; ADFML_SCHEDULES has the last word about the schedules.

    Args:
        environment: in place of the process's own variables.

    Raises:
        SettingInvalid: either is none of the words it may be.
    """
    names = get_args(EnvironmentName)
    name = ENVIRONMENT.read(environment)
    if name not in names:
        raise SettingInvalid(ENVIRONMENT.name, f"{', '.join(names[:-1])} or {names[-1]}, found {name!r}")
    switch = SCHEDULES.read(environment)
    if switch not in ("", "on", "off"):
        raise SettingInvalid(SCHEDULES.name, f"on or off, found {switch!r}")
    schedules_on = switch == "on" if switch else name == "production"
    return Environment(cast("EnvironmentName", name), schedules_on)
