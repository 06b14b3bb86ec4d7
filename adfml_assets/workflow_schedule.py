"""When a workflow's day is made: by its schedule, and what was missed by the catch-up."""

from collections.abc import Callable, Iterator, Sequence

import dagster as dg

from adfml_assets.failures import tell_failures
from adfml_assets.past_days import Missed, find_missed
from adfml_assets.past_rule import build_past_rule, may_keep_past
from adfml_assets.workflow import LAUNCHED_BY_TAG, WORKFLOW_TAG, Workflow, launch_backfill
from resources.control import utc_now
from sensors.catch_up_sensor import MissedDay, build_catch_up_sensor
from sensors.switches import schedule_status

CATCH_UP_TAG = "adfml/catch_up"
"""On the backfill that makes up for a missed day: the day."""


class CatchUpConfig(dg.Config):
    """Which day is made up for."""

    day: str


def build_workflow_schedule(
    workflow: str, job: dg.JobDefinition, cron: str, timezone: str, build_config: Callable[[], dict[str, object]]
) -> dg.ScheduleDefinition:
    """A schedule that asks for the UTC day of the moment: a tick that comes late asks for no day that has passed."""

    @dg.schedule(
        name=f"daily_{workflow}",
        job=job,
        cron_schedule=cron,
        execution_timezone=timezone,
        description=f"Makes the UTC day of `{workflow}`: archive, features and scores, what is missing of them.",
        default_status=schedule_status(),
    )
    def daily(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        tick = context.scheduled_execution_time or utc_now()
        yield dg.RunRequest(run_key=tick.isoformat(), run_config=build_config())

    return daily


def build_catch_up(workflow: Workflow, days: int) -> dg.Definitions:
    """The sensor that looks for missed days, and the job that launches one."""
    op_name = f"launch_catch_up_of_{workflow.name}"

    def look(context: dg.OpExecutionContext | dg.SensorEvaluationContext, days: Sequence[str]) -> list[Missed]:
        assert context.repository_def is not None  # noqa: S101 - Dagster sets it in every run and tick
        graph, resources = context.repository_def.asset_graph, context.resources
        rule = build_past_rule(graph, resources.lake, resources.control.intervals, may_keep_past)
        return find_missed(context.instance, graph, workflow.select("score", graph), days, rule)

    @dg.op(name=op_name, required_resource_keys={"lake", "control"})
    @tell_failures
    def launch(context: dg.OpExecutionContext, config: CatchUpConfig) -> None:
        graph = context.repository_def.asset_graph
        # Looked at again: since the sensor's look somebody may have made it, or begun to.
        (missed,) = look(context, [config.day])
        for left in missed.left_out:
            context.log.warning("Not made: %s.", left.describe())
        if not missed.makeable:
            context.log.info("Nothing to make of %s.", config.day)
            return
        backfill_id = launch_backfill(
            context.instance,
            graph,
            {key: [config.day] for key in missed.makeable},
            title=f"{workflow.name}: catch-up of {config.day}",
            tags={WORKFLOW_TAG: workflow.name, CATCH_UP_TAG: config.day, LAUNCHED_BY_TAG: context.run_id},
        )
        names = ", ".join(key.to_user_string() for key in missed.makeable)
        context.log.info("Backfill %s makes up for %s: %s", backfill_id, config.day, names)

    @dg.job(
        name=f"catch_up_{workflow.name}",
        description="Launches what is missing of a past day and can still be made so that it is true, and ends.",
    )
    def catch_up() -> None:
        launch()

    def find(context: dg.SensorEvaluationContext, asked: Sequence[str]) -> list[MissedDay]:
        return [
            MissedDay(one.day, len(one.makeable), tuple(left.describe() for left in one.left_out))
            for one in look(context, asked)
        ]

    sensor = build_catch_up_sensor(
        workflow.name, days, catch_up, find, lambda day: {"ops": {op_name: {"config": {"day": day}}}}
    )
    return dg.Definitions(jobs=[catch_up], sensors=[sensor])
