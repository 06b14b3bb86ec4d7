"""`EndToEndWorkflow`: archive, features, and then train or score, as one job that launches a backfill and ends."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import dagster as dg
from pydantic import ConfigDict, Field

from adfml_assets import workflow
from adfml_assets.automation import FOLLOW_DAYS, build_following_sensor
from adfml_assets.components.declaration import STRICT, DailySchedule
from adfml_assets.errors import DeclarationInvalid, InvalidMode
from adfml_assets.failures import tell_failures
from adfml_assets.metadata import describe
from adfml_assets.workflow import Workflow, launch_workflow
from adfml_assets.workflow_parameters import InvalidParameter, parse_parameters
from adfml_assets.workflow_schedule import build_catch_up, build_workflow_schedule
from resources.control import ControlDatabase

MOST_DAYS = 366
OP = "launch_workflow"
TRAIN, SCORE = "adfml/train", "adfml/score"
"""Metadata of the job: what each mode selects. The command `adfml` finds workflows by it."""


class WorkflowConfig(dg.Config):
    """The pipeline's parameters, and those of the pipelines it calls.

    StorageAccount and LoggingEndpoint are the deployment's settings ADFML_LAKE and ADFML_LOGGING_ENDPOINT.
    """

    mode: str = Field(default="score", description="train or score (Mode).")
    source_database: str | None = Field(
        default=None, description="Archive this database only (SourceDatabase); without it all."
    )
    model_name: str | None = Field(
        default=None, description="Train this model, or score by it, only (ModelName); without it all."
    )
    model_version: str | None = Field(
        default=None,
        description="train: the version to train, without it 1 (ModelVersion). score: the version that scores, "
        "whatever the alias says.",
    )
    databricks_job_id: str | None = Field(
        default=None,
        description="The training or scoring job, name or id, in place of the declared one (DatabricksJobId).",
    )
    start_date: str | None = Field(default=None, description="train: the data's first day, YYYY-MM-DD (StartDate).")
    end_date: str | None = Field(default=None, description="train: the data's last day, YYYY-MM-DD (EndDate).")
    snapshot_date: str | None = Field(default=None, description="The day, UTC, YYYY-MM-DD; without it today.")
    hyperparameters: str | None = Field(
        default=None, description="train: a JSON object, in place of the declared ones (Hyperparameters)."
    )
    alias: str | None = Field(
        default=None, description="score: the alias whose version scores (model_stage); without it the declared one."
    )
    refresh: bool = Field(default=False, description="Materialise everything again, also what is there already.")


@dataclass
class CatchUp(dg.Resolvable):
    """How missed days are made up for: what can still be made so that it is true, each day at most once a day.

    Attributes:
        days: how many days back; today is the schedule's.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    days: int = 7

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: `days`.
        """
        require_days("CatchUp", self.days)


@dataclass
class Follow(dg.Resolvable):
    """What is made by itself when that day of what it is made of was made: by the schedule, a backfill or by hand.

    Attributes:
        assets: which, as Dagster's asset selection syntax; left out: what mode `score` materialises.
        days: how far back.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    assets: str | None = None
    days: int = 30

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            DeclarationInvalid: `days`.
        """
        require_days("Follow", self.days)


def require_days(declaration: str, days: int) -> None:
    """Make sure that a number of days is bounded.

    Raises:
        DeclarationInvalid: it is not.
    """
    if not 1 <= days <= MOST_DAYS:
        raise DeclarationInvalid(declaration, "days", days, f"a number from 1 to {MOST_DAYS}")


@dataclass
class EndToEndWorkflow(dg.Component, dg.Resolvable):
    """A job that hands everything missing of a day to Dagster's daemon, and ends: no worker waits.

    Attributes:
        name: of the job.
        train, score: what each mode materialises, as Dagster's asset selection syntax (`group:features or ...`); left
            out: everything that the mode is about.
        schedule: when the day is made, in mode `score`.
        catch_up: how missed days are made up for; left out: they are not.
        follow: what is made by itself when that day of what it is made of was made; left out: nothing.
        adf_pipeline: the pipeline this takes the place of, for the description.

    Schedule, catch-up and following are on in production (`ADFML_ENVIRONMENT`), elsewhere when they are turned on.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    train: str = workflow.TRAIN
    score: str = workflow.SCORE
    schedule: DailySchedule | None = None
    catch_up: CatchUp | None = None
    follow: Follow | None = None
    adf_pipeline: str | None = None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The job. Its run ends when the backfill is launched; the backfill's own page shows how it goes."""
        declared = Workflow(self.name, self.train, self.score)

        @dg.op(name=f"launch_{self.name}")
        @tell_failures
        def launch(context: dg.OpExecutionContext, config: WorkflowConfig, control: ControlDatabase) -> None:
            try:
                launch_workflow(
                    context.instance,
                    context.repository_def.asset_graph,
                    declared,
                    parse_parameters(**config.model_dump()),
                    open_registry=lambda: control.models,
                    launched_by=context.run_id,
                    say=context.log.info,
                )
            except (InvalidMode, InvalidParameter) as error:
                raise dg.Failure(str(error), allow_retries=False) from None

        @dg.job(
            name=self.name,
            description=describe(
                "Archive, features, then train or score. Launches a backfill over what is missing of the day, and "
                "ends; the backfill goes through Dagster's queue.",
                self.adf_pipeline,
            ),
            metadata={TRAIN: self.train, SCORE: self.score, FOLLOW_DAYS: self.follow.days if self.follow else 0},
        )
        def job() -> None:
            # Ops of several workflows need several names; their config is under the same one in each job.
            launch.alias(OP)()

        return dg.Definitions.merge(dg.Definitions(jobs=[job]), *self._build_automation(declared, job))

    def _build_automation(self, declared: Workflow, job: dg.JobDefinition) -> Iterator[dg.Definitions]:
        if self.schedule is not None:
            config: dict[str, object] = {"ops": {OP: {"config": {"mode": "score"}}}}
            cron, timezone = self.schedule.expression, self.schedule.timezone
            schedule = build_workflow_schedule(self.name, job, cron, timezone, lambda: config)
            yield dg.Definitions(schedules=[schedule])
        if self.catch_up is not None:
            yield build_catch_up(declared, self.catch_up.days)
        if self.follow is not None:
            yield dg.Definitions(sensors=[build_following_sensor(self.name, self.follow.assets or self.score)])


def find_workflow(name: str, metadata: Mapping[str, Any]) -> Workflow | None:
    """The workflow that a job launches, by the job's metadata; None: it launches none."""
    if TRAIN not in metadata or SCORE not in metadata:
        return None
    return Workflow(name, str(metadata[TRAIN].value), str(metadata[SCORE].value))
