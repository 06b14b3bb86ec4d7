"""The component as Dagster runs it: a table's failure is its own, new tables are found, checks tell what is wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from adfml_assets.components import ArchivedDatabase
from adfml_assets.components.archived_database import ArchivedTable, ArchiveSchedule
from resources.completion_log import CompletionLog
from resources.control import ControlDatabase
from resources.database import Databases
from resources.lake import Lake
from tests.archive.conftest import Source
from tests.conftest import stamp


def today(days: int = 0) -> str:
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}"


class Location:
    """A code location with one component, as Dagster would load it."""

    def __init__(self, component: ArchivedDatabase, folder: Path) -> None:
        self.component = component
        self.state = folder / "state.json"
        self.instance = dg.DagsterInstance.ephemeral()
        self.reload()

    def reload(self, refresh: bool = False) -> None:
        if refresh:
            self.component.write_state_to_path(self.state)
        declared = self.component.build_defs_from_state(None, self.state if self.state.exists() else None)  # type: ignore[arg-type]
        bound = dg.Definitions(
            resources={
                "databases": Databases(),
                "lake": Lake(),
                "control": ControlDatabase(),
                "completion_log": CompletionLog(),
            },
            executor=dg.in_process_executor,
        )
        self.defs = dg.Definitions.merge(declared, bound)

    @property
    def keys(self) -> set[str]:
        graph = self.defs.get_repository_def().asset_graph
        return {key.to_user_string() for key in graph.get_all_asset_keys()}

    def materialise(self, *keys: str, day: str | None = None) -> dg.ExecuteInProcessResult:
        chosen = [dg.AssetKey(key.split("/")) for key in keys or sorted(self.keys)]
        job = self.defs.get_repository_def().get_implicit_job_def_for_assets(chosen)
        assert job is not None
        return job.execute_in_process(
            asset_selection=chosen, partition_key=day or today(), instance=self.instance, raise_on_error=False
        )

    def check(self, name: str, key: str) -> dg.AssetCheckEvaluation:
        """Run one check apart from its asset."""
        check = dg.AssetCheckKey(dg.AssetKey(key.split("/")), name)
        job = dg.define_asset_job("check", selection=dg.AssetSelection.checks(check))
        defs = dg.Definitions.merge(self.defs, dg.Definitions(jobs=[job]))
        result = defs.resolve_job_def("check").execute_in_process(instance=self.instance)
        (evaluation,) = result.get_asset_check_evaluations()
        return evaluation

    def latest(self, key: str) -> dict[str, Any]:
        event = self.instance.get_latest_materialization_event(dg.AssetKey(key.split("/")))
        assert event is not None
        assert event.asset_materialization is not None
        return {name: value.value for name, value in event.asset_materialization.metadata.items()}


@pytest.fixture
def build(source: Source, tmp_path: Path) -> Any:
    def build(**fields: Any) -> Location:
        return Location(ArchivedDatabase(database="shop", **fields), tmp_path)

    return build


def table(source: Source, name: str, **fields: Any) -> ArchivedTable:
    return ArchivedTable(table=f"{source.schema}.{name}", **fields)


def test_one_tables_failure_leaves_the_others_archived(build: Any, source: Source) -> None:
    source.add(1, stamp("2026-03-01"))
    location = build(tables=[table(source, "Transactions"), table(source, "Gone"), table(source, "AlsoGone")])
    result = location.materialise()
    assert not result.success
    kept = {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}
    assert kept == {"Transactions"}
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert "2 of 3 tables were not archived; the others are." in str(failure.event_specific_data)
    shown = location.latest(f"archive/shop/{source.schema}/Transactions")
    assert shown["dagster/row_count"] == 1
    assert "| I1 |" in shown["sample"]
    assert shown["isolation"]


def test_full_and_incremental_archives_of_one_table(build: Any, source: Source) -> None:
    source.add(1, stamp("2026-03-01"))
    location = build(mode="both", tables=[table(source, "Transactions", watermark="ModifiedDate", current=True)])
    names = ("archive", "incremental", "current")
    assert location.keys == {f"{kind}/shop/{source.schema}/Transactions" for kind in names}
    for name in ("archive", "incremental"):
        assert location.materialise(f"{name}/shop/{source.schema}/Transactions").success
    assert location.materialise(f"current/shop/{source.schema}/Transactions").success
    assert location.latest(f"current/shop/{source.schema}/Transactions")["dagster/row_count"] == 1


def test_a_past_snapshot_fails_its_partition_with_the_reason(build: Any, source: Source) -> None:
    location = build(tables=[table(source, "Transactions")])
    result = location.materialise(day=today(-3))
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert "no snapshot was taken, and the day has passed" in str(failure.event_specific_data)


def test_tables_that_fit_the_patterns_are_assets_once_they_are_listed(build: Any, source: Source) -> None:
    source.execute('CREATE TABLE "tmp_x" (a INTEGER)', 'CREATE TABLE "Orders" (a INTEGER)')
    schema = source.schema
    location = build(include=[f"{schema}.*"], exclude=[f"{schema}.tmp_*"])
    assert location.keys == set()
    location.reload(refresh=True)
    assert location.keys == {f"archive/shop/{schema}/Orders", f"archive/shop/{schema}/Transactions"}
    assert location.materialise().success
    source.execute('DROP TABLE "Orders"')
    location.reload(refresh=True)
    assert f"archive/shop/{schema}/Orders" in location.keys, "its snapshots are still there"


def test_a_table_nobody_declared_is_archived_with_the_next_run(build: Any, source: Source) -> None:
    schema = source.schema
    location = build(tables=[table(source, "Transactions")], include=[f"{schema}.*"], new_tables="archive")
    source.execute('CREATE TABLE "Ephemeral" (a INTEGER)', 'INSERT INTO "Ephemeral" VALUES (7)')
    assert location.materialise().success
    assert location.latest(f"archive/shop/{schema}/Ephemeral")["dagster/row_count"] == 1
    location.reload(refresh=True)
    assert f"archive/shop/{schema}/Ephemeral" in location.keys
    found = location.instance.get_materialized_partitions(dg.AssetKey(["archive", "shop", schema, "Ephemeral"]))
    assert found == {today()}


def test_the_sensor_reports_new_tables_or_has_them_archived(build: Any, source: Source) -> None:
    for told, requests in (("report", 0), ("archive", 1)):
        location = build(tables=[table(source, "Transactions")], include=[f"{source.schema}.*"], new_tables=told)
        sensor = location.defs.resolve_sensor_def("new_tables_of_shop")

        def tick(cursor: str | None = None, location: Location = location, sensor: Any = sensor) -> Any:
            context = dg.build_sensor_context(
                instance=location.instance, resources={"databases": Databases()}, cursor=cursor
            )
            return sensor.evaluate_tick(context)

        assert tick().skip_message == "No new tables in shop."
        source.execute('CREATE TABLE "Ephemeral" (a INTEGER)')
        found = tick()
        assert len(found.run_requests or []) == requests
        assert json.loads(found.cursor) == [f"{source.schema}.Ephemeral"]
        if requests:
            job = location.defs.resolve_job_def("new_tables_of_shop")
            assert job.execute_in_process(instance=location.instance).success
            assert location.latest(f"archive/shop/{source.schema}/Ephemeral")["dagster/row_count"] == 0
        else:
            assert f"New tables in shop: {source.schema}.Ephemeral" in found.skip_message
        source.execute('DROP TABLE "Ephemeral"')


def test_tables_whose_names_collide_fail_alone(build: Any, source: Source) -> None:
    source.execute('CREATE TABLE "a b" (a INTEGER)', 'CREATE TABLE "a_b" (a INTEGER)')
    location = build(tables=[table(source, "a b"), table(source, "a_b"), table(source, "Transactions")])
    result = location.materialise()
    kept = {event.asset_key.path[-1] for event in result.get_asset_materialization_events() if event.asset_key}
    assert kept == {"a_b", "Transactions"}
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert "a b' and '" in str(failure.event_specific_data)
    named = build(tables=[table(source, "a b", asset_name="a_space_b"), table(source, "a_b")])
    assert named.materialise().success


def test_the_schedule_asks_for_today_in_any_time_zone(build: Any, source: Source) -> None:
    schedule = ArchiveSchedule("0 5 * * *", "Pacific/Kiritimati")
    location = build(tables=[table(source, "Transactions")], schedule=schedule)
    found = location.defs.resolve_schedule_def("archive_shop")
    assert (found.execution_timezone, found.default_status) == ("Pacific/Kiritimati", dg.DefaultScheduleStatus.STOPPED)
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime.now(UTC),
        instance=location.instance,
        repository_def=location.defs.get_repository_def(),
    )
    (request,) = found.evaluate_tick(context).run_requests or []
    assert request.partition_key == today()


def test_checks_that_read_everything_again_have_a_schedule_of_their_own(build: Any, source: Source) -> None:
    when = ArchiveSchedule("0 5 * * *")
    location = build(tables=[table(source, "Transactions")], schedule=when, check_schedule=when)

    def list_checks(job: str) -> set[str]:
        chosen = location.defs.resolve_job_def(job).asset_layer.asset_graph
        return {check.name for check in chosen.asset_check_keys}

    assert list_checks("archive_shop") == set()
    assert list_checks("check_archive_shop") == {"complete", "schema", "readable", "fresh"}


def test_checks_say_what_is_right(build: Any, source: Source) -> None:
    source.add(1, stamp("2026-03-01"))
    location = build(mode="incremental", tables=[table(source, "Transactions", watermark="ModifiedDate")])
    key = f"incremental/shop/{source.schema}/Transactions"
    assert not location.check("readable", key).passed, "nothing is archived yet"
    result = location.materialise()
    found = {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()}
    assert found["complete"] is True
    assert found["schema"] is True
    for name in ("complete", "schema", "readable", "fresh", "contiguous", "punctual", "reconciled"):
        checked = location.check(name, key)
        assert checked.passed, (name, checked.metadata)


def test_checks_say_what_is_wrong(build: Any, source: Source, lake: Lake) -> None:
    for number in (1, 2, 3):
        source.add(number, stamp(f"2026-03-0{number}"))
    location = build(mode="incremental", tables=[table(source, "Transactions", watermark="ModifiedDate")])
    key = f"incremental/shop/{source.schema}/Transactions"
    location.materialise()
    source.add(4, stamp("2026-03-02", "13:00:00.000000"))
    late = location.check("punctual", key)
    assert not late.passed
    assert f"Materialise {today()} again" in str(late.metadata["what_to_do"].value)
    missing = location.check("reconciled", key)
    assert (missing.passed, missing.metadata["missing"].value) == (False, 1)
    assert "| 2026-03-02 | 2 | 1 |" in str(missing.metadata["days_that_differ"].value)
    location.materialise()
    assert location.check("reconciled", key).passed
    source.execute('DELETE FROM "Transactions" WHERE "TransactionId" = 1')
    deleted = location.check("reconciled", key)
    assert (deleted.passed, deleted.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert deleted.metadata["deleted_at_source"].value == 1
    (path,) = [p for p in lake.list_files(f"incremental/shop/{source.schema}") if p.endswith(".parquet")]
    data = lake.read_bytes(path)
    lake.write_bytes(path, data[:-9] + b"x" + data[-8:])
    broken = location.check("readable", key)
    assert not broken.passed
    assert path.rpartition("/")[2] in str(broken.metadata["problems"].value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tables": [ArchivedTable("main.T", mode="incremental")]}, "names no watermark column"),
        ({"databases": ["a"], "tables": [ArchivedTable("main.T")]}, "either `database` or `databases`"),
        ({"mode": "incremental", "include": ["main.*"]}, "can only be archived whole"),
        ({}, "declare `tables`, or patterns"),
        (
            {"tables": [ArchivedTable("main.T", watermark="id", watermark_kind="integer", lag_seconds=5)]},
            "only a datetime watermark",
        ),
    ],
)
def test_declarations_that_cannot_be_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(dg.DagsterInvalidDefinitionError, match=message):
        ArchivedDatabase(database="shop", **fields).build_defs_from_state(None, None)  # type: ignore[arg-type]


def test_several_databases_share_a_declaration() -> None:
    component = ArchivedDatabase(databases=["shop_a", "shop_b"], tables=[ArchivedTable("main.T")])
    defs = component.build_defs_from_state(None, None)  # type: ignore[arg-type]
    keys = {spec.key.to_user_string() for assets in defs.assets or [] for spec in assets.specs}  # type: ignore[union-attr]
    assert keys == {"archive/shop_a/main/T", "archive/shop_b/main/T"}
