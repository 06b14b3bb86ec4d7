"""`adfml retention`: it only tells until told to; ledger rows and compute logs with it."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from adfml_cli.cli import app
from resources.control import utc_now
from resources.control_tables import alert_messages, incidents, remote_jobs
from resources.ledger_retention import list_old_jobs
from resources.remote_jobs import RemoteStatus
from tests.retention.conftest import Site

RULES = """
partitions: [{assets: "ml/scores/*", keep_days: 30}]
ledger: {keep_days: 30}
alerts: {keep_days: 30}
compute_logs: {keep_days: 30}
"""
TODAY = f"{utc_now():%Y-%m-%d}"
OLD = f"{utc_now() - timedelta(days=60):%Y-%m-%d}"


@pytest.fixture
def site(home_site: Site) -> Site:
    return home_site


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    file = tmp_path / "retention.yaml"
    file.write_text(RULES)
    return file


def call(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["retention", *map(str, arguments)])


def run_job(site: Site, partition: str, *, attempts: int, days_ago: int, collected: bool = True) -> list[str]:
    """Attempts that each ended, the first of them long ago."""
    keys = []
    for _ in range(attempts):
        job = site.control.ledger.open_job(
            asset="ml/scores/sales_job",
            collecting_asset="ml/scores/sales",
            partition=partition,
            service="databricks",
            request={},
            deadline=timedelta(hours=1),
            max_tries=1,
            run_id="run",
        )
        site.control.ledger.record_ended(job.submission_key, RemoteStatus("succeeded", "SUCCESS"))
        if collected:
            site.control.ledger.mark_collected(job.submission_key, "run")
        keys.append(job.submission_key)
    with site.control.engine.begin() as connection:
        when = utc_now() - timedelta(days=days_ago)
        change = remote_jobs.update().where(remote_jobs.c.submission_key.in_(keys)).values(ended_at=when)
        connection.execute(change)
    return keys


def list_keys(site: Site) -> list[str]:
    with site.control.engine.connect() as connection:
        return sorted(connection.execute(sa.select(remote_jobs.c.submission_key)).scalars())


def test_nothing_goes_until_it_is_told_to(site: Site, rules: Path) -> None:
    site.scores(OLD, TODAY)
    first, second = run_job(site, "2026-01-01", attempts=2, days_ago=40)
    before = site.files()
    said = call("--rules", rules)
    assert said.exit_code == 0, said.output
    assert f"ml/scores/sales: 1 of 2 go ({OLD} to {OLD})." in said.output
    assert said.output.endswith("Nothing was removed: --apply does it.\n")
    assert (site.files(), list_keys(site)) == (before, [first, second])
    found = json.loads(call("--rules", rules, "--apply", "--json").output)
    assert found["removed"] == {"partitions": 1, "ledger_rows": 1, "alert_rows": 0, "runs_without_logs": 0}
    assert len(site.files()) == 3
    assert list_keys(site) == [second], "the newest attempt's number, and its token, are never used again"
    assert "0 partitions, 0 ledger rows, 0 alert rows, the logs of 0 runs" in call("--rules", rules, "--apply").output


def test_without_a_deployment_it_is_a_sentence(rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    said = call("--rules", rules)
    assert (said.exit_code, said.stdout) == (1, "")
    assert said.stderr.startswith("DAGSTER_HOME is not set: the deployment's folder")


def test_a_later_attempt_gets_a_token_of_its_own_after_retention(site: Site, rules: Path) -> None:
    keys = run_job(site, "2026-01-01", attempts=3, days_ago=40)
    assert call("--rules", rules, "--apply").exit_code == 0
    (again,) = run_job(site, "2026-01-01", attempts=1, days_ago=0)
    assert again == "ml/scores/sales_job|2026-01-01|4"
    assert again not in keys


def test_shards_go_together_or_stay(site: Site) -> None:
    jobs = site.control.ledger.open_jobs(
        asset="ml/text_job",
        collecting_asset="ml/text",
        partition="2026-01-01",
        service="openai_batch",
        requests=[{"shard": 1}, {"shard": 2}],
        deadline=timedelta(hours=1),
        max_tries=1,
        run_id="run",
    )
    for job in jobs:
        site.control.ledger.record_ended(job.submission_key, RemoteStatus("succeeded", "completed"))
    assert list_old_jobs(site.control.engine, utc_now() + timedelta(days=1)) == [], "the latest group, whole"


def test_an_attempt_that_has_not_ended_or_ended_lately_stays(site: Site) -> None:
    run_job(site, "2026-01-01", attempts=2, days_ago=10)
    assert list_old_jobs(site.control.engine, utc_now() - timedelta(days=30)) == []


def test_what_old_runs_printed_goes_and_their_records_stay(site: Site, rules: Path) -> None:
    @dg.op
    def speak() -> None:
        print("said")

    @dg.job(executor_def=dg.in_process_executor)
    def speaking() -> None:
        speak()

    ended = [speaking.execute_in_process(instance=site.instance).run_id for _ in range(2)]
    runs = sa.create_engine(f"sqlite:///{site.home}/history/runs.db")
    with runs.begin() as connection:
        old = (utc_now() - timedelta(days=40)).replace(tzinfo=None)
        change = sa.text("UPDATE runs SET update_timestamp = :old WHERE run_id = :id")
        connection.execute(change.bindparams(sa.bindparam("old", old, sa.DateTime)), {"id": ended[0]})
    for run_id in ended:
        assert list((site.home / "storage" / run_id / "compute_logs").iterdir())
    assert "the logs of 1 runs" in call("--rules", rules, "--apply").output
    assert not (site.home / "storage" / ended[0] / "compute_logs").exists()
    assert list((site.home / "storage" / ended[1] / "compute_logs").iterdir())
    assert {run.run_id for run in site.instance.get_runs()} == set(ended)
    assert "the logs of 0 runs" in call("--rules", rules).output


def test_alerts_that_are_over_go_and_open_or_untold_ones_stay(site: Site, rules: Path) -> None:
    long_ago, lately = utc_now() - timedelta(days=90), utc_now()
    common = {"kind": "run", "opened_at": long_ago, "last_at": long_ago, "failures": 1, "last_event_id": 1}
    message = {"channel": "log", "alert": "{}", "created_at": long_ago, "attempts": 1, "due_at": long_ago}
    with site.control.engine.begin() as connection:
        for subject, resolved in (("over", long_ago), ("lately", lately), ("open", None)):
            row = {**common, "subject": subject, "failure": "{}", "resolved_at": resolved}
            connection.execute(incidents.insert().values(row))
        for state in ("sent", "given_up", "pending"):
            connection.execute(alert_messages.insert().values({**message, "id": state, "state": state}))
    assert "3 alert rows" in call("--rules", rules).output
    assert "3 alert rows" in call("--rules", rules, "--apply").output
    with site.control.engine.connect() as connection:
        assert set(connection.execute(sa.select(incidents.c.subject)).scalars()) == {"lately", "open"}
        assert connection.execute(sa.select(alert_messages.c.state)).scalars().all() == ["pending"]


def test_errors_are_one_sentence(tmp_path: Path, site: Site) -> None:
    said = call("--rules", tmp_path / "none.yaml")
    assert (said.exit_code, said.output.count("\n")) == (1, 1)
