"""What follows from a day that was made, by Dagster's own evaluation: also for backfilled days, and not too much."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from adfml_assets.automation import let_assets_follow
from adfml_assets.partitions import build_daily_partitions
from sensors.tags import COLLECTS, ROLE_TAG, SUBMITS

DAYS = 10
VERSIONS = dg.DynamicPartitionsDefinition(name="follow_versions")


def day(back: int) -> str:
    return f"{datetime.now(UTC) - timedelta(days=back):%Y-%m-%d}"


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    """archive → features → scoring input (and a champion) → job → scores → table, beside it a table of its own."""
    daily = build_daily_partitions()

    @dg.asset(partitions_def=daily)
    def archive(context: dg.AssetExecutionContext) -> None:
        """The source."""

    @dg.asset(partitions_def=VERSIONS)
    def champion() -> None:
        """A version."""

    @dg.asset(partitions_def=daily, deps=[archive])
    def features(context: dg.AssetExecutionContext) -> None:
        if context.run.tags.get("fails"):
            raise dg.Failure("as ordered", allow_retries=False)

    last = dg.AssetDep(champion, partition_mapping=dg.LastPartitionMapping())

    @dg.asset(partitions_def=daily, deps=[features, last])
    def scoring_input() -> None:
        """Records."""

    @dg.asset(partitions_def=daily, deps=[scoring_input], tags={ROLE_TAG: SUBMITS})
    def scores_job() -> None:
        """Submits."""

    @dg.asset(partitions_def=daily, deps=[scores_job, scoring_input], tags={ROLE_TAG: COLLECTS})
    def scores() -> None:
        """Collects."""

    @dg.asset(partitions_def=daily, deps=[scores])
    def table() -> None:
        """Written back."""

    assets = [archive, champion, features, scoring_input, scores_job, scores, table]
    return let_assets_follow(dg.Definitions(assets=assets, executor=dg.in_process_executor), DAYS)


class Evaluation:
    """Ticks of the automation: what is requested, and what is made of it."""

    def __init__(self, defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.defs = defs
        self.instance = instance
        self.cursor: Any = None

    def tick(self) -> dict[str, set[str]]:
        result = dg.evaluate_automation_conditions(defs=self.defs, instance=self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        graph = self.defs.resolve_asset_graph()
        requested = {
            key.to_user_string(): {str(partition) for partition in result.get_requested_partitions(key)}
            for key in graph.materializable_asset_keys
        }
        return {name: partitions for name, partitions in requested.items() if partitions}

    def make(self, name: str, partition: str, **tags: str) -> bool:
        job = self.defs.resolve_implicit_global_asset_job_def()
        selection = [dg.AssetKey(one) for one in name.split()]
        return job.execute_in_process(
            instance=self.instance,
            partition_key=partition,
            asset_selection=selection,
            raise_on_error=False,
            tags=tags,
        ).success


@pytest.fixture
def evaluation(defs: dg.Definitions) -> Iterator[Evaluation]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("follow_versions", ["1"])
        found = Evaluation(defs, instance)
        found.make("champion", "1")
        assert found.tick() == {}
        yield found


TOGETHER = ("features", "scoring_input", "scores_job")
"""What goes into one run: everything up to what waits."""


def test_a_backfilled_day_cascades_to_the_end_and_waits_for_the_job(evaluation: Evaluation) -> None:
    for back in (0, 5):
        evaluation.make("archive", day(back))
    assert evaluation.tick() == {name: {day(0), day(5)} for name in TOGETHER}
    assert evaluation.tick() == {}, "asked for once"
    for back in (0, 5):
        evaluation.make(" ".join(TOGETHER), day(back))
    # The result is collected in a run of its own: it waits in the queue, and what follows from it with it.
    assert evaluation.tick() == {name: {day(0), day(5)} for name in ("scores", "table")}
    for back in (0, 5):
        evaluation.make("scores table", day(back))
    assert evaluation.tick() == {}


def test_a_day_that_is_too_old_follows_nothing(evaluation: Evaluation) -> None:
    evaluation.make("archive", day(DAYS + 5))
    assert evaluation.tick() == {}


def test_what_was_there_before_it_was_turned_on_follows_nothing(defs: dg.Definitions) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        evaluation = Evaluation(defs, instance)
        evaluation.make("archive", day(1))
        assert evaluation.tick() == {}
        evaluation.make("archive", day(2))
        assert set(evaluation.tick()) >= {"features"}


def test_a_new_champion_scores_nothing_anew_and_one_that_is_not_there_stops_nothing(evaluation: Evaluation) -> None:
    evaluation.make("archive", day(1))
    evaluation.tick()
    evaluation.make(" ".join(TOGETHER), day(1))
    evaluation.tick()
    evaluation.make("scores table", day(1))
    evaluation.tick()
    evaluation.instance.add_dynamic_partitions("follow_versions", ["2"])
    evaluation.make("champion", "2")
    assert evaluation.tick() == {}
    # A version that was refused never becomes champion: scoring goes on with the one there is.
    evaluation.instance.add_dynamic_partitions("follow_versions", ["3"])
    evaluation.make("archive", day(0))
    assert evaluation.tick() == {name: {day(0)} for name in TOGETHER}


def test_what_failed_is_not_asked_for_again_until_its_source_is_made_anew(evaluation: Evaluation) -> None:
    evaluation.make("archive", day(1))
    assert "features" in evaluation.tick()
    assert not evaluation.make("features", day(1), fails="yes")
    assert evaluation.tick() == {}
    evaluation.make("archive", day(1))
    assert "features" in evaluation.tick()


def test_what_a_run_makes_of_its_own_accord_is_not_made_twice(evaluation: Evaluation) -> None:
    evaluation.make("archive features scoring_input scores_job", day(0))
    assert evaluation.tick() == {name: {day(0)} for name in ("scores", "table")}
