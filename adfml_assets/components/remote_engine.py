"""Where a model is trained or scored: the part of a declaration that all remote jobs share."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

import dagster as dg
from pydantic import ConfigDict

from adfml_assets import lake_layout
from adfml_assets.components.declaration import STRICT, require_service
from resources.lake import Lake
from resources.manifest import FILE_NAME
from resources.remote_jobs import RemoteJob


@dataclass(frozen=True)
class JobParts:
    """What a job is about, whatever service runs it. Paths are the lake's.

    Attributes:
        partition: its partition key.
        hashes: of the input's files, by name. Not sent: they tell a job over other data from this one.
        files: data inputs that are one file, by name.
        folders: data inputs that are a folder, by name.
        values: everything else it is told, by name.
        outputs: where the results belong, by name.
        staging: a folder below which services write that want a new folder for every job.
        optional: names of folders and values that may be "": a job is told "", an endpoint gets no such input.
        written_at: when the input was written: a job that was started before has not read it. None: a file's name says
            what is in it.
    """

    partition: str
    hashes: Mapping[str, str]
    files: Mapping[str, str]
    folders: Mapping[str, str]
    values: Mapping[str, str]
    outputs: Mapping[str, str]
    staging: str
    optional: frozenset[str] = frozenset()
    written_at: datetime | None = None

    def build_parameters(self, lake: Lake) -> dict[str, str]:
        """All of it by name, paths as addresses: the parameters of the jobs in `workloads`."""
        paths = {**self.files, **self.folders, **self.outputs}
        return {**{name: lake.uri(path) if path else "" for name, path in paths.items()}, **self.values}

    def is_absent(self, name: str) -> bool:
        """Whether an optional folder or value is not there."""
        return name in self.optional and not (self.folders.get(name) or self.values.get(name))


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

    def __post_init__(self) -> None:
        """Refuse to be another engine.

        Raises:
            DeclarationInvalid: another service is declared.
        """
        require_service("Engine databricks", self.service, "databricks")

    @property
    def title(self) -> str:
        """What runs, for descriptions."""
        return f"job `{self.job}` on {self.service}"

    @property
    def kinds(self) -> set[str]:
        """The service under Dagster's name for it."""
        return {self.service}

    def build_request(self, lake: Lake, parts: JobParts) -> dict[str, Any]:
        """The request that the ledger keeps and `resources.databricks` sends."""
        return {"job": self.job, "inputs": dict(parts.hashes), "parameters": parts.build_parameters(lake)}

    def collect_scores(self, lake: Lake, model: str, day: str, job: RemoteJob, expected: Mapping[str, str]) -> None:
        """Take away the manifest of the day's earlier scores: its jobs have written over them where they belong."""
        lake.delete(f"{lake_layout.scores_folder(model, day)}/{FILE_NAME}")

    def collect_model(self, lake: Lake, model: str, version: str, job: RemoteJob) -> None:
        """Nothing to do: its jobs write where the model belongs."""
