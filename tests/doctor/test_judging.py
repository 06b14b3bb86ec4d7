"""How jobs, clocks, tokens, packages and rooms are judged, and what an older control database is."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adfml_cli.doctor.control import judge_job
from adfml_cli.doctor.findings import Notes
from adfml_cli.doctor.identity import judge_skew, read_claims
from adfml_cli.doctor.lake import judge_room
from adfml_cli.doctor.machine import compare_constraints
from resources.remote_jobs import RemoteJob
from tests.doctor.conftest import Site

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
JOB = RemoteJob(
    submission_key="ml/models/m_job|1|1",
    token="t",
    asset="ml/models/m_job",
    collecting_asset="ml/models/m",
    partition="1",
    attempt=1,
    try_number=1,
    max_tries=2,
    service="databricks",
    request={},
    state="running",
    created_at=NOW - 60 * MINUTE,
    sends=1,
    submitter_lease_until=NOW - 59 * MINUTE,
    deadline_at=NOW + 600 * MINUTE,
    run_id="r",
    polled_at=NOW - MINUTE / 4,
)


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, None, ""),
        ({"polled_at": NOW - 11 * MINUTE}, "failed", "last looked at"),
        ({"polled_at": None, "submitted_at": NOW - 11 * MINUTE}, "failed", "last looked at"),
        ({"deadline_at": NOW - 11 * MINUTE}, "failed", "past its deadline"),
        ({"deadline_at": NOW - MINUTE}, None, ""),
        ({"state": "submitting"}, "failed", "nothing says that it was"),
        ({"state": "submitting", "submitter_lease_until": NOW}, None, ""),
        ({"state": "submitting", "refusals": 3, "message": "no tokens"}, "warning", "refused it 3 times: no tokens"),
    ],
)
def test_a_job_of_which_nothing_is_heard_is_stuck(changes: dict[str, object], status: str | None, words: str) -> None:
    found = judge_job(replace(JOB, **changes), NOW)  # type: ignore[arg-type]
    assert (found.status if found else None) == status
    assert words in (found.found if found else "")


@pytest.mark.parametrize(("skew", "status"), [(2.0, "ok"), (-29.0, "ok"), (60.0, "warning"), (-400.0, "failed")])
def test_a_clock_is_judged_by_how_far_it_is_off(skew: float, status: str) -> None:
    assert judge_skew(Notes("clock"), "Databricks", skew).status == status


@pytest.mark.parametrize("token", ["", "a.b", "a.b.c", "opaque", "a.eyJ.c", "a.W10.c"])
def test_a_token_that_says_nothing_of_itself_is_no_error(token: str) -> None:
    assert dict(read_claims(token)) == {}


@pytest.mark.parametrize(("free", "status"), [(100, "ok"), (3, "warning"), (0, "failed")])
def test_a_disk_that_is_nearly_full_is_told(free: int, status: str) -> None:
    assert judge_room(Path("/lake"), (200 * 1024**3, 0, free * 1024**3)).status == status


def test_packages_of_other_versions_are_told_and_other_pythons_are_left_alone() -> None:
    text = "rich==1.0\nno-such-package==1\nnumpy==0.1 ; python_full_version < '3'  # of long ago\n"
    found = compare_constraints(text)
    assert found.status == "warning"
    assert "rich " in found.found
    assert "(1.0)" in found.found
    assert "numpy" not in found.found


def test_a_control_database_of_an_older_version_is_named(build_site: Callable[[], Site]) -> None:
    site = build_site()
    with closing(sqlite3.connect(site.control)) as control, control:
        control.execute("UPDATE adfml_schema_version SET version_num = '0001'")
    found = site.examine("control").find("control", "revision")
    assert found.status in ("warning", "failed")
    assert "Is at revision 0001, and this version of adfml needs" in found.found
    assert "adfml upgrade" in found.advice


def test_a_control_database_that_lacks_a_column_is_named(build_site: Callable[[], Site]) -> None:
    site = build_site()
    with closing(sqlite3.connect(site.control)) as control, control:
        control.execute("ALTER TABLE adfml_remote_jobs DROP COLUMN facts")
    found = site.examine("control", "jobs")
    assert "adfml_remote_jobs.facts" in found.find("control", "tables").found
    assert found.find("jobs", "ledger").status == "failed"


def test_a_control_database_that_is_not_made_yet_is_a_warning_and_is_not_made(build_site: Callable[[], Site]) -> None:
    site = build_site()
    site.settings["ADFML_CONTROL_URL"] = f"sqlite:///{site.folder}/other.sqlite"
    found = site.examine("control", "jobs")
    assert (found.find("control", "control database").status, found.report.failed) == ("warning", False)
    assert not (site.folder / "other.sqlite").exists()


def test_a_lake_folder_that_is_not_there_is_a_warning_and_is_not_made(build_site: Callable[[], Site]) -> None:
    site = build_site()
    site.settings["ADFML_LAKE"] = str(site.folder / "lakee")
    assert site.examine("lake").find("lake", "lake").status == "warning"
    assert not (site.folder / "lakee").exists()
