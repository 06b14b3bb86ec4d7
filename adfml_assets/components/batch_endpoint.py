"""`BatchEndpoint`: a deployment under an Azure ML batch endpoint as the engine that trains or scores."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import dagster as dg
from pydantic import ConfigDict

from adfml_assets.components.declaration import STRICT, require_service
from adfml_assets.components.remote_engine import JobParts
from adfml_assets.errors import DeclarationInvalid
from adfml_assets.scoring import batch_results
from resources.azure_ml_uris import translate_uri
from resources.lake import Lake
from resources.remote_jobs import RemoteJob

SUBMISSION_KEY = "submission_key"
PARTITION = "{partition}"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]")


class BatchEndpointInvalid(DeclarationInvalid):
    """What was declared of a batch endpoint cannot be."""

    def __init__(self, field: str, found: object, expected: str) -> None:
        super().__init__("Engine azure_ml_batch", field, found, expected)


@dataclass
class BatchEndpoint(dg.Resolvable):
    """A deployment under an Azure ML batch endpoint, invoked once for a partition.

    A pipeline-component deployment takes what a published pipeline of the SDK v1 took, under these names
    (Microsoft, "Upgrade pipeline endpoints to SDK v2"):

    | AzureMLExecutePipeline | here |
    |---|---|
    | mlPipelineId | `endpoint`, and `deployment` |
    | experimentName | `experiment_name` |
    | mlPipelineParameters | `pipeline_parameters`: literal inputs, with their YAML types |
    | dataPathAssignments | `data_path_assignments`: UriFolder inputs |
    | mlParentRunId | sent with every job, as property and tag `adfml.parent_run_id`: the Dagster run |
    | continueOnStepFailure | `settings.continue_on_step_failure` of the deployment's own YAML |
    | policy.timeout, policy.retry | `deadline_hours`, `max_tries` |

    Beside those, the job's own parts are sent: for scoring `input_path` (UriFile), `model_path` (UriFolder), the
    literals `model_name`, `model_version`, `feature_snapshot`, `submission_key`, where they are known `model_alias` and
    `model_sha256`, which the component declares as optional, and the output `output_path`; for training
    `training_data_path` (UriFolder), `model_name`, `model_version`, `experiment_name`, `registered_model_name`,
    `hyperparams`, `submission_key`, and the output `model_path`; once there is a champion to compare with also
    `champion_path` (UriFolder), `champion_version` and `champion_sha256`, which the component declares as optional.
    `workloads/azure_ml` has deployments that take them.

    Attributes:
        service: `azure_ml_batch`.
        endpoint: its name in the workspace ADFML_AZURE_ML_WORKSPACE.
        scoring_uri: its address, `https://<endpoint>.<region>.inference.ml.azure.com/jobs`; without it the workspace is
            asked.
        deployment: the deployment that runs; without it the endpoint's default one.
        kind: `pipeline`: a pipeline-component deployment. `model`: a model deployment, which takes one data input and
            no literals, and always scores with the version it was made with.
        experiment_name: where the job is shown; for pipelines only.
        pipeline_parameters: literal inputs (text, true or false, numbers); `{partition}` stands for the partition key.
        data_path_assignments: UriFolder inputs: a path of the lake (`container/folder`) or an address; `{partition}`
            stands for the partition key.
        inputs: which of the job's parts go to which input of the deployment. Without it all go to inputs of their own
            names, and with `kind: model` the data goes to `input`.
        outputs: the same for the output. Without it its own name, and with `kind: model` `score`.
        datastore: a datastore of the workspace whose root is the lake's container for models and scores; without it
            outputs are addressed as blobs, and inputs always are.
        deadline_hours: after this wall-clock time the job is cancelled and has failed.
        max_tries: how often a transient failure is tried in all.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    service: Literal["azure_ml_batch"]
    endpoint: str
    scoring_uri: str | None = None
    deployment: str | None = None
    kind: Literal["pipeline", "model"] = "pipeline"
    experiment_name: str | None = None
    pipeline_parameters: Mapping[str, Any] = field(default_factory=dict)
    data_path_assignments: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, str] | None = None
    outputs: Mapping[str, str] | None = None
    datastore: str | None = None
    deadline_hours: float = 24.0
    max_tries: int = 2

    def __post_init__(self) -> None:
        """Refuse what no endpoint takes.

        Raises:
            BatchEndpointInvalid: says which field.
        """
        require_service("Engine azure_ml_batch", self.service, "azure_ml_batch")
        if not _NAME.fullmatch(self.endpoint):
            expected = (
                "3 to 32 letters, digits and dashes, starting with a letter (the endpoint's name, not its address)"
            )
            raise BatchEndpointInvalid("endpoint", self.endpoint, expected)
        for name, value in self.pipeline_parameters.items():
            if not isinstance(value, (str, bool, int, float)):
                where = f"pipeline_parameters.{name}"
                raise BatchEndpointInvalid(
                    where, value, "text, true or false, or a number: literals have no other type"
                )
        if self.kind == "model":
            pipelines = "nothing: model deployments have one data input and no experiment; pipeline components do"
            for name in ("pipeline_parameters", "data_path_assignments", "experiment_name"):
                if getattr(self, name):
                    raise BatchEndpointInvalid(name, getattr(self, name), pipelines)
        if self.inputs is not None and self.kind == "model" and len(self.inputs) != 1:
            raise BatchEndpointInvalid(
                "inputs", dict(self.inputs), "one entry: a model deployment takes one data input"
            )

    @property
    def title(self) -> str:
        """What runs, for descriptions."""
        deployment = f", deployment `{self.deployment}`," if self.deployment else ""
        return f"Azure ML batch endpoint `{self.endpoint}`{deployment}"

    @property
    def kinds(self) -> set[str]:
        """The service under Dagster's name for it."""
        return {"azureml"}

    def build_request(self, lake: Lake, parts: JobParts) -> dict[str, Any]:
        """The request that the ledger keeps and `resources.azure_ml_batch` sends.

        Raises:
            BatchEndpointInvalid: `inputs` or `outputs` name parts that the job does not have, or two things one input.
        """
        names = self._name_inputs(parts)
        data = {name: _data("UriFile", lake.uri(path)) for name, path in parts.files.items()}
        folders = {name: path for name, path in parts.folders.items() if not parts.is_absent(name)}
        data |= {name: _data("UriFolder", lake.uri(path)) for name, path in folders.items()}
        values = {name: value for name, value in parts.values.items() if not parts.is_absent(name)}
        given = {**data, **{name: _literal(value) for name, value in values.items()}}
        input_data = {names[part]: value for part, value in given.items() if part in names}
        for name, place in self.data_path_assignments.items():
            self._require_free(input_data, name, "data_path_assignments")
            input_data[name] = {
                "JobInputType": "UriFolder",
                "Uri": _find_uri(lake, place.replace(PARTITION, parts.partition)),
            }
        for name, value in self.pipeline_parameters.items():
            self._require_free(input_data, name, "pipeline_parameters")
            input_data[name] = _literal(value.replace(PARTITION, parts.partition) if isinstance(value, str) else value)
        output_data = {
            name: {"JobOutputType": "UriFolder", "Uri": translate_uri(lake.uri(parts.staging), self.datastore)}
            for name in self._name_outputs(parts).values()
        }
        request = {
            "endpoint": self.endpoint,
            "scoring_uri": self.scoring_uri,
            "deployment": self.deployment,
            "experiment_name": self.experiment_name,
            "submission_key_input": names.get(SUBMISSION_KEY),
            "input_data": input_data,
            "output_data": output_data,
            "inputs": dict(parts.hashes),
            "parameters": parts.build_parameters(lake),
        }
        return {name: value for name, value in request.items() if value is not None}

    def collect_scores(self, lake: Lake, model: str, day: str, job: RemoteJob, expected: Mapping[str, str]) -> None:
        """Bring a job's scores to where they belong; see `scoring.batch_results`."""
        batch_results.collect_scores(lake, model, day, job, expected)

    def collect_model(self, lake: Lake, model: str, version: str, job: RemoteJob) -> None:
        """Bring a job's model to where it belongs; see `scoring.batch_results`."""
        batch_results.collect_model(lake, model, version, job)

    def _name_inputs(self, parts: JobParts) -> dict[str, str]:
        known = [*parts.files, *parts.folders, *parts.values, SUBMISSION_KEY]
        if self.inputs is None:
            return {next(iter(parts.files)): "input"} if self.kind == "model" else {name: name for name in known}
        unknown = sorted(set(self.inputs) - set(known))
        if unknown:
            raise BatchEndpointInvalid("inputs", unknown, f"some of the job's parts, {', '.join(known)}")
        if len(set(self.inputs.values())) < len(self.inputs):
            raise BatchEndpointInvalid("inputs", dict(self.inputs), "an input of its own for each part")
        return dict(self.inputs)

    def _name_outputs(self, parts: JobParts) -> dict[str, str]:
        if self.outputs is None:
            return {name: "score" if self.kind == "model" else name for name in parts.outputs}
        if set(self.outputs) != set(parts.outputs):
            raise BatchEndpointInvalid("outputs", dict(self.outputs), f"the job's output, {', '.join(parts.outputs)}")
        return dict(self.outputs)

    def _require_free(self, input_data: Mapping[str, Any], name: str, field_name: str) -> None:
        if name in input_data:
            raise BatchEndpointInvalid(f"{field_name}.{name}", name, "a name that no other input has")


def _find_uri(lake: Lake, place: str) -> str:
    """Addresses that Azure ML takes stay as they are; a path of the lake, or one of this machine, becomes one."""
    if "://" in place and not place.startswith("abfss://"):
        return place
    return translate_uri(place if "://" in place or place.startswith("/") else lake.uri(place))


def _data(kind: str, uri: str) -> dict[str, Any]:
    return {"JobInputType": kind, "Uri": translate_uri(uri)}


def _literal(value: Any) -> dict[str, Any]:
    return {"JobInputType": "Literal", "Value": value}
