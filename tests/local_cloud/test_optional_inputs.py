"""Optional inputs of a batch deployment: `$[[…]]` in the command is there with the input and gone without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from local_cloud.azure_ml_batch_declared import load_endpoints
from local_cloud.azure_ml_batch_requests import Invocation, build_command, read_invocation
from workloads import score_model, train_model
from workloads.command_line import parse_arguments

SCRIPTS = {("adfml-training", "train"): train_model, ("adfml-scoring", "score"): score_model}


def invoke(endpoint: str, deployment: str, tmp_path: Path, **optional: str) -> dict[str, str]:
    """The arguments that a job's script gets, all required inputs being given."""
    spec = load_endpoints()[endpoint].deployments[deployment]
    given = {name: name for name in spec.inputs if name not in spec.optional} | optional
    kinds = {"uri_file": "UriFile", "uri_folder": "UriFolder"}

    def entry(name: str, value: str) -> dict[str, Any]:
        kind = kinds.get(spec.inputs[name])
        return {"jobInputType": kind, "uri": f"/{value}"} if kind else {"jobInputType": "Literal", "value": value}

    output = {name: {"jobOutputType": "UriFolder", "uri": str(tmp_path / "out")} for name in spec.outputs}
    inputs = {name: entry(name, value) for name, value in given.items()}
    invocation = read_invocation({"properties": {"inputData": inputs, "outputData": output}}, spec)
    script = SCRIPTS[endpoint, deployment]
    required, known = script._REQUIRED, script._OPTIONAL
    return parse_arguments("job", required, known, build_command(invocation, spec)[2:])


@pytest.mark.parametrize(
    ("deployment", "optional"),
    [
        (("adfml-training", "train"), {"champion_path": "it's here", "champion_version": "3"}),
        (("adfml-scoring", "score"), {"feature_snapshot": "2025-03-31", "model_sha256": "$[[not]] a ${{reference}}"}),
    ],
    ids=["training", "scoring"],
)
def test_an_optional_input_is_passed_when_it_is_given(
    tmp_path: Path, deployment: tuple[str, str], optional: dict[str, str]
) -> None:
    without, with_some = invoke(*deployment, tmp_path), invoke(*deployment, tmp_path, **optional)
    assert {name: without[name] for name in optional} == dict.fromkeys(optional, "")
    expected = {name: f"/{value}" if name == "champion_path" else value for name, value in optional.items()}
    assert {name: with_some[name] for name in optional} == expected
    assert {name: with_some[name] for name in with_some if name not in optional} == {
        name: without[name] for name in without if name not in optional
    }


def test_a_part_is_left_out_only_for_an_input_in_it() -> None:
    spec = load_endpoints()["adfml-training"].deployments["train"]
    literals = {"champion_version": "3"}
    command = build_command(Invocation({}, literals, {"model_path": Path("/out")}, {}), spec)
    assert command[-2:] == ["--champion-version", "3"]
    assert not [part for part in command if "[[" in part or "]]" in part or "{{" in part]
