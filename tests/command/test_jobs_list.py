"""`adfml jobs list` and `show`: what the ledger has, chosen by what people know of a job, and its whole history."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adfml_cli.errors import CommandFailed
from adfml_cli.jobs import format_duration, parse_since
from resources.remote_jobs import RemoteRun, RemoteStatus
from tests.command.conftest import DAY, JOB, RESULT, Deployment, call

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def list_keys(*options: str) -> list[str]:
    result = call("jobs", "list", "--json", *options)
    assert result.exit_code == 0, result.stderr
    return [job["submission_key"] for job in json.loads(result.stdout)]


@pytest.fixture
def three(deployment: Deployment) -> Deployment:
    """One that failed, one whose result nobody has, one under way; and one of another service."""
    jobs = deployment.jobs
    for number, state in enumerate(("failed", "succeeded"), 1):
        job = jobs.open(partition=f"2026-03-0{number}")
        jobs.ledger.record_submitted(job.submission_key, RemoteRun(f"7{number}", "http://pages/7"))
        message = "the training data is empty [again]\nand more" if state == "failed" else None
        jobs.ledger.record_ended(job.submission_key, RemoteStatus(state, state.upper(), message))  # type: ignore[arg-type]
    jobs.open(partition="2026-03-03")
    jobs.ledger.open_job(
        asset="ml/text_job",
        collecting_asset="ml/text",
        partition=DAY,
        service="openai_batch",
        request={"file": "f"},
        deadline=timedelta(hours=1),
        max_tries=1,
        run_id="run",
    )
    return deployment


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), ["ml/text_job|2026-03-01|1", *(f"ml/m_job|2026-03-0{n}|1" for n in (3, 2, 1))]),
        (("--service", "openai_batch"), ["ml/text_job|2026-03-01|1"]),
        (("--state", "failed"), ["ml/m_job|2026-03-01|1"]),
        (("--state", "uncollected"), ["ml/m_job|2026-03-02|1"]),
        (("--state", "outstanding", "--asset", "ml/m*"), ["ml/m_job|2026-03-03|1"]),
        (("--state", "failed", "--state", "succeeded"), ["ml/m_job|2026-03-02|1", "ml/m_job|2026-03-01|1"]),
        (("--asset", RESULT, "--partition", "2026-03-02"), ["ml/m_job|2026-03-02|1"]),
        (("--asset", "ml/m_*"), [f"ml/m_job|2026-03-0{n}|1" for n in (3, 2, 1)]),
        (("--asset", "ml/%"), []),
        (("--since", "1h", "--limit", "1"), ["ml/text_job|2026-03-01|1"]),
        (("--since", "2999-01-01"), []),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_jobs_are_chosen_by_what_is_known_of_them(
    three: Deployment, options: tuple[str, ...], expected: list[str]
) -> None:
    assert list_keys(*options) == expected


def test_the_table_says_how_each_stands(three: Deployment) -> None:
    lines = call("jobs", "list").stdout.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert [(row[0], row[1], row[5]) for row in rows] == [
        ("ml/text_job|2026-03-01|1", "submitting", ""),
        ("ml/m_job|2026-03-03|1", "submitting", ""),
        ("ml/m_job|2026-03-02|1", "succeeded, not collected", "http://pages/7"),
        ("ml/m_job|2026-03-01|1", "failed", "the training data is empty [again]"),
    ]


def test_the_token_is_shown_nowhere(three: Deployment) -> None:
    token = three.jobs.ledger.get("ml/m_job|2026-03-02|1").token
    for arguments in (("list", "--json"), ("show", "ml/m|2026-03-02", "--json"), ("show", "ml/m|2026-03-02")):
        result = call("jobs", *arguments)
        assert result.exit_code == 0
        assert token not in result.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--service", "databrick"), "--service is 'databrick': expected databricks, azure_ml_batch, openai_batch."),
        (("--state", "done"), "--state is 'done': expected submitting, running"),
        (("--since", "yesterday"), "--since is 'yesterday': expected minutes, hours, days or weeks (90m, 2h, 3d, 1w)"),
    ],
)
def test_a_filter_that_cannot_be_is_one_sentence(options: tuple[str, ...], said: str) -> None:
    result = call("jobs", "list", *options)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


@given(st.integers(0, 999_999), st.sampled_from("mhdw"))
def test_an_age_is_so_long_before_now(number: int, unit: str) -> None:
    seconds = number * {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}[unit]
    if seconds < (NOW - datetime.min.replace(tzinfo=UTC)).total_seconds():
        assert parse_since(f"{number}{unit}", NOW) == NOW - timedelta(seconds=seconds)
    else:
        with pytest.raises(CommandFailed, match="--since"):
            parse_since(f"{number}{unit}", NOW)


@given(st.datetimes())
def test_a_time_without_a_zone_is_utc(moment: datetime) -> None:
    assert parse_since(moment.isoformat(), NOW) == moment.replace(tzinfo=UTC)


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0 s"), (59, "59 s"), (3601, "1 h 1 s"), (90_061, "1 d 1 h")])
def test_a_duration_is_shown_in_two_units(seconds: int, shown: str) -> None:
    assert format_duration(timedelta(seconds=seconds)) == shown


def test_show_has_every_attempt_the_message_and_the_log_of_the_service(deployment: Deployment) -> None:
    first = deployment.end("fail")
    second = deployment.end("ok")
    shown = call("jobs", "show", f"{RESULT}|{DAY}", "--log")
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout.startswith(f"{JOB}|{DAY}|2: succeeded (TERMINATED/SUCCESS)")
    assert second.url is not None
    assert second.url in shown.stdout
    assert f"submission key {second.remote_key}" in shown.stdout, "what the job itself printed"
    rows = [line.split("│")[1:-1] for line in shown.stdout.splitlines() if line.startswith("│")]
    attempts = [(row[0].strip(), row[2].strip()) for row in rows if row[0].strip()]
    assert attempts == [("1", "failed"), ("2 <", "succeeded")]
    failed = json.loads(call("jobs", "show", str(first.remote_id), "--json", "--log").stdout)
    assert failed["job"]["submission_key"] == first.submission_key
    assert "TrainingError: the training data is empty" in failed["job"]["message"]
    assert "TrainingError: the training data is empty" in failed["log"]
    assert [one["state"] for one in failed["attempts"]] == ["failed", "succeeded"]


def test_a_job_nobody_knows_is_said_with_the_latest_there_are(three: Deployment) -> None:
    result = call("jobs", "show", "ml/m|2026-03-09")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "There is no remote job 'ml/m|2026-03-09'" in result.stderr
    assert "ml/m_job|2026-03-03|1" in result.stderr
