"""What an invocation of a batch endpoint asks for, read and checked, and the command that does it."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from local_cloud import azure_ml_batch_driver
from local_cloud.azure_ml_batch_declared import LITERAL_TYPES, CommandWork, DeploymentSpec, ModelWork
from local_cloud.errors import ApiError

_REFERENCE = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_OPTIONAL_PART = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
"""A part of a command that is left out when an input in it is not given: `$[[--name ${{inputs.name}}]]`."""

_INPUT_TYPES = {"urifile": "uri_file", "urifolder": "uri_folder", "literal": "literal"}


@dataclass(frozen=True)
class Invocation:
    """An invocation: `data` and `outputs` are name -> path on this machine, `literals` name -> text, `wire` what the
    service shows of it, in the service's camelCase."""

    data: Mapping[str, Path]
    literals: Mapping[str, str]
    outputs: Mapping[str, Path]
    wire: Mapping[str, Any]


def read_invocation(body: Mapping[str, Any], deployment: DeploymentSpec) -> Invocation:
    """What a body asks a deployment for. Keys may be PascalCase, as the documents write them, or camelCase.

    Raises:
        ApiError: 400, as the service: an input or output that the deployment does not have, or cannot take.
    """
    properties = _field(body, "properties")
    if not isinstance(properties, dict):
        raise invalid("The request has no properties.")
    inputs = _entries(properties, "inputData")
    outputs = _entries(properties, "outputData")
    labels = {name: _labels(properties, name) for name in ("properties", "tags")}
    data: dict[str, Path] = {}
    literals = dict(deployment.defaults)
    wire_inputs: dict[str, Any] = {}
    for name, one in inputs.items():
        kind = _INPUT_TYPES.get(str(_field(one, "jobInputType")).lower())
        if kind is None:
            raise invalid(f"Input {name}: jobInputType {_field(one, 'jobInputType')!r} is not supported.")
        if kind == "literal":
            value = _field(one, "value")
            literals[name] = _read_literal(deployment, name, value)
            wire_inputs[name] = {"jobInputType": "Literal", "value": value}
        else:
            uri = str(_field(one, "uri") or "")
            _require_kind(deployment, name, kind)
            data[name] = read_uri(uri, f"Input {name}")
            wire_inputs[name] = {"jobInputType": "UriFile" if kind == "uri_file" else "UriFolder", "uri": uri}
    places, wire_outputs = _read_outputs(outputs, deployment)
    _require_complete(deployment, inputs, outputs)
    return Invocation(data, literals, places, {"inputData": wire_inputs, "outputData": wire_outputs, **labels})


def build_command(invocation: Invocation, deployment: DeploymentSpec) -> list[str]:
    """The process that does a job's work."""
    work = deployment.work
    return _model_command(invocation, work) if isinstance(work, ModelWork) else _pipeline_command(invocation, work)


def read_uri(uri: str, what: str) -> Path:
    """The path of a `file://` address or an absolute path.

    Raises:
        ApiError: 400: anything else, which the local cloud cannot reach.
    """
    try:
        path = unquote(urlsplit(uri).path) if uri.startswith("file://") else uri
    except ValueError as error:
        raise invalid(f"{what}: {uri!r} is no address: {error}.") from error
    if not path.startswith("/") or "\0" in path:
        raise invalid(f"{what}: {uri!r} is out of reach; the local cloud takes files of this machine.")
    return Path(path)


def invalid(message: str) -> ApiError:
    """The answer to a request the service does not take."""
    return ApiError(400, "UserError", message)


def _model_command(invocation: Invocation, work: ModelWork) -> list[str]:
    if work.model is None or not work.model.is_dir():
        where = work.model or work.model_name
        raise invalid(
            f"The deployment's model {where} is not a folder of this machine; the local cloud has no registry."
        )
    order = {
        "script": str(work.script),
        "model": str(work.model),
        "input": str(next(iter(invocation.data.values()))),
        "output": str(next(iter(invocation.outputs.values()))),
        "mini_batch_size": work.mini_batch_size,
        "variables": dict(work.variables),
    }
    return [sys.executable, azure_ml_batch_driver.__file__, json.dumps(order)]


def _pipeline_command(invocation: Invocation, work: CommandWork) -> list[str]:
    values: dict[str, str] = {}
    given = {**invocation.literals, **{name: str(path) for name, path in invocation.data.items()}}
    absent = {f"inputs.{name}" for name, source in work.inputs.items() if source not in given}
    for name, source in work.inputs.items():
        values[f"${{{{inputs.{name}}}}}"] = given.get(source, "")
    for name, source in work.outputs.items():
        values[f"${{{{outputs.{name}}}}}"] = str(invocation.outputs[source])

    def keep(part: re.Match[str]) -> str:
        return "" if absent.intersection(_REFERENCE.findall(part[1])) else part[1]

    command = _OPTIONAL_PART.sub(keep, work.arguments)
    arguments = [_replace(token, values) for token in shlex.split(command)]
    return [sys.executable, str(work.script), *arguments]


def _replace(token: str, values: Mapping[str, str]) -> str:
    # One pass: a value that looks like another reference stays as it is.
    parts = token.split("${{")
    found = [parts[0]]
    for part in parts[1:]:
        name, end, rest = part.partition("}}")
        reference = f"${{{{{name.strip()}}}}}"
        if not end or reference not in values:
            raise invalid(f"The component's command refers to {reference}, which it does not have.")
        found += [values[reference], rest]
    return "".join(found)


def _read_literal(deployment: DeploymentSpec, name: str, value: Any) -> str:
    if not deployment.is_pipeline:
        raise invalid(f"Input {name}: model deployments take no literal inputs, pipeline components do.")
    _require_known(deployment, name)
    kind = deployment.inputs[name]
    if kind not in LITERAL_TYPES:
        raise invalid(f"Input {name}: expected {kind}, found a literal.")
    fits = {
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, (int, float)) and not isinstance(value, bool),
    }
    if not fits[kind]:
        raise invalid(f"Input {name}: expected a literal of type {kind}, found {json.dumps(value)}.")
    if "\0" in str(value):
        raise invalid(f"Input {name}: the literal holds a NUL character.")
    return str(value)


def _require_kind(deployment: DeploymentSpec, name: str, kind: str) -> None:
    if not deployment.is_pipeline:
        return
    _require_known(deployment, name)
    if deployment.inputs[name] != kind:
        raise invalid(f"Input {name}: expected {deployment.inputs[name]}, found {kind}.")


def _require_known(deployment: DeploymentSpec, name: str) -> None:
    if name not in deployment.inputs:
        raise invalid(f"Deployment {deployment.name} has no input {name}; it has {sorted(deployment.inputs)}.")


def _read_outputs(outputs: Mapping[str, Any], deployment: DeploymentSpec) -> tuple[dict[str, Path], dict[str, Any]]:
    places: dict[str, Path] = {}
    wire: dict[str, Any] = {}
    for name, one in outputs.items():
        if deployment.is_pipeline and name not in deployment.outputs:
            raise invalid(f"Deployment {deployment.name} has no output {name}; it has {sorted(deployment.outputs)}.")
        kind, uri = str(_field(one, "jobOutputType") or ""), str(_field(one, "uri") or "")
        if kind.lower() not in ("urifolder", "urifile"):
            raise invalid(f"Output {name}: jobOutputType {kind!r} is not supported.")
        places[name] = read_uri(uri, f"Output {name}")
        try:
            is_there = places[name].exists()
        except OSError as error:
            raise invalid(f"Output {name}: {uri} cannot be a location: {error.strerror}.") from error
        if is_there:
            raise invalid(f"Output {name}: {uri} exists already; an output has to be a new location.")
        wire[name] = {"jobOutputType": kind, "uri": uri}
    return places, wire


def _require_complete(deployment: DeploymentSpec, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    if not deployment.is_pipeline:
        if len(inputs) != 1 or len(outputs) != 1:
            raise invalid(f"A model deployment takes one input and one output, found {len(inputs)} and {len(outputs)}.")
        return
    missing = sorted(deployment.inputs.keys() - deployment.optional - inputs.keys())
    missing += sorted(deployment.outputs.keys() - outputs.keys())
    if missing:
        raise invalid(f"Deployment {deployment.name} needs {missing}, which the request does not have.")


def _entries(properties: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = _field(properties, name) or {}
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise invalid(f"{name}: expected an object of objects.")
    return found


def _labels(properties: Mapping[str, Any], name: str) -> dict[str, str]:
    found = _field(properties, name) or {}
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise invalid(f"{name}: expected an object of strings.")
    return found


def _field(values: Any, name: str) -> Any:
    if not isinstance(values, dict):
        return None
    return next((value for key, value in values.items() if key.casefold() == name.casefold()), None)
