"""`EndToEndWorkflow`: archive, features, and then train or score, as one job that launches a backfill and ends."""

from dataclasses import dataclass
from typing import ClassVar

import dagster as dg
from pydantic import ConfigDict, Field

from adfml_assets.components.declaration import STRICT
from adfml_assets.errors import InvalidMode
from adfml_assets.metadata import describe
from adfml_assets.workflow import (
    MODE_TAG,
    WORKFLOW_TAG,
    choose_partitions,
    find_missing,
    launch_backfill,
    parse_mode,
)
from resources.control import utc_now


class WorkflowConfig(dg.Config):
    """The pipeline's parameters."""

    mode: str = Field(default="score", description="train or score (the pipeline's Mode).")
    model_version: str = Field(default="1", description="The version to train (the pipeline's ModelVersion).")
    snapshot_date: str | None = Field(default=None, description="The day, YYYY-MM-DD; without it today, UTC.")
    refresh: bool = Field(default=False, description="Materialise everything again, also what is there already.")


@dataclass
class EndToEndWorkflow(dg.Component, dg.Resolvable):
    """A job that hands everything missing of a day to Dagster's daemon, and ends: no worker waits.

    Attributes:
        name: of the job.
        train, score: what each mode materialises, as Dagster's asset selection syntax (`group:features or ...`).
        adf_pipeline: the pipeline this takes the place of, for the description.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    train: str
    score: str
    adf_pipeline: str | None = None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The job. Its run ends when the backfill is launched; the backfill's own page shows how it goes."""
        selections = {"train": self.train, "score": self.score}

        @dg.op(name="launch_workflow")
        def launch_workflow(context: dg.OpExecutionContext, config: WorkflowConfig) -> None:
            try:
                mode = parse_mode(config.mode)
            except InvalidMode as error:
                raise dg.Failure(str(error), allow_retries=False) from None
            graph = context.repository_def.asset_graph
            day = config.snapshot_date or utc_now().strftime("%Y-%m-%d")
            selected = dg.AssetSelection.from_string(selections[mode]).resolve(graph)
            partitions = choose_partitions(graph, selected, day=day, version=config.model_version)
            missing = find_missing(context.instance, graph, partitions, refresh=config.refresh)
            if not missing:
                context.log.info("Everything of %s is there (mode %s); nothing to do.", day, mode)
                return
            backfill = launch_backfill(
                context.instance,
                graph,
                {key: [partition] for key, partition in missing.items()},
                title=f"{self.name}: {mode} {day}",
                tags={WORKFLOW_TAG: self.name, MODE_TAG: mode, "adfml/launched_by": context.run_id},
            )
            names = ", ".join(sorted(key.to_user_string() for key in missing))
            context.log.info("Backfill %s materialises: %s", backfill, names)

        @dg.job(
            name=self.name,
            description=describe(
                "Archive, features, then train or score. Launches a backfill over what is missing of the day, and "
                "ends; the backfill goes through Dagster's queue.",
                self.adf_pipeline,
            ),
        )
        def workflow() -> None:
            launch_workflow()

        return dg.Definitions(jobs=[workflow])
