"""The batch endpoints that are served: the same YAML files that `az ml batch-endpoint create` and
`az ml batch-deployment create` take, all those of one folder.

Supported are endpoints, model deployments (a scoring script over a model in a folder) and pipeline-component
deployments whose component is a pipeline of one command component, each in a file of its own.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from local_cloud.errors import BundleError

FOLDER_VARIABLE = "ADFML_LOCAL_AZURE_ML"
DEFAULT_FOLDER = Path(__file__).resolve().parent.parent / "workloads" / "azure_ml"
LITERAL_TYPES = ("string", "boolean", "number", "integer")
DATA_TYPES = ("uri_file", "uri_folder")


@dataclass(frozen=True)
class ModelWork:
    """A model deployment's work.

    Attributes:
        script: The scoring script.
        model: The model's folder; None: it is registered in a workspace, which the local cloud does not have.
        model_name: As the file has it.
        variables: The deployment's environment variables.
        mini_batch_size: Files of a mini-batch.
    """

    script: Path
    model: Path | None
    model_name: str
    variables: Mapping[str, str]
    mini_batch_size: int


@dataclass(frozen=True)
class CommandWork:
    """A pipeline component's one command, `python SCRIPT ARGUMENTS`, the arguments as the shell takes them.

    `inputs` and `outputs`: name in the command -> name in the pipeline.
    """

    script: Path
    arguments: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(frozen=True)
class DeploymentSpec:
    """A deployment: what it takes (`inputs`: name -> type, `optional` ones among them, `defaults` of literals), gives,
    and does."""

    endpoint: str
    name: str
    inputs: Mapping[str, str]
    optional: frozenset[str]
    outputs: Mapping[str, str]
    work: ModelWork | CommandWork
    defaults: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_pipeline(self) -> bool:
        """Whether it is a pipeline component's; a model's takes any one data input under any name."""
        return isinstance(self.work, CommandWork)


@dataclass(frozen=True)
class EndpointSpec:
    """An endpoint and its deployments by name."""

    name: str
    description: str
    default: str | None
    deployments: Mapping[str, DeploymentSpec]


def load_endpoints(folder: Path | None = None) -> dict[str, EndpointSpec]:
    """The endpoints that a folder's YAML files declare, by name.

    Args:
        folder: None: what ADFML_LOCAL_AZURE_ML says, else the project's `workloads/azure_ml`.

    Raises:
        BundleError: a file that cannot be served: says where and why.
    """
    folder = (folder or Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)).resolve()
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    deployments: dict[str, dict[str, DeploymentSpec]] = {}
    for path in sorted(folder.glob("*.yml")):
        document = _read(path)
        kind = str(document.get("$schema", "")).rpartition("/")[2]
        if kind == "batchEndpoint.schema.json":
            found[_text(path, document, "name")] = path, document
        elif kind in ("modelBatchDeployment.schema.json", "pipelineComponentBatchDeployment.schema.json"):
            read = _read_model if document.get("type") == "model" else _read_pipeline
            spec = read(path, document)
            deployments.setdefault(spec.endpoint, {})[spec.name] = spec
    if homeless := sorted(deployments.keys() - found.keys()):
        raise BundleError(folder, "endpoint_name", f"no file declares the endpoints {homeless}")
    return {
        name: EndpointSpec(
            name,
            str(document.get("description") or ""),
            _mapping(path, document, "defaults").get("deployment_name"),
            deployments.get(name, {}),
        )
        for name, (path, document) in found.items()
    }


def _read_model(path: Path, document: Mapping[str, Any]) -> DeploymentSpec:
    code = _mapping(path, document, "code_configuration")
    script = (path.parent / str(code.get("code", ".")) / _text(path, code, "scoring_script")).resolve()
    if not script.is_file():
        raise BundleError(path, "code_configuration.scoring_script", f"there is no file {script}")
    settings = _mapping(path, document, "settings")
    action = settings.get("output_action", "append_row")
    if action != "summary_only":
        raise BundleError(path, "settings.output_action", f"{action!r} is not done here; expected summary_only")
    model = document.get("model")
    location = str(model.get("path", "") if isinstance(model, dict) else model or "")
    variables = {str(key): str(value) for key, value in _mapping(path, document, "environment_variables").items()}
    size = settings.get("mini_batch_size", 10)
    if not isinstance(size, int) or size < 1:
        raise BundleError(path, "settings.mini_batch_size", f"expected a number of files, found {size!r}")
    work = ModelWork(script, _find_folder(path, location), location, variables, size)
    return DeploymentSpec(
        endpoint=_text(path, document, "endpoint_name"),
        name=_text(path, document, "name"),
        inputs={},
        optional=frozenset(),
        outputs={"score": "uri_folder"},
        work=work,
    )


def _find_folder(path: Path, location: str) -> Path | None:
    if location.startswith("azureml:"):
        return None
    local = unquote(urlsplit(location).path) if location.startswith("file://") else location
    return (path.parent / local).resolve()


def _read_pipeline(path: Path, document: Mapping[str, Any]) -> DeploymentSpec:
    component_path = (path.parent / _text(path, document, "component")).resolve()
    component = _read(component_path)
    jobs = _mapping(component_path, component, "jobs")
    if len(jobs) != 1:
        raise BundleError(
            component_path, "jobs", f"has {len(jobs)} jobs; the local cloud runs pipelines of one command"
        )
    ((key, job),) = jobs.items()
    if not isinstance(job, dict):
        raise BundleError(component_path, f"jobs.{key}", "expected a mapping")
    command_path = (component_path.parent / _text(component_path, job, "component")).resolve()
    inputs = _ports(component_path, component, "inputs", (*LITERAL_TYPES, *DATA_TYPES))
    outputs = _ports(component_path, component, "outputs", DATA_TYPES)
    script, arguments = _read_command(command_path)
    work = CommandWork(
        script=script,
        arguments=arguments,
        inputs=_bindings(component_path, key, job, "inputs", inputs),
        outputs=_bindings(component_path, key, job, "outputs", outputs),
    )
    return DeploymentSpec(
        endpoint=_text(path, document, "endpoint_name"),
        name=_text(path, document, "name"),
        inputs={name: one["type"] for name, one in inputs.items()},
        optional=frozenset(name for name, one in inputs.items() if one.get("optional") or "default" in one),
        outputs={name: one["type"] for name, one in outputs.items()},
        work=work,
        defaults={name: str(one["default"]) for name, one in inputs.items() if "default" in one},
    )


def _read_command(path: Path) -> tuple[Path, str]:
    """A command component's script, and the arguments it gets."""
    document = _read(path)
    command = _text(path, document, "command")
    interpreter, script, arguments = [*command.split(maxsplit=2), "", "", ""][:3]
    if interpreter not in ("python", "python3") or not script:
        raise BundleError(path, "command", f"expected `python SCRIPT ...`, found {command!r}")
    try:
        shlex.split(arguments)
    except ValueError as error:
        raise BundleError(path, "command", f"is no command line: {error}") from error
    return (path.parent / str(document.get("code", ".")) / script).resolve(), arguments


def _ports(path: Path, component: Mapping[str, Any], what: str, types: Sequence[str]) -> dict[str, dict[str, Any]]:
    """A component's inputs or outputs, each of one of some types."""
    found = _mapping(path, component, what)
    for name, one in found.items():
        kind = one.get("type") if isinstance(one, dict) else None
        if kind not in types:
            raise BundleError(path, f"{what}.{name}.type", f"{kind!r} is none of {types}")
    return found


def _bindings(path: Path, key: str, job: Mapping[str, Any], what: str, known: Container[str]) -> dict[str, str]:
    found = {}
    for name, value in _mapping(path, job, what).items():
        start, end = f"${{{{parent.{what}.", "}}"
        if not str(value).startswith(start) or not str(value).endswith(end):
            raise BundleError(path, f"jobs.{key}.{what}.{name}", f"expected {start}<name>{end}, found {value!r}")
        found[name] = str(value).removeprefix(start).removesuffix(end)
        if found[name] not in known:
            raise BundleError(path, f"jobs.{key}.{what}.{name}", f"the pipeline has no {found[name]!r} in its {what}")
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(path, "file", "does not exist") from None
    except yaml.YAMLError as error:
        raise BundleError(path, "file", f"is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise BundleError(path, "file", f"expected a mapping, found {type(document).__name__}")
    return document


def _mapping(path: Path, document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name) or {}
    if not isinstance(value, dict):
        raise BundleError(path, name, f"expected a mapping, found {type(value).__name__}")
    return value


def _text(path: Path, document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if not isinstance(value, str) or not value:
        raise BundleError(path, name, f"expected a text, found {value!r}")
    return value
