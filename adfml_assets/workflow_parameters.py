"""The parameters of the end-to-end workflow: checked before anything is launched, and handed on whole to its parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from typing import Any, Literal

import dagster as dg

from adfml_assets.asset_keys import job_key, model_key, scores_key, scoring_input_key, training_data_key
from adfml_assets.errors import AdfmlError, InvalidMode

Mode = Literal["train", "score"]
FIRST_VERSION = "1"
"""The pipeline's default of ModelVersion."""


class InvalidParameter(AdfmlError):
    """A parameter of the workflow cannot be. Nothing was launched.

    Attributes:
        parameter: its name.
        found, expected: the value, and what it has to be.
    """

    def __init__(self, parameter: str, found: object, expected: str) -> None:
        self.parameter = parameter
        self.found = found
        self.expected = expected
        super().__init__(f"{parameter} is {found!r}; expected {expected}. Nothing was launched.")


@dataclass(frozen=True)
class WorkflowParameters:
    """What PL_EndToEnd_ML_Workflow and the pipelines it calls are told. None: not given.

    Two of their parameters are settings of the deployment, as they are the same for every run: StorageAccount is
    ADFML_LAKE, LoggingEndpoint is ADFML_LOGGING_ENDPOINT.

    Attributes:
        mode: what follows the features (Mode).
        source_database: only this database is archived (SourceDatabase).
        model_name: only this model is trained or scored by (ModelName).
        model_version: the version to train; in mode score the version that scores, whatever the alias says
            (ModelVersion).
        databricks_job_id: the training or the scoring job, its name or id, in place of the declared one
            (DatabricksJobId, TrainingJobId, ScoringJobId).
        start_date, end_date: the training data's period, YYYY-MM-DD (StartDate, EndDate).
        snapshot_date: the day, UTC, YYYY-MM-DD; without it today, as in the pipeline.
        hyperparameters: a JSON object, as text, in place of the declared ones (Hyperparameters).
        alias: in mode score the alias whose version scores (the pipeline's model_stage).
        refresh: materialise everything again, also what is there already.
    """

    mode: Mode
    source_database: str | None = None
    model_name: str | None = None
    model_version: str | None = None
    databricks_job_id: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    snapshot_date: str | None = None
    hyperparameters: str | None = None
    alias: str | None = None
    refresh: bool = False

    @property
    def trained_version(self) -> str:
        """The version that mode train makes."""
        return self.model_version or FIRST_VERSION


def parse_mode(mode: str) -> Mode:
    """`train` or `score`.

    Raises:
        InvalidMode: it is neither.
    """
    if mode == "train":
        return "train"
    if mode == "score":
        return "score"
    raise InvalidMode(mode)


def parse_parameters(mode: str, *, refresh: bool = False, **given: str | None) -> WorkflowParameters:
    """The parameters, once it is certain that they can be; a text that is empty or blank was not given.

    Args:
        mode: train or score.
        refresh: as in `WorkflowParameters`.
        given: its other parameters, by name.

    Raises:
        InvalidMode: the mode is neither train nor score.
        InvalidParameter: a date that is none or a period that ends before it starts, hyperparameters that are no JSON
            object, a parameter that the mode does not take, a version and an alias.
    """
    named = {name: text.strip() for name, text in given.items() if text is not None and text.strip()}
    parameters = WorkflowParameters(mode=parse_mode(mode), refresh=refresh, **named)
    other = {"train": ("alias",), "score": ("start_date", "end_date", "hyperparameters")}[parameters.mode]
    for name in other:
        if name in named:
            raise InvalidParameter(name, named[name], f"none in mode {parameters.mode}: it has no use for it")
    for name in ("snapshot_date", "start_date", "end_date"):
        if name in named:
            _require_date(name, named[name])
    start, end = parameters.start_date, parameters.end_date
    if start and end and end < start:
        raise InvalidParameter("end_date", end, f"a day not before start_date, which is {start}")
    if parameters.hyperparameters:
        _require_object(parameters.hyperparameters)
    if parameters.alias and parameters.model_version:
        raise InvalidParameter(
            "alias", parameters.alias, f"none where model_version is given ({named['model_version']})"
        )
    return parameters


def require_known(parameter: str, name: str, known: Set[str]) -> None:
    """Make sure that something named exists.

    Raises:
        InvalidParameter: it does not; says what there is.
    """
    if name in known:
        return
    close = get_close_matches(name, known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise InvalidParameter(parameter, name, f"one of: {', '.join(sorted(known)) or 'none is declared'}{hint}")


def build_run_config(
    parameters: WorkflowParameters, models: Set[str], inside: Mapping[str, Set[dg.AssetKey]]
) -> dict[dg.AssetKey, dict[str, str]]:
    """What the ops of each asset are told: only what was given.

    Args:
        models: the models that are trained or scored by, as the asset keys name them.
        inside: the models that score inside a database, and the tables they score into.

    Raises:
        InvalidParameter: a parameter that is about one model was given, and there are several.
    """
    if parameters.mode == "train":
        first = {name: getattr(parameters, name) for name in ("snapshot_date", "start_date", "end_date")}
        second = {"hyperparameters": parameters.hyperparameters, "job": parameters.databricks_job_id}
        keys = [(training_data_key(model), job_key(model_key(model))) for model in models]
        of_one_model: tuple[str, ...] = ("start_date", "end_date", "hyperparameters", "databricks_job_id")
    else:
        first = {"alias": parameters.alias, "version": parameters.model_version}
        second = {"job": parameters.databricks_job_id}
        keys = [(scoring_input_key(model), job_key(scores_key(model))) for model in models]
        keys += [(table, job_key(scores_key(model))) for model, tables in inside.items() for table in tables]
        models = models | inside.keys()
        of_one_model = ("alias", "model_version", "databricks_job_id")
    given = [name for name in of_one_model if getattr(parameters, name)]
    if given and len(models) > 1:
        expected = f"as well as {given[0]}, which is about one model: one of: {', '.join(sorted(models))}"
        raise InvalidParameter("model_name", parameters.model_name, expected)
    told: dict[dg.AssetKey, dict[str, str]] = {}
    for pair in keys:
        for key, values in zip(pair, (first, second), strict=True):
            chosen = {name: value for name, value in values.items() if value}
            if chosen:
                told[key] = chosen
    return told


def name_op(key: dg.AssetKey) -> str:
    """The name that Dagster gives the op of an asset."""
    return "__".join(key.path)


def format_run_config(told: Mapping[dg.AssetKey, Mapping[str, str]]) -> dict[str, Any] | None:
    """The run config of a backfill; None where nothing is told. Dagster takes config of ops that are not in a run."""
    ops = {name_op(key): {"config": dict(values)} for key, values in told.items()}
    return {"ops": ops} if ops else None


def _require_date(name: str, text: str) -> None:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise InvalidParameter(name, text, "a day as YYYY-MM-DD") from None
    if found.isoformat() != text:
        raise InvalidParameter(name, text, f"a day as YYYY-MM-DD: {found.isoformat()}")


def _require_object(text: str) -> None:
    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is no JSON")

    try:
        found = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter("hyperparameters", text, f"a JSON object ({error})") from None
    if not isinstance(found, dict):
        raise InvalidParameter("hyperparameters", text, 'a JSON object, such as {"learning_rate": 0.05}')
