"""Where a model is trained or scored: the part of a declaration that all remote jobs share."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.components.declaration import STRICT


@dataclass
class RemoteEngine(dg.Resolvable):
    """A remote job.

    Attributes:
        service: `databricks`.
        job: the job's name or id in the workspace.
        deadline_hours: after this wall-clock time the job is cancelled and has failed (the activity's timeout).
        max_tries: how often a transient failure (cloud, quota) is tried in all (the activity's retry, plus one).
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    job: str
    service: Literal["databricks"] = "databricks"
    deadline_hours: float = 12.0
    max_tries: int = 2
