"""Reads the jobs of a Databricks asset bundle, as far as they can be run here."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from local_cloud.errors import BundleError

DEFAULT_BUNDLE = Path(__file__).resolve().parent.parent / "workloads" / "databricks.yml"
REFERENCE = re.compile(r"\{\{\s*([^{}]+?)\s*\}\}")
"""A dynamic value reference of Databricks, as in ``{{job.parameters.model_path}}``."""

_VARIABLE = re.compile(r"\$\{([^{}]+)\}")
_PARAMETER_PREFIX = "job.parameters."
_RUN_REFERENCES = frozenset({"job.id", "job.name", "job.run_id", "task.name", "task.run_id", "task.execution_count"})


class SparkPythonTask(BaseModel):
    """A Python file and its command line."""

    model_config = ConfigDict(frozen=True)

    python_file: str
    parameters: tuple[str, ...] = ()


class TaskSpec(BaseModel):
    """The one task of a job: what to run and how often to try."""

    model_config = ConfigDict(frozen=True)

    task_key: str
    spark_python_task: SparkPythonTask
    max_retries: Annotated[int, Field(ge=-1)] = 0
    min_retry_interval_millis: Annotated[int, Field(ge=0)] = 0
    retry_on_timeout: bool = False
    timeout_seconds: Annotated[int, Field(ge=0)] = 0


class JobParameterSpec(BaseModel):
    """A job parameter and its default; always text."""

    model_config = ConfigDict(frozen=True)

    name: str
    default: str


class QueueSpec(BaseModel):
    """Whether runs wait when too many are at work; Jobs API 2.2 says yes where a job says nothing."""

    model_config = ConfigDict(frozen=True)

    enabled: bool = True


class JobSpec(BaseModel):
    """A job as it is run here; ``settings`` is what the API shows of it."""

    model_config = ConfigDict(frozen=True)

    key: str
    job_id: int
    name: str
    parameters: tuple[JobParameterSpec, ...] = ()
    queue: QueueSpec = QueueSpec()
    max_concurrent_runs: Annotated[int, Field(ge=0, le=1000)] = 1
    timeout_seconds: Annotated[int, Field(ge=0)] = 0
    tasks: Annotated[tuple[TaskSpec, ...], Field(min_length=1, max_length=1)]
    settings: dict[str, Any]

    @property
    def task(self) -> TaskSpec:
        """The job's one task."""
        return self.tasks[0]

    def command_line(self, parameters: dict[str, str], run_values: dict[str, str]) -> list[str]:
        """The task's parameters with every dynamic value reference replaced, in one pass.

        Args:
            parameters: The run's job parameters.
            run_values: The other references, as ``job.run_id``.
        """
        values = {_PARAMETER_PREFIX + name: value for name, value in parameters.items()} | run_values
        return [REFERENCE.sub(lambda found: values[found[1]], one) for one in self.task.spark_python_task.parameters]


def load_bundle(path: Path) -> dict[int, JobSpec]:
    """The jobs of a bundle by job id.

    A job id follows from the bundle's name and the resource key alone, so it is the same in every state folder and
    after every restart. The default target is taken, without the name prefix of development mode. Schedules,
    clusters and environments are shown by the API and not acted on: workloads run in this Python environment.

    Raises:
        BundleError: not a bundle, a job that cannot be run here, or a file that is not there.
    """
    path = path.resolve()
    document = _read(path)
    name = str(_mapping(path, "bundle", document.get("bundle")).get("name") or "")
    if not name:
        raise BundleError(path, "bundle.name", "is missing; expected the name of the bundle")
    if "include" in document:
        raise BundleError(path, "include", "is not supported here; declare the jobs in this file")
    target_name, target = _default_target(path, document)
    jobs = _mapping(path, "resources.jobs", _dig(document, "resources", "jobs"))
    for key, override in _mapping(path, "target's resources.jobs", _dig(target, "resources", "jobs")).items():
        jobs[key] = _merge(jobs.get(key, {}), override)
    if not jobs:
        raise BundleError(path, "resources.jobs", "holds no job")
    variables = _variables(path, document, target) | {
        "bundle.name": name,
        "bundle.target": target_name,
        "workspace.file_path": str(path.parent),
        "workspace.root_path": str(path.parent),
        "workspace.current_user.userName": "local",
        "workspace.current_user.short_name": "local",
    }
    found = {}
    for key, resource in jobs.items():
        job = _job(path, name, key, _substitute(path, f"resources.jobs.{key}", resource, variables))
        found[job.job_id] = job
    return found


def job_id_of(bundle_name: str, key: str) -> int:
    """The id of a job: 15 digits from a hash of the bundle's name and the resource key."""
    digest = hashlib.sha256(f"{bundle_name}/{key}".encode()).digest()
    return 10**14 + int.from_bytes(digest[:8], "big") % (9 * 10**14)


def _job(path: Path, bundle_name: str, key: str, resource: Any) -> JobSpec:
    where = f"resources.jobs.{key}"
    settings = _mapping(path, where, resource)
    settings.pop("permissions", None)
    settings = json.loads(json.dumps({"name": key, "format": "MULTI_TASK", **settings}, default=str))
    try:
        job = JobSpec.model_validate({**settings, "key": key, "job_id": job_id_of(bundle_name, key), "settings": {}})
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        note = " (the local cloud runs jobs of one spark_python_task)" if first["loc"][0] == "tasks" else ""
        raise BundleError(path, f"{where}.{at}", f"{first['msg']}, found {first['input']!r}{note}") from error
    python_file = (path.parent / job.task.spark_python_task.python_file).resolve()
    if not python_file.is_file():
        raise BundleError(path, f"{where}.tasks.0.spark_python_task.python_file", f"there is no file {python_file}")
    known = {_PARAMETER_PREFIX + parameter.name for parameter in job.parameters} | _RUN_REFERENCES
    for text in job.task.spark_python_task.parameters:
        for reference in REFERENCE.findall(text):
            if reference not in known:
                problem = f"refers to {{{{{reference}}}}}, which is none of {sorted(known)}"
                raise BundleError(path, f"{where}.tasks.0.spark_python_task.parameters", problem)
    settings["tasks"][0]["spark_python_task"]["python_file"] = str(python_file)
    return JobSpec.model_validate({**settings, "key": key, "job_id": job.job_id, "settings": settings})


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(path, "file", "does not exist; give the path of a databricks.yml with --bundle") from None
    except yaml.YAMLError as error:
        raise BundleError(path, "file", f"is not YAML: {error}") from error
    return _mapping(path, "file", document)


def _default_target(path: Path, document: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    targets = _mapping(path, "targets", document.get("targets"))
    for name, target in targets.items():
        if len(targets) == 1 or (isinstance(target, dict) and target.get("default")):
            return name, _mapping(path, f"targets.{name}", target)
    return "default", {}


def _variables(path: Path, document: dict[str, Any], target: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for name, declared in _mapping(path, "variables", document.get("variables")).items():
        if isinstance(declared, dict) and "default" in declared:
            found[f"var.{name}"] = declared["default"]
    for name, value in _mapping(path, "target's variables", target.get("variables")).items():
        found[f"var.{name}"] = value["default"] if isinstance(value, dict) and "default" in value else value
    return found


def _substitute(path: Path, where: str, value: Any, variables: dict[str, Any], depth: int = 0) -> Any:
    if depth > 20:
        raise BundleError(path, where, "its variables refer to each other in a circle")
    if isinstance(value, dict):
        return {key: _substitute(path, f"{where}.{key}", one, variables, depth) for key, one in value.items()}
    if isinstance(value, list):
        return [_substitute(path, f"{where}.{i}", one, variables, depth) for i, one in enumerate(value)]
    if not isinstance(value, str) or not _VARIABLE.search(value):
        return value
    for name in _VARIABLE.findall(value):
        if name not in variables:
            raise BundleError(path, where, f"${{{name}}} has no value here; known are {sorted(variables)}")
    whole = _VARIABLE.fullmatch(value)
    replaced = variables[whole[1]] if whole else _VARIABLE.sub(lambda found: str(variables[found[1]]), value)
    return _substitute(path, where, replaced, variables, depth + 1)


def _merge(base: Any, override: Any) -> Any:
    if isinstance(base, dict) and isinstance(override, dict):
        return {**base, **{key: _merge(base.get(key), value) for key, value in override.items()}}
    return override


def _dig(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _mapping(path: Path, where: str, value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BundleError(path, where, f"expected a mapping, found {type(value).__name__}")
    return dict(value)
