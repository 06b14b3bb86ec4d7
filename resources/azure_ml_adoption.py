"""Whether a job of a batch endpoint that somebody else started is the one that a request would have started."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from resources.azure_ml_states import read_field


def compare_job(answer: Mapping[str, Any], request: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """What about a job is not as requested, and the facts by which its result is found.

    Args:
        answer: the job, as `GET <scoring URI>/<name>` gives it.
        request: as the ledger would keep it (see `AzureMlBatch`).

    Returns:
        Differences, a sentence without its end each; and `remote_key`, `output_name` where the job says them.
    """
    properties = read_field(answer, "properties") or {}
    inputs, outputs = (read_field(properties, name) or {} for name in ("inputData", "outputData"))
    differences = list(_compare_inputs(inputs, request["input_data"]))
    facts: dict[str, str] = {}
    key_input = request.get("submission_key_input")
    if key_input:
        key = str(read_field(inputs.get(key_input) or {}, "value") or "")
        if key:
            facts["remote_key"] = key
        else:
            differences.append(
                f"it was started without the input {key_input}, so that its result could not be told from another's"
            )
    for name, wanted in request["output_data"].items():
        root = unquote(str(wanted["Uri"])).rstrip("/") + "/"
        found = unquote(str(read_field(outputs.get(name) or {}, "uri") or "")).rstrip("/")
        folder = found.removeprefix(root)
        if not found.startswith(root) or "/" in folder or not folder:
            differences.append(f"its output {name} goes to {found or 'no place it says'}, not to a folder in {root}")
        else:
            facts["output_name"] = folder
    return differences, facts


def _compare_inputs(found: Mapping[str, Any], wanted: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, value in wanted.items():
        field = "Value" if "Value" in value else "Uri"
        given = read_field(found.get(name) or {}, field)
        if given is None:
            yield f"it has no input {name}, which is to be {value[field]!r}"
        elif unquote(str(given)) != unquote(str(value[field])):
            yield f"its input {name} is {given!r}, not {value[field]!r}"
